//! MariaDB, and MySQL 8, as a resource: an XA transaction of theirs, prepared, is the durable vote.
//!
//! ```text
//!  MariadbResource ── session ──┬─ prepare ── promise ── statements, parameter     work to vote
//!    (open … open)              ├─ finish ─── held, markers                        decision to effect, with proof
//!                               ├─ scan                                            what is in doubt
//!                               ├─ interactive                                     branches joined step by step
//!                               └─ preconditions, schema, identity                 what must hold, and who this is
//!  below all: connection, holders, xid, server, failure, options, and what all SQL databases share (sql)
//! ```
//!
//! - A branch is prepared under a name that only it has (`xid`), together with a marker row; absence is never taken for
//!   success (`markers`).
//! - A prepared transaction stays with its connection while that lives, and only that connection may finish it. So the
//!   connection is kept with its branch (`held`); whoever else must finish the branch ends the connection first (`holders`).
//! - Every instance of a resource name logs in as the same user: a user may end its own connections and nobody else's. Connect
//!   to the server itself, not to a proxy that shares connections.
//! - A branch that wrote nothing is rolled back and votes read-only.
//! - What differs in MySQL 8 stands in `server`.
//!
//! What must never live here: decisions. A prepared branch is finished only as the coordinator says, or after its vote was
//! no.

mod connection;
mod failure;
mod finish;
mod held;
mod holders;
mod identity;
mod interactive;
mod markers;
mod options;
mod parameter;
mod preconditions;
mod prepare;
mod promise;
mod scan;
mod schema;
mod server;
mod session;
mod statements;
mod xid;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::time::timeout;

pub use super::sql::{
    MAX_PARAMETERS, MAX_STATEMENTS, OPERATION_VERSION, Parameter, Receipt, SqlOperation, Statement,
};
pub use interactive::{BranchError, MariadbBranch};
/// The driver, whose rows and settings appear in this interface.
pub use mysql_async;
pub use options::{Isolation, MAX_QUERY_ROWS, MariadbOptions};
pub use promise::StatementError;

use super::Finding;
use super::sql::lost_work::LostWork;
use super::sql::running::Running;
use crate::resource::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity,
    Vote, Work,
};
use handfast_proto::ids::StoreId;
use holders::ConnectionId;
use options::CALL_LIMIT;
use session::Session;

/// A MariaDB database that takes part in transactions. A clone is another handle on the same resource.
#[derive(Clone)]
pub struct MariadbResource(Arc<Inner>);

struct Inner {
    options: Arc<MariadbOptions>,
    running: Arc<Running<ConnectionId>>,
    lost: Arc<LostWork>,
    opening: tokio::sync::Mutex<()>,
    current: RwLock<Option<Arc<Session>>>,
    /// Milliseconds, as the last scan found.
    oldest_prepared: AtomicU64,
}

impl MariadbResource {
    /// A resource that connects when it is opened.
    pub fn new(options: MariadbOptions) -> Self {
        MariadbResource(Arc::new(Inner {
            options: Arc::new(options),
            running: Arc::default(),
            lost: Arc::default(),
            opening: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            oldest_prepared: AtomicU64::new(0),
        }))
    }

    /// Joins a branch interactively, after its enlistment was acknowledged; or goes on with it. Lost with the session.
    pub async fn join(&self, branch: BranchKey) -> Result<MariadbBranch, BranchError> {
        interactive::join(&*self.session()?, branch).await
    }

    /// How long the oldest branch has been prepared, as of the last scan; zero if there was none.
    pub fn oldest_prepared(&self) -> Duration {
        Duration::from_millis(self.0.oldest_prepared.load(Relaxed))
    }

    fn session(&self) -> Result<Arc<Session>, ResourceError> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .clone()
            .ok_or_else(|| ResourceError::transient("the database is not open yet, or is being opened again"))
    }

    fn replace_session(&self, session: Option<Session>) {
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = std::mem::replace(&mut *current, session.map(Arc::new)) {
            older.close();
        }
    }
}

/// Connects and looks at every precondition, and changes nothing: settings of the server, tables, privileges. What cannot be
/// reached is a broken finding.
pub async fn check(options: MariadbOptions) -> Vec<Finding> {
    let checking = async {
        let mut conn = match connection::connect(&options).await {
            Ok(conn) => conn,
            Err(error) => return vec![Finding::broken("connection", "none", error.message)],
        };
        let mut findings = vec![Finding::holds(
            "connection",
            format!(
                "{}:{}",
                options.database.ip_or_hostname(),
                options.database.tcp_port()
            ),
        )];
        match preconditions::Server::ask(&mut conn).await {
            Ok(server) => {
                findings.append(&mut server.judge(options.most_connections()));
                let tables = tables(&mut conn).await;
                let mut store = None;
                if !tables.is_broken()
                    && matches!(schema::present(&mut conn).await, Ok(present) if present.len() == schema::TABLES.len())
                {
                    let looked_up = identity::look_up(&mut conn).await;
                    store = looked_up.as_ref().ok().map(|found| found.store);
                    findings.push(match looked_up {
                        Ok(found) => Finding::holds("store", found.words),
                        Err(error) => {
                            Finding::broken("store", "is not the one that was made here", error.message)
                        }
                    });
                }
                findings.push(tables);
                findings.push(listing(&mut conn, server.flavor()).await);
                if let Some(store) = store {
                    findings.push(prepared(&mut conn, server.flavor(), store).await);
                }
            }
            Err(error) => findings.push(Finding::broken(
                "settings",
                "cannot be read",
                failure::describe(&error),
            )),
        }
        findings
    };
    timeout(CALL_LIMIT, checking).await.unwrap_or_else(|_| {
        vec![Finding::broken(
            "connection",
            "silent",
            format!("MariaDB did not answer within {CALL_LIMIT:?}"),
        )]
    })
}

