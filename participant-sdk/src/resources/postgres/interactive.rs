//! Branches whose work an application does step by step, each on a connection of its own.
//!
//! ```text
//!           join                    receipt                   Prepare
//!  (none) ───────► in use by a handle ──────► parked on its server ──────► voted
//!                       │      ▲                │  │
//!                  drop │      └── join again ──┘  │ Abort, session lost, idle too long
//!                       ▼                          ▼
//!                  rolled back                rolled back
//! ```
//!
//! The handle counts operations; the application sends the count along with its commit, and the branch votes yes only if
//! both agree: an operation that one of them does not know of dooms the branch (DESIGN, "counts").

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handfast_proto::ids::BranchId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Row;

use super::Parameter;
use super::connection::lease;
use super::failure::{describe, resource_error};
use super::operation::check;
use super::options::MAX_QUERY_ROWS;
use super::promise::{Begun, BranchTransaction, Limits};
use super::session::Session;
use crate::resource::{BranchKey, Refusal, ResourceError};

/// How much longer than the server's own limit an answer is waited for.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What a service hands back to the application that called it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The branch.
    pub branch: BranchId,
    /// The operations that succeeded on it so far.
    pub operations: u64,
}

/// Why a statement of an interactive branch failed. After any error but [`BranchError::NotAllowed`] the branch can only be
/// rolled back.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// The branch cannot be joined, or the database cannot be reached.
    #[error(transparent)]
    Unavailable(#[from] ResourceError),
    /// Such a statement cannot be part of a branch; it was not run.
    #[error("{}", .0.message)]
    NotAllowed(Refusal),
    /// The server refused the statement, or the connection broke.
    #[error("the statement failed: {}", describe(.0))]
    Failed(#[source] tokio_postgres::Error),
    /// The statement was not answered in time.
    #[error("the statement was not answered within {0:?}; it is rolled back")]
    TimedOut(Duration),
    /// A query gave more rows than [`MAX_QUERY_ROWS`].
    #[error("the query gives more than {MAX_QUERY_ROWS} rows; write LIMIT and read in pages")]
    TooManyRows,
    /// An earlier statement failed or was broken off.
    #[error("an earlier statement of this branch failed or was broken off; it can only be rolled back")]
    Broken,
}

/// An open branch, for one caller. Dropped without [`PostgresBranch::receipt`], it is rolled back.
pub struct PostgresBranch {
    branches: Arc<OpenBranches>,
    branch: BranchKey,
    work: Option<Parked>,
    limit: Duration,
}

/// The work of a branch while no handle has it.
pub(super) struct Parked {
    pub transaction: BranchTransaction,
    operations: u64,
    broken: bool,
}

/// The interactive branches of one session.
#[derive(Default)]
pub(super) struct OpenBranches {
    slots: Mutex<Slots>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Slots {
    closed: bool,
    by_branch: BTreeMap<BranchKey, Slot>,
}

enum Slot {
    InUse,
    Parked(Box<Parked>),
}

/// What a prepare finds.
pub(super) enum Taken {
    /// The work.
    Parked(Box<Parked>),
    /// A handle kept it for as long as the prepare could wait.
    InUse,
    /// Nothing.
    Unknown,
}

impl PostgresBranch {
    /// Runs a statement; how many rows it changed or returned. `$1` … stand for `params`.
    pub async fn execute(&mut self, sql: &str, params: &[Parameter]) -> Result<u64, BranchError> {
        let limit = self.limit;
        let work = self.attempt(sql, params)?;
        let rows = timeout(limit, work.transaction.execute(sql, params))
            .await
            .map_err(|_| BranchError::TimedOut(limit))?
            .map_err(BranchError::Failed)?;
        work.succeeded();
        Ok(rows)
    }

    /// Runs a statement and gives its rows, at most [`MAX_QUERY_ROWS`].
    pub async fn query(&mut self, sql: &str, params: &[Parameter]) -> Result<Vec<Row>, BranchError> {
        let limit = self.limit;
        let work = self.attempt(sql, params)?;
        let rows = timeout(limit, work.transaction.query(sql, params, MAX_QUERY_ROWS))
            .await
            .map_err(|_| BranchError::TimedOut(limit))?
            .map_err(BranchError::Failed)?
            .ok_or(BranchError::TooManyRows)?;
        work.succeeded();
        Ok(rows)
    }

    /// Counts as broken from here on, until the statement has succeeded: a future that is dropped half-way leaves it so.
    fn attempt(&mut self, sql: &str, params: &[Parameter]) -> Result<&mut Parked, BranchError> {
        check(sql, params.len()).map_err(BranchError::NotAllowed)?;
        let work = self.work.as_mut().ok_or(BranchError::Broken)?;
        if std::mem::replace(&mut work.broken, true) {
            return Err(BranchError::Broken);
        }
        Ok(work)
    }

    /// Which branch this is.
    pub fn branch(&self) -> BranchKey {
        self.branch
    }

    /// The work of this call is done: keeps the branch open for its prepare, or for joining it again.
    pub fn receipt(mut self) -> Receipt {
        let operations = self.work.as_ref().map_or(0, |work| work.operations);
        if let Some(work) = self.work.take() {
            self.branches.park(self.branch, work);
        }
        Receipt {
            branch: self.branch.branch,
            operations,
        }
    }
}

impl Drop for PostgresBranch {
    fn drop(&mut self) {
        if self.work.take().is_some() {
            self.branches.release(self.branch);
        }
    }
}

impl Parked {
    fn succeeded(&mut self) {
        self.operations += 1;
        self.broken = false;
    }

    /// Why this work may not be promised as `expected` operations.
    pub fn refusal(&self, expected: u64) -> Option<Refusal> {
        if self.broken {
            Some(Refusal::permanent(
                "TRANSACTION_FAILED",
                "a statement of this branch failed or was broken off",
            ))
        } else if self.operations != expected {
            Some(Refusal::permanent(
                "OPERATIONS_DIFFER",
                format!(
                    "the branch has {} operations, and the application counted {expected}",
                    self.operations
                ),
            ))
        } else {
            None
        }
    }
}

impl OpenBranches {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the work of a branch for its prepare; waits while a handle has it.
    pub async fn take(&self, branch: BranchKey, deadline: Instant) -> Taken {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(taken) = self.take_now(branch) {
                return taken;
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Taken::InUse;
            }
        }
    }

    /// Takes the work of a branch; `None` while a handle has it.
    fn take_now(&self, branch: BranchKey) -> Option<Taken> {
        let mut slots = self.lock();
        if let Some(Slot::InUse) = slots.by_branch.get(&branch) {
            return None;
        }
        Some(match slots.by_branch.remove(&branch) {
            Some(Slot::Parked(parked)) => Taken::Parked(parked),
            _ => Taken::Unknown,
        })
    }

    /// Rolls back the parked work of a branch.
    pub fn discard(&self, branch: BranchKey) {
        let mut slots = self.lock();
        if matches!(slots.by_branch.get(&branch), Some(Slot::Parked(_))) {
            slots.by_branch.remove(&branch);
        }
    }

    /// Rolls back all parked work, and lets none be parked any more.
    pub fn close(&self) {
        let mut slots = self.lock();
        slots.closed = true;
        slots.by_branch.clear();
    }

    /// Reserves a branch for a handle; gives its work if it has been joined before.
    fn reserve(&self, branch: BranchKey) -> Result<Option<Box<Parked>>, ResourceError> {
        let mut slots = self.lock();
        slots
            .by_branch
            .retain(|_, slot| !matches!(slot, Slot::Parked(work) if work.transaction.is_lost()));
        if slots.closed {
            return Err(ResourceError::transient(
                "the session with the database was lost; begin the transaction again",
            ));
        }
        match slots.by_branch.insert(branch, Slot::InUse) {
            None => Ok(None),
            Some(Slot::Parked(work)) => Ok(Some(work)),
            Some(Slot::InUse) => Err(ResourceError::transient(format!(
                "another call works on branch {branch}; do one after the other"
            ))),
        }
    }

    fn park(&self, branch: BranchKey, work: Parked) {
        let mut slots = self.lock();
        if !slots.closed {
            slots.by_branch.insert(branch, Slot::Parked(Box::new(work)));
        }
        drop(slots);
        self.changed.send_replace(());
    }

    fn release(&self, branch: BranchKey) {
        self.lock().by_branch.remove(&branch);
        self.changed.send_replace(());
    }
}

/// Frees the slot of a join that does not come to an end.
struct Reservation<'a>(&'a OpenBranches, BranchKey);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}

