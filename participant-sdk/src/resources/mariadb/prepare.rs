//! From work to a vote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{no_connection, refusal, resource_error};
use super::holders::{self, ConnectionId};
use super::options::{SETTLE_LIMIT, STATEMENT_LIMIT};
use super::promise::{Begun, BranchTransaction, Promise};
use super::server::Limits;
use super::session::Session;
use super::{finish, scan, statements};
use crate::resource::{BranchKey, Completion, Refusal, ResourceError, SeenLog, Vote, Work};
use crate::resources::sql::SqlOperation;
use crate::resources::sql::open_branches::Taken;
use crate::resources::sql::running::RunningWork;

const PREPARED: Vote = Vote::Prepared { prepared_for: None };

/// Does the work and votes. However it goes, a branch that was not voted for ends rolled back; where that cannot be seen to, an
/// error leaves it to the coordinator's abort.
pub(super) async fn prepare(
    session: &Session,
    branch: BranchKey,
    work: Work,
    seen: SeenLog,
    limit: Duration,
) -> Result<Vote, ResourceError> {
    let deadline = Instant::now() + limit;
    match work {
        Work::Operation(bytes) => one_shot(session, branch, bytes, seen, deadline).await,
        Work::Interactive { operations } => {
            let vote = interactive(session, branch, operations, seen, deadline).await;
            if let Ok(Vote::Refused(_)) = vote {
                session.open_branches.refused(branch);
            }
            vote
        }
    }
}

async fn one_shot(
    session: &Session,
    branch: BranchKey,
    operation: Bytes,
    seen: SeenLog,
    deadline: Instant,
) -> Result<Vote, ResourceError> {
    let operation = match statements::decode(&operation) {
        Ok(operation) => operation,
        Err(refusal) => return Ok(Vote::Refused(refusal)),
    };
    let Ok(running) = timeout_at(deadline, session.running.begin(branch)).await else {
        return Err(unknown(&too_late()));
    };
    let attempt = async {
        match begin(session, branch, running.clone(), deadline).await {
            Err(promise) => promise,
            Ok(mut transaction) => match run(&mut transaction, &operation).await {
                Err(refusal) => Promise::Vote(transaction.refuse(refusal).await),
                Ok(()) => transaction.promise(seen).await,
            },
        }
    };
    bounded(session, branch, &running, deadline, attempt).await
}

async fn begin(
    session: &Session,
    branch: BranchKey,
    running: Arc<RunningWork<ConnectionId>>,
    deadline: Instant,
) -> Result<BranchTransaction, Promise> {
    let lease = session
        .pools
        .work
        .lease()
        .await
        .map_err(|error| Promise::Vote(Vote::Refused(no_connection(&error))))?;
    match BranchTransaction::begin(session, lease, running, branch, until(deadline)).await {
        Ok(Begun::Open(transaction)) => Ok(*transaction),
        Ok(Begun::AlreadyPrepared) => Err(Promise::Vote(PREPARED)),
        Ok(Begun::Refused(refusal)) => Err(Promise::Vote(Vote::Refused(refusal))),
        Ok(Begun::Unknown(refusal)) => Err(Promise::Unknown(refusal)),
        Err(error) => Err(Promise::Vote(Vote::Refused(refusal(&error)))),
    }
}

async fn run(transaction: &mut BranchTransaction, operation: &SqlOperation) -> Result<(), Refusal> {
    for (position, statement) in operation.statements.iter().enumerate() {
        let number = position + 1;
        let rows = transaction
            .execute(&statement.sql, &statement.params)
            .await
            .map_err(|error| {
                let refused = error.refusal();
                Refusal {
                    message: format!("statement {number}: {}", refused.message),
                    ..refused
                }
            })?;
        if let Some(expected) = statement.expect_rows.filter(|expected| *expected != rows) {
            return Err(Refusal::permanent(
                "ROWS_DIFFER",
                format!("statement {number} touched {rows} rows, and {expected} were expected"),
            ));
        }
    }
    Ok(())
}

async fn interactive(
    session: &Session,
    branch: BranchKey,
    operations: u64,
    seen: SeenLog,
    deadline: Instant,
) -> Result<Vote, ResourceError> {
    let patience = deadline.min(Instant::now() + STATEMENT_LIMIT);
    let mut parked = match session.open_branches.take(branch, patience).await {
        Taken::Parked(parked) => parked,
        Taken::InUse => {
            finish::end_work(session, branch).await;
            return Ok(Vote::Refused(Refusal::permanent(
                "STATEMENTS_RUNNING",
                "the service had not handed in its receipt yet; the branch is rolled back",
            )));
        }
        Taken::Lost => return repeated(session, branch, deadline, rolled_back()).await,
        Taken::Unknown => return repeated(session, branch, deadline, unknown_branch()).await,
    };
    let running = parked.transaction.work();
    let attempt = async {
        if let Some(refusal) = parked.refusal(operations) {
            return Promise::Vote(parked.transaction.refuse(refusal).await);
        }
        match parked.transaction.limit(until(deadline)).await {
            Err(error) => Promise::Vote(parked.transaction.refuse(refusal(&error)).await),
            Ok(()) => parked.transaction.promise(seen).await,
        }
    };
    bounded(session, branch, &running, deadline, attempt).await
}

