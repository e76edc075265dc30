//! Connections: pooled, bounded, cleaned between branches, and closed rather than given back when in doubt.
//!
//! Every new one is asked first where it leads. If that is not what the session was opened on, nothing is leased any more,
//! from any pool, until the database is opened again: it would promise for one store under the name of another.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Error, Opts, Row};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::resource_error;
use super::identity::{self, Opened};
use super::options::{FENCE_LOCK_SECONDS, MariadbOptions};
use crate::resource::ResourceError;

/// Connections of one kind.
pub(super) struct Pool {
    opts: Opts,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Conn>>,
    closed: AtomicBool,
    limit: Duration,
    /// Whether a connection forgets all of its session before it serves again.
    resets: bool,
    opened: Arc<Opened>,
    /// Set once, by the first connection that led elsewhere: where to. Shared by the pools of a session.
    leads_elsewhere: Arc<OnceLock<String>>,
}

/// A connection on loan. Dropped without [`Lease::give_back`], it is closed, and the server rolls its transaction back, or
/// lets go of it if it is prepared.
pub(super) struct Lease {
    conn: Option<Conn>,
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
}

/// The pools of one session.
pub(super) struct Pools {
    /// For one-shot work.
    pub work: Arc<Pool>,
    /// For decisions and questions; runs no statement of an application.
    pub decisions: Arc<Pool>,
    /// For interactive branches.
    pub interactive: Arc<Pool>,
}

impl Pools {
    /// `statement_binlog` says that the server refuses the isolation in which decisions lock the least.
    pub fn new(options: &MariadbOptions, statement_binlog: bool, opened: Opened) -> Self {
        let (opened, leads_elsewhere) = (Arc::new(opened), Arc::<OnceLock<String>>::default());
        let pool = |size: usize, setup: &[String], resets| {
            Arc::new(Pool {
                opts: options.connection(setup),
                permits: Arc::new(Semaphore::new(size.max(1))),
                idle: Mutex::default(),
                closed: AtomicBool::new(false),
                limit: options.connect_limit,
                resets,
                opened: opened.clone(),
                leads_elsewhere: leads_elsewhere.clone(),
            })
        };
        let isolation = if statement_binlog {
            "REPEATABLE READ"
        } else {
            "READ COMMITTED"
        };
        let decisions = [
            format!("SET autocommit = 1, innodb_lock_wait_timeout = {FENCE_LOCK_SECONDS}"),
            format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"),
        ];
        Pools {
            work: pool(options.work_connections, &[], true),
            decisions: pool(options.decision_connections, &decisions, false),
            interactive: pool(options.interactive_connections, &[], true),
        }
    }

