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
//! What was rolled back is never begun anew under the same branch: the transaction can only abort.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Row;
use tokio::time::timeout;

use super::failure::resource_error;
use super::options::MAX_QUERY_ROWS;
use super::promise::{Begun, BranchTransaction, StatementError};
use super::server::Limits;
use super::session::Session;
use super::statements::check;
use super::{Parameter, Receipt};
use crate::resource::{BranchKey, Refusal, ResourceError};
use crate::resources::sql::open_branches::{OpenBranches, OpenTransaction, Parked, Reservation};

/// How much longer than the server's own limit an answer is waited for.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

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
    #[error("the statement failed: {0}")]
    Failed(#[source] StatementError),
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

/// An open branch, for one caller. Dropped without [`MariadbBranch::receipt`], it is rolled back.
pub struct MariadbBranch {
    branches: Arc<OpenBranches<BranchTransaction>>,
    branch: BranchKey,
    work: Option<Parked<BranchTransaction>>,
    limit: Duration,
}

impl MariadbBranch {
    /// Runs a statement; how many rows it touched (matched, changed or not) or returned. Each `?` stands for one of `params`.
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

    fn attempt(
        &mut self,
        sql: &str,
        params: &[Parameter],
    ) -> Result<&mut Parked<BranchTransaction>, BranchError> {
        check(sql, params.len()).map_err(BranchError::NotAllowed)?;
        let work = self.work.as_mut().ok_or(BranchError::Broken)?;
        if work.attempt() {
            Ok(work)
        } else {
            Err(BranchError::Broken)
        }
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

impl Drop for MariadbBranch {
    fn drop(&mut self) {
        if self.work.take().is_some() {
            self.branches.lose(self.branch);
        }
    }
}

impl OpenTransaction for BranchTransaction {
    fn is_lost(&self) -> bool {
        BranchTransaction::is_lost(self)
    }
}

/// Opens a branch, or goes on with one that this session has open.
pub(super) async fn join(session: &Session, branch: BranchKey) -> Result<MariadbBranch, BranchError> {
    let limit = session.options.interactive_statement_limit;
    let branches = session.open_branches.clone();
    let again = branches.reserve(branch)?;
    let handle = |work| MariadbBranch {
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
    let lease = session.pools.interactive.lease().await?;
    let limits = Limits {
        statement: limit,
        idle: session.options.interactive_idle_limit,
    };
    let beginning = BranchTransaction::begin(session, lease, running, branch, limits);
    let begun = timeout(session.options.connect_limit, beginning)
        .await
        .map_err(|_| ResourceError::transient("MariaDB did not begin a transaction in time"))?
        .map_err(|error| resource_error("beginning a branch", &error))?;
    match begun {
        Begun::Open(transaction) => {
            std::mem::forget(reservation);
            Ok(handle(Parked::new(*transaction)))
        }
        Begun::AlreadyPrepared => Err(ResourceError::permanent(format!(
            "branch {branch} is prepared already; no work can join it"
        ))
        .into()),
        Begun::Unknown(refusal) => Err(ResourceError::transient(refusal.message).into()),
        Begun::Refused(refusal) => Err(ResourceError {
            message: refusal.message,
            permanent: !refusal.retryable,
            reopen: false,
        }
        .into()),
    }
}