/// No open branch of that name: prepared before, or lost.
async fn repeated(
    session: &Session,
    branch: BranchKey,
    deadline: Instant,
    absent: Refusal,
) -> Result<Vote, ResourceError> {
    let look = async {
        let _alone = session.running.begin(branch).await;
        let mut lease = session.decisions().await.map_err(|error| no_connection(&error))?;
        let prepared = scan::is_prepared(&mut lease, session, branch)
            .await
            .map_err(|error| refusal(&error))?;
        lease.give_back();
        Ok(prepared)
    };
    match timeout_at(deadline, look).await {
        Ok(Ok(true)) => Ok(PREPARED),
        Ok(Ok(false)) => Ok(Vote::Refused(absent)),
        Ok(Err(refusal)) => Err(unknown(&refusal)),
        Err(_) => Err(unknown(&too_late())),
    }
}

/// Lets the attempt run to the deadline, and finds out what became of it if it did not say.
async fn bounded(
    session: &Session,
    branch: BranchKey,
    running: &RunningWork<ConnectionId>,
    deadline: Instant,
    attempt: impl Future<Output = Promise>,
) -> Result<Vote, ResourceError> {
    match timeout_at(deadline, attempt).await {
        Ok(Promise::Vote(vote)) => Ok(vote),
        Ok(Promise::Prepared(lease)) => {
            session.held.keep(branch, lease);
            Ok(PREPARED)
        }
        Ok(Promise::Unknown(refusal)) => settle(session, branch, running, deadline, refusal).await,
        Err(_) => settle(session, branch, running, deadline, too_late()).await,
    }
}

/// The connection is gone, and the branch may be prepared or not.
///
/// 1. Whatever still holds the branch's lock is ended and seen to be gone: from here on nothing changes by itself.
/// 2. The list is read. Prepared, and still in time: that is the vote.
/// 3. Otherwise the branch is rolled back and fenced, and the vote is no.
/// 4. If even that cannot be done now, there is no vote: who refuses is never sent an abort, and this branch may need one. The
///    coordinator says it again and again until it is acknowledged.
async fn settle(
    session: &Session,
    branch: BranchKey,
    running: &RunningWork<ConnectionId>,
    deadline: Instant,
    refusal: Refusal,
) -> Result<Vote, ResourceError> {
    let prepared = timeout(SETTLE_LIMIT, look_when_quiet(session, branch)).await;
    match prepared {
        Ok(Ok(Some(true))) if Instant::now() < deadline => {
            running.settle();
            return Ok(PREPARED);
        }
        Ok(Ok(Some(false))) => {
            running.settle();
            return Ok(Vote::Refused(refusal));
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%branch, %error, "cannot see how a prepare ended"),
        Err(_) => tracing::warn!(%branch, "cannot see in time how a prepare ended"),
    }
    match timeout(SETTLE_LIMIT, finish::abort(session, branch)).await {
        Ok(Ok(Completion::Done)) => {
            running.settle();
            return Ok(Vote::Refused(refusal));
        }
        Ok(Ok(deviation)) => {
            tracing::error!(%branch, ?deviation, "a branch that was not voted for has ended by itself")
        }
        Ok(Err(error)) => tracing::warn!(%branch, %error, "cannot roll back what may be prepared"),
        Err(_) => tracing::warn!(%branch, "cannot roll back in time what may be prepared"),
    }
    Err(unknown(&refusal))
}

/// Whether the branch is prepared; `None` while its connection cannot be ended.
async fn look_when_quiet(session: &Session, branch: BranchKey) -> Result<Option<bool>, ResourceError> {
    let failed = |error| resource_error("looking how a prepare ended", &error);
    let mut lease = session.decisions().await?;
    let quiet = holders::put_down(&mut lease, branch, Instant::now() + SETTLE_LIMIT)
        .await
        .map_err(failed)?;
    let prepared = scan::is_prepared(&mut lease, session, branch)
        .await
        .map_err(failed)?;
    lease.give_back();
    Ok(if prepared || quiet { Some(prepared) } else { None })
}

fn until(deadline: Instant) -> Limits {
    let left = deadline.saturating_duration_since(Instant::now());
    Limits {
        statement: left,
        idle: left,
    }
}

/// No vote.
fn unknown(why: &Refusal) -> ResourceError {
    ResourceError::transient(format!(
        "whether the branch is prepared cannot be told now ({}: {}); the coordinator's abort will end it",
        why.reason, why.message
    ))
}

fn unknown_branch() -> Refusal {
    Refusal::permanent(
        "UNKNOWN_BRANCH",
        "this process holds no open work for the branch: it was joined in another one, which has ended, or it has ended itself",
    )
}

fn rolled_back() -> Refusal {
    Refusal::retryable(
        "WORK_ROLLED_BACK",
        "the open work of the branch was rolled back, with its handle, its connection or its session; begin anew",
    )
}

fn too_late() -> Refusal {
    Refusal::retryable("DEADLINE", "the work did not end within its time")
}