/// Opens a branch, or goes on with one that this session has open.
pub(super) async fn join(session: &Session, branch: BranchKey) -> Result<PostgresBranch, BranchError> {
    let limit = session.options.interactive_statement_limit;
    let branches = session.open_branches.clone();
    let again = branches.reserve(branch)?;
    let handle = |work| PostgresBranch {
        branches: branches.clone(),
        branch,
        work: Some(work),
        limit: limit.saturating_add(ANSWER_GRACE),
    };
    if let Some(work) = again {
        return Ok(handle(*work));
    }
    let reservation = Reservation(&branches, branch);
    let running = session.running.try_begin(branch).map_err(|_| {
        ResourceError::transient(format!(
            "work on branch {branch} still runs; it was joined in a session that was lost"
        ))
    })?;
    let lease = lease(&session.pools.interactive).await?;
    let limits = Limits {
        statement: limit,
        idle: session.options.interactive_idle_limit,
    };
    let beginning = BranchTransaction::begin(lease, running, branch, &session.name, limits);
    let begun = timeout(session.options.connect_limit, beginning)
        .await
        .map_err(|_| ResourceError::transient("PostgreSQL did not begin a transaction in time"))?
        .map_err(|error| resource_error("beginning a branch", &error))?;
    match begun {
        Begun::Open(transaction) => {
            std::mem::forget(reservation);
            Ok(handle(Parked {
                transaction: *transaction,
                operations: 0,
                broken: false,
            }))
        }
        Begun::AlreadyPrepared => Err(ResourceError::permanent(format!(
            "branch {branch} is prepared already; no work can join it"
        ))
        .into()),
        Begun::Ended(refusal) => Err(ResourceError::permanent(refusal.message).into()),
    }
}
