//! Carrying out decisions, and proving what became of branches that are gone.
//!
//! A branch is finished on the connection that prepared it, if that is still ours. Otherwise on any other one:
//!
//! | XA COMMIT says | listed by XA RECOVER | its lock | marker | so |
//! |---|---|---|---|---|
//! | done | | | | done |
//! | `XAER_NOTA` | yes | taken | | another connection holds it: end that, and again |
//! | `XAER_NOTA` | yes | free | | it is just being let go of, or finished by somebody: again |
//! | `XAER_NOTA` | no | | committed | done |
//! | `XAER_NOTA` | no | | aborted | contrary |
//! | `XAER_NOTA` | no | | none | hazard |
//!
//! The list is read first and the marker in a later snapshot; the other order could miss a commit that happens in between.

use tokio::time::{Instant, sleep, timeout};

use super::connection::{Lease, batch, column};
use super::failure::{is_gone, is_lock_wait, resource_error};
use super::markers::{self, Ended};
use super::options::{CALL_LIMIT, FINISH_ROUNDS, RELEASE_LIMIT, SETTLE_POLL};
use super::session::Session;
use super::{holders, scan};
use crate::resource::{BranchKey, Completion, Decision, ResourceError};

/// Carries out a decision within [`CALL_LIMIT`].
pub(super) async fn finish(
    session: &Session,
    branch: BranchKey,
    decision: Decision,
) -> Result<Completion, ResourceError> {
    let finishing = async {
        match decision {
            Decision::Commit => commit(session, branch).await,
            Decision::Abort => abort(session, branch).await,
        }
    };
    let completion = timeout(CALL_LIMIT, finishing).await.unwrap_or_else(|_| {
        Err(ResourceError::transient(format!(
            "{branch} was not finished within {CALL_LIMIT:?}; MariaDB does not answer"
        )))
    })?;
    session.open_branches.ended(branch);
    Ok(completion)
}