/// Whether prepared transactions can be listed.
async fn listing(conn: &mut mysql_async::Conn, flavor: server::Flavor) -> Finding {
    match connection::batch(conn, flavor.recover()).await {
        Ok(listed) => Finding::holds("XA RECOVER", format!("{} prepared", listed.len())),
        Err(error) => Finding::broken(
            "XA RECOVER",
            "refused",
            failure::resource_error("listing prepared transactions", &error).message,
        ),
    }
}

/// What is prepared of this store, and for how long.
async fn prepared(conn: &mut mysql_async::Conn, flavor: server::Flavor, store: StoreId) -> Finding {
    let what = "prepared branches";
    let looked = async {
        let branches = scan::recover(conn, flavor, store).await?;
        let oldest = markers::ages(conn, &branches).await?.into_iter().max();
        Ok::<_, mysql_async::Error>((branches.len(), oldest.unwrap_or_default()))
    };
    match looked.await {
        Ok((0, _)) => Finding::holds(what, "none"),
        Ok((branches, oldest)) => {
            let found = format!("{branches}, the oldest for {} s", oldest.as_secs());
            match oldest > scan::OLD_PREPARED {
                true => Finding::advice(
                    what,
                    found,
                    "they hold locks and old versions of rows; `handfast tx in-doubt` tells what they wait for",
                ),
                false => Finding::holds(what, found),
            }
        }
        Err(error) => Finding::broken(what, "cannot be listed", failure::describe(&error)),
    }
}

/// Whether our tables are there and may be written, or may be made. Preparing a statement checks privileges and runs nothing.
async fn tables(conn: &mut mysql_async::Conn) -> Finding {
    let broken = |error: &mysql_async::Error| {
        Finding::broken(
            "handfast_ tables",
            "out of reach",
            failure::resource_error("looking at the handfast_ tables", error).message,
        )
    };
    let present = match schema::present(conn).await {
        Ok(present) => present,
        Err(error) => return broken(&error),
    };
    if let Some((name, engine)) = present
        .iter()
        .find(|(_, engine)| !engine.eq_ignore_ascii_case("InnoDB"))
    {
        return Finding::broken(name, engine, format!("run: ALTER TABLE {name} ENGINE = InnoDB"));
    }
    let wanted: Vec<String> = if present.len() == schema::TABLES.len() {
        present
            .iter()
            .flat_map(|(name, _)| [format!("SELECT 1 FROM {name}"), format!("DELETE FROM {name}")])
            .chain([
                "INSERT INTO handfast_seen VALUES ('', 0, 0)".to_owned(),
                "UPDATE handfast_seen SET lsn = 0".to_owned(),
            ])
            .collect()
    } else {
        schema::TABLES.map(|(_, create)| create.to_owned()).to_vec()
    };
    for sql in wanted {
        match conn.prep(sql).await {
            Ok(statement) => drop(conn.close(statement).await),
            Err(error) => return broken(&error),
        }
    }
    Finding::holds(
        "handfast_ tables",
        format!("{} of {}", present.len(), schema::TABLES.len()),
    )
}

/// Bounds a call that is made again later.
async fn bounded<T>(call: impl Future<Output = Result<T, ResourceError>>) -> Result<T, ResourceError> {
    timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(ResourceError::transient(format!(
            "MariaDB did not answer within {CALL_LIMIT:?}"
        )))
    })
}

impl Resource for MariadbResource {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let _one_at_a_time = self.0.opening.lock().await;
        self.replace_session(None);
        let (session, identity) = Session::open(
            self.0.options.clone(),
            self.0.running.clone(),
            self.0.lost.clone(),
        )
        .await?;
        self.replace_session(Some(session));
        Ok(identity)
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        let session = self.session()?;
        bounded(async {
            let mut lease = session.decisions().await?;
            let seen = markers::seen(&mut lease).await.map_err(|error| {
                failure::resource_error("reading what was seen of coordinators' logs", &error)
            })?;
            lease.give_back();
            Ok(seen)
        })
        .await
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        match self.session() {
            Ok(session) => prepare::prepare(&session, branch, work, seen, timeout).await,
            Err(error) => Ok(Vote::Refused(Refusal::retryable(
                "DATABASE_UNREACHABLE",
                error.message,
            ))),
        }
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        finish::finish(&*self.session()?, branch, decision).await
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let session = self.session()?;
        let scanned = bounded(scan::scan(&session)).await?;
        let oldest = scanned.oldest_prepared.unwrap_or_default().as_millis();
        self.0
            .oldest_prepared
            .store(u64::try_from(oldest).unwrap_or(u64::MAX), Relaxed);
        Ok(scanned.lines)
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let session = self.session()?;
        let busy: BTreeSet<BranchKey> = session.running.branches().into_iter().collect();
        bounded(async {
            let mut lease = session.decisions().await?;
            markers::forget(&mut lease, branches, &busy)
                .await
                .map_err(|error| failure::resource_error("deleting markers", &error))?;
            lease.give_back();
            Ok(())
        })
        .await
    }
}
