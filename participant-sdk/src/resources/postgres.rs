//! PostgreSQL as a resource: its own prepared transaction is the durable vote.
//!
//! ```text
//!  PostgresResource ── session ──┬─ prepare ── promise ── statements, parameter     work to vote
//!    (open … open)               ├─ finish ─── markers                              decision to effect, with proof
//!                                ├─ scan                                            what is in doubt
//!                                ├─ interactive                                     branches joined step by step
//!                                └─ preconditions, schema, identity                 what must hold, and who this is
//!  check                                                                             the same, without changing anything
//!  below all: connection, backends, gid, failure, options, and what all SQL databases share (sql)
//! ```
//!
//! - A branch is prepared under a name that only it has (`gid`), together with a marker row; absence is never taken for
//!   success (`markers`).
//! - Every instance of a resource name logs in as the same user of the same database: PostgreSQL lets only that user finish
//!   what it has prepared. Connect to the server itself or a pooler in session mode.
//! - A branch that wrote nothing is rolled back and votes read-only. `NOTIFY` cannot take part: as a statement, or beside
//!   writes, it is refused, but `pg_notify` in a branch that writes nothing is lost without a word.
//! - What a branch sets in its session is undone before the connection serves another branch. A session-level advisory lock
//!   is held until then; use `pg_advisory_xact_lock`.
//! - Several coordinators over one database are best served by one `PostgresResource` each, with instance ids of their own: opening
//!   one ends the work of its own older sessions, and nobody else's. Shared, it ends the open work of all, which then aborts.
//! - With a synchronous standby, a vote whose connection was lost is looked up on the primary alone.
//!
//! What must never live here: decisions. A prepared branch is finished only as the coordinator says, or after its vote was
//! no.

mod backends;
mod check;
mod connection;
mod failure;
mod finish;
mod gid;
mod identity;
mod interactive;
mod markers;
mod options;
mod parameter;
mod preconditions;
mod prepare;
mod promise;
mod replication;
mod scan;
mod schema;
mod session;
mod statements;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;

pub use super::sql::{
    MAX_PARAMETERS, MAX_STATEMENTS, OPERATION_VERSION, Parameter, Receipt, SqlOperation, Statement,
};
pub use interactive::{BranchError, PostgresBranch};
pub use options::{MAX_QUERY_ROWS, PostgresOptions};
/// The driver, whose rows and settings appear in this interface.
pub use tokio_postgres;

use super::sql::lost_work::LostWork;
use super::sql::running::Running;
use crate::resource::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity,
    Vote, Work,
};
use crate::resources::Finding;
use connection::Backend;
use options::CALL_LIMIT;
use session::Session;

/// A PostgreSQL database that takes part in transactions. A clone is another handle on the same resource.
#[derive(Clone)]
pub struct PostgresResource(Arc<Inner>);

struct Inner {
    options: Arc<PostgresOptions>,
    running: Arc<Running<Backend>>,
    lost: Arc<LostWork>,
    sessions: AtomicU64,
    opening: tokio::sync::Mutex<()>,
    current: RwLock<Option<Arc<Session>>>,
    /// Milliseconds, as the last scan found.
    oldest_prepared: AtomicU64,
}

impl PostgresResource {
    /// A resource that connects when it is opened.
    pub fn new(options: PostgresOptions) -> Self {
        PostgresResource(Arc::new(Inner {
            options: Arc::new(options),
            running: Arc::default(),
            lost: Arc::default(),
            sessions: AtomicU64::new(0),
            opening: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            oldest_prepared: AtomicU64::new(0),
        }))
    }

    /// Joins a branch interactively, after its enlistment was acknowledged; or goes on with it. Lost with the session.
    pub async fn join(&self, branch: BranchKey) -> Result<PostgresBranch, BranchError> {
        interactive::join(&*self.session()?, branch).await
    }

    /// How long the oldest branch has been prepared, as of the last scan; zero if there was none.
    pub fn oldest_prepared(&self) -> Duration {
        Duration::from_millis(self.0.oldest_prepared.load(Relaxed))
    }

    /// Looks at every precondition on a connection of its own, and changes nothing. It need not be open.
    pub async fn check(&self) -> Vec<Finding> {
        check::check(&self.0.options).await
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

/// Bounds a call that is made again later.
async fn bounded<T>(call: impl Future<Output = Result<T, ResourceError>>) -> Result<T, ResourceError> {
    timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(ResourceError::transient(format!(
            "PostgreSQL did not answer within {CALL_LIMIT:?}"
        )))
    })
}

impl Resource for PostgresResource {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let _one_at_a_time = self.0.opening.lock().await;
        self.replace_session(None);
        let number = self.0.sessions.fetch_add(1, Relaxed);
        let (session, identity) = Session::open(
            self.0.options.clone(),
            self.0.running.clone(),
            self.0.lost.clone(),
            number,
        )
        .await?;
        self.replace_session(Some(session));
        Ok(identity)
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        let session = self.session()?;
        bounded(async {
            let lease = session.decisions().await?;
            let seen = markers::seen(&lease).await.map_err(|error| {
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
            let lease = session.decisions().await?;
            markers::forget(&lease, branches, &busy, &session.name)
                .await
                .map_err(|error| failure::resource_error("deleting markers", &error))?;
            lease.give_back();
            Ok(())
        })
        .await
    }
}