    /// Waiters fail, idle connections close, and those on loan close when they come back.
    pub fn close(&self) {
        for pool in [&self.work, &self.decisions, &self.interactive] {
            pool.closed.store(true, Relaxed);
            pool.permits.close();
            pool.idle().clear();
        }
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, within the limit that the options set.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, ResourceError> {
        let give_up_at = Instant::now() + self.limit;
        let no_connection = |why: &str| {
            ResourceError::transient(format!("no connection to MariaDB within {:?}: {why}", self.limit))
        };
        let permit = timeout_at(give_up_at, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| no_connection("all are busy"))?
            .map_err(|_| ResourceError::transient("the session with MariaDB was closed"))?;
        self.not_elsewhere()?;
        let usable = timeout_at(give_up_at, self.usable()).await;
        self.not_elsewhere()?;
        let conn = usable
            .map_err(|_| {
                no_connection("the server does not answer; is it running, and are host and port right?")
            })?
            .map_err(|error| resource_error("connecting to MariaDB", &error))?;
        Ok(Lease {
            conn: Some(conn),
            pool: self.clone(),
            permit: Some(permit),
        })
    }

    /// One that is idle and still answers, or a new one.
    async fn usable(&self) -> Result<Conn, Error> {
        loop {
            let Some(mut conn) = self.idle().pop() else {
                return self.recognized(Conn::new(self.opts.clone()).await?).await;
            };
            if !self.resets || conn.reset().await.is_ok() {
                return Ok(conn);
            }
            // The server was restarted: the others are as dead as this one.
            self.idle().clear();
        }
    }

    /// A new connection, if it leads where the session was opened.
    async fn recognized(&self, mut conn: Conn) -> Result<Conn, Error> {
        let Some(found) = identity::recognize(&mut conn, &self.opened).await? else {
            return Ok(conn);
        };
        tracing::error!(%found, "a new connection leads elsewhere than where this session was opened");
        let found = self.leads_elsewhere.get_or_init(|| found).clone();
        Err(Error::Other(found.into()))
    }

    fn not_elsewhere(&self) -> Result<(), ResourceError> {
        match self.leads_elsewhere.get() {
            None => Ok(()),
            Some(found) => Err(ResourceError::reopen(format!(
                "a new connection to MariaDB leads to {found}, which is not what the session was opened on: the address has \
                 changed hands, the server was replaced, or its settings have changed; it is opened again"
            ))),
        }
    }

    /// Idle connections and those on loan are together never more than the permits.
    fn take_back(&self, conn: Conn) {
        let mut idle = self.idle();
        if !self.closed.load(Relaxed) && idle.len() < self.permits.available_permits() {
            idle.push(conn);
        }
    }
}

impl Lease {
    /// Nothing is open on the connection and nothing is on its way: somebody else may have it.
    pub fn give_back(mut self) {
        drop(self.permit.take());
        if let Some(conn) = self.conn.take() {
            self.pool.take_back(conn);
        }
    }

    /// Stays with its branch, and no longer counts as working.
    pub fn retire(&mut self) {
        drop(self.permit.take());
    }

    /// Runs statements of ours, one after the other up to the first that fails, in one round trip.
    pub async fn batch(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        batch(self, sql).await
    }
}

impl Deref for Lease {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn
            .as_ref()
            .expect("the connection leaves only when the lease ends")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn
            .as_mut()
            .expect("the connection leaves only when the lease ends")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.conn.take().is_some_and(|conn| conn.is_disconnected()) {
            // What broke this one has perhaps broken the idle ones too, and none of them would notice before it is used.
            self.pool.idle().clear();
        }
    }
}

/// A connection outside of the pools, for opening.
pub(super) async fn connect(options: &MariadbOptions) -> Result<Conn, ResourceError> {
    let limit = options.connect_limit;
    timeout(limit, Conn::new(options.connection(&[])))
        .await
        .map_err(|_| {
            ResourceError::transient(format!(
                "MariaDB did not answer within {limit:?}; is it running, and are host and port right?"
            ))
        })?
        .map_err(|error| resource_error("connecting to MariaDB", &error))
}

/// Runs statements of ours, one after the other up to the first that fails, in one round trip; all rows in order.
pub(super) async fn batch(conn: &mut Conn, sql: &str) -> Result<Vec<Row>, Error> {
    let (rows, ended) = partial_batch(conn, sql).await;
    ended.map(|()| rows)
}

/// The same; also the rows of what was done before a statement failed.
pub(super) async fn partial_batch(conn: &mut Conn, sql: &str) -> (Vec<Row>, Result<(), Error>) {
    let mut rows = Vec::new();
    let ended = async {
        let mut answers = conn.query_iter(sql).await?;
        while !answers.is_empty() {
            answers.for_each(|row| rows.push(row)).await?;
        }
        // The driver counts answers as empty when the next statement has failed; only this tells.
        answers.drop_result().await
    };
    let ended = ended.await;
    (rows, ended)
}

/// A column of a row of ours.
pub(super) fn column<T: FromValue>(row: &Row, at: usize) -> Result<T, Error> {
    match row.get_opt(at) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Error::Other(Box::new(error))),
        None => Err(Error::Other(
            format!("the server's answer has no column {at}").into(),
        )),
    }
}