async fn commit(session: &Session, branch: BranchKey) -> Result<Completion, ResourceError> {
    if finished_where_held(session, branch, "COMMIT").await {
        return Ok(Completion::Done);
    }
    let xid = session.xid(branch);
    for _ in 0..FINISH_ROUNDS {
        let mut lease = session.decisions().await?;
        match lease.batch(&format!("XA COMMIT {xid}")).await {
            Ok(_) => {
                lease.give_back();
                return Ok(Completion::Done);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(resource_error(&format!("committing {xid}"), &error)),
        }
        if is_prepared(&mut lease, session, branch).await? {
            let_go(&mut lease, branch).await?;
            lease.give_back();
            continue;
        }
        let completion = match look_up(&mut lease, branch).await? {
            Some(Ended::Committed { .. }) => Completion::Done,
            Some(Ended::Aborted { evidence }) => Completion::Contrary(evidence),
            None => Completion::Hazard(no_proof(&mut lease, &xid).await?),
        };
        lease.give_back();
        return Ok(completion);
    }
    Err(not_let_go(&xid))
}

/// Finishes the branch on the connection that prepared it; `false` if that is not to be had, or says anything but yes. Nothing
/// follows from a no here: the connection ends, and the way for others tells what is true.
async fn finished_where_held(session: &Session, branch: BranchKey, verb: &str) -> bool {
    let Some(mut lease) = session.held.take(branch) else {
        return false;
    };
    let finish = format!(
        "{}; XA {verb} {}; DO RELEASE_LOCK({})",
        session.flavor.without_limit(),
        session.xid(branch),
        holders::lock(branch)
    );
    match lease.batch(&finish).await {
        Ok(_) => {
            lease.give_back();
            true
        }
        Err(error) => {
            tracing::debug!(%branch, %error, "the connection that prepared a branch cannot finish it");
            false
        }
    }
}

async fn is_prepared(lease: &mut Lease, session: &Session, branch: BranchKey) -> Result<bool, ResourceError> {
    scan::is_prepared(lease, session, branch)
        .await
        .map_err(|error| resource_error("listing prepared transactions", &error))
}

/// Ends the connection that holds the prepared branch, so that the branch can be finished by another one.
async fn let_go(lease: &mut Lease, branch: BranchKey) -> Result<(), ResourceError> {
    holders::put_down(lease, branch, Instant::now() + RELEASE_LIMIT)
        .await
        .map_err(|error| resource_error("ending the connection that holds a prepared branch", &error))?;
    sleep(SETTLE_POLL).await;
    Ok(())
}

fn not_let_go(xid: &str) -> ResourceError {
    ResourceError::transient(format!(
        "{xid} is prepared, and a connection that is none of ours holds it: MariaDB lets nobody else finish it until that \
         connection ends; see SHOW PROCESSLIST if this lasts"
    ))
}

async fn look_up(lease: &mut Lease, branch: BranchKey) -> Result<Option<Ended>, ResourceError> {
    markers::look_up(lease, branch)
        .await
        .map_err(|error| resource_error("looking for a marker", &error))
}

/// What an operator needs to see when nothing proves how a branch ended.
async fn no_proof(lease: &mut Lease, xid: &str) -> Result<String, ResourceError> {
    let asked = batch(
        lease,
        "SELECT CONCAT('database ', DATABASE(), ', server ', @@hostname, ':', @@port, ', at ', NOW(6))",
    )
    .await
    .and_then(|rows| rows.first().map_or(Ok(String::new()), |row| column(row, 0)));
    let place = asked.map_err(|error| resource_error("describing a branch that is gone", &error))?;
    Ok(format!(
        "neither a prepared transaction {xid} nor a marker or fence for it: it was rolled back by hand, lost in a failover or \
         a restore, or its marker was deleted ({place})"
    ))
}

/// Rolls back what is prepared, ends what still runs, and leaves a fence.
///
/// A prepare that is still on its way can take the key at any moment:
/// 1. whoever holds the branch's lock is ended, and the lock seen to be free;
/// 2. what is prepared is rolled back; the list may have no such branch, so there is nothing to roll back;
/// 3. the fence waits if a transaction that is not ended yet has written the marker;
/// 4. then the wait ends by the connection's lock wait, and the next round ends that transaction too.
pub(super) async fn abort(session: &Session, branch: BranchKey) -> Result<Completion, ResourceError> {
    session.open_branches.discard(branch);
    session.running.doom(branch);
    finished_where_held(session, branch, "ROLLBACK").await;
    let xid = session.xid(branch);
    for _ in 0..FINISH_ROUNDS {
        let mut lease = session.decisions().await?;
        holders::put_down(&mut lease, branch, Instant::now() + RELEASE_LIMIT)
            .await
            .map_err(|error| resource_error("ending the work of a branch", &error))?;
        match lease.batch(&format!("XA ROLLBACK {xid}")).await {
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(resource_error(&format!("rolling back {xid}"), &error)),
        }
        match markers::insert_fence(&mut lease, branch).await {
            Ok(()) => {}
            Err(error) if is_lock_wait(&error) => {
                lease.give_back();
                continue;
            }
            Err(error) => return Err(resource_error("writing a fence", &error)),
        }
        let ended = look_up(&mut lease, branch).await?;
        let prepared = is_prepared(&mut lease, session, branch).await?;
        lease.give_back();
        match ended {
            Some(Ended::Aborted { .. }) if !prepared => return Ok(Completion::Done),
            Some(Ended::Committed { evidence }) => return Ok(Completion::Contrary(evidence)),
            _ => {}
        }
    }
    Err(ResourceError::transient(format!(
        "{xid} is not fenced yet: another transaction holds its marker; see SHOW PROCESSLIST and SHOW ENGINE INNODB STATUS if \
         this lasts"
    )))
}

/// Ends interactive or running work of this process on the branch. What remains will collide with the fence.
pub(super) async fn end_work(session: &Session, branch: BranchKey) {
    session.open_branches.discard(branch);
    session.running.doom(branch);
    let Ok(mut lease) = session.decisions().await else {
        return;
    };
    match holders::end(&mut lease, branch).await {
        Ok(_) => lease.give_back(),
        Err(error) => tracing::debug!(%branch, %error, "work that is aborted could not be ended"),
    }
}
