//! Carrying out decisions, and proving what became of branches that are gone.

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::connection::Lease;
use super::failure::{is_absent, is_lock_timeout, resource_error};
use super::markers::{self, Ended};
use super::options::{ABORT_ROUNDS, CALL_LIMIT, REAP_AFTER};
use super::session::Session;
use super::{backends, gid, replication};
use crate::resource::{BranchKey, Completion, Decision, ResourceError};

/// Carries out a decision within [`CALL_LIMIT`]. There is no limit on the server's side: one that ended its wait for a
/// synchronous standby would report a commit that is not safe yet.
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
            "{branch} was not finished within {CALL_LIMIT:?}; PostgreSQL does not answer, or waits for a standby"
        )))
    })?;
    session.open_branches.ended(branch);
    Ok(completion)
}

async fn commit(session: &Session, branch: BranchKey) -> Result<Completion, ResourceError> {
    let lease = session.decisions().await?;
    let gid = gid::encode(branch);
    let completion = match lease.batch_execute(&format!("COMMIT PREPARED '{gid}'")).await {
        Ok(()) => Completion::Done,
        // The list of prepared transactions was read by the failed statement. The marker is looked up in a later snapshot;
        // the other order could miss a commit that happens in between.
        Err(error) if is_absent(&error) => match look_up(&lease, branch).await? {
            Some(Ended::Committed { .. }) => {
                replication::catch_up(&lease)
                    .await
                    .map_err(|error| resource_error("seeing to it that a commit is safe", &error))?;
                Completion::Done
            }
            Some(Ended::Aborted { evidence }) => Completion::Contrary(evidence),
            None => Completion::Hazard(no_proof(&lease, &gid).await?),
        },
        Err(error) => return Err(resource_error(&format!("committing {gid}"), &error)),
    };
    lease.give_back();
    Ok(completion)
}

async fn look_up(client: &Client, branch: BranchKey) -> Result<Option<Ended>, ResourceError> {
    markers::look_up(client, branch)
        .await
        .map_err(|error| resource_error("looking for a marker", &error))
}

/// What an operator needs to see when nothing proves how a branch ended.
async fn no_proof(client: &Client, gid: &str) -> Result<String, ResourceError> {
    let asked = client
        .query_typed_one(
            "SELECT format('database %s, system %s, WAL %s, at %s', current_database(), c.system_identifier, \
             pg_walfile_name(pg_current_wal_insert_lsn()), clock_timestamp()) FROM pg_control_system() c",
            &[],
        )
        .await
        .and_then(|row| row.try_get::<_, String>(0));
    let place = asked.map_err(|error| resource_error("describing a branch that is gone", &error))?;
    Ok(format!(
        "neither a prepared transaction {gid} nor a marker or fence for it: it was rolled back by hand, lost in a failover \
         or a restore, or its marker was deleted ({place})"
    ))
}

/// Rolls back what is prepared, ends what still runs, and leaves a fence.
///
/// A prepare that is still on its way can take the key at any moment:
/// 1. the list has no such branch, so there is nothing to roll back;
/// 2. the fence waits, because a transaction that is not ended yet has written the marker;
/// 3. if a backend runs that transaction, it is ended, and the fence goes in;
/// 4. if it has become prepared meanwhile, the wait ends by `lock_timeout`, and the next round rolls it back.
pub(super) async fn abort(session: &Session, branch: BranchKey) -> Result<Completion, ResourceError> {
    end_work(session, branch).await;
    let gid = gid::encode(branch);
    for _ in 0..ABORT_ROUNDS {
        let lease = session.decisions().await?;
        match lease.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await {
            Ok(()) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(resource_error(&format!("rolling back {gid}"), &error)),
        }
        if !fence(session, &lease, branch).await? {
            lease.give_back();
            continue;
        }
        let ended = look_up(&lease, branch).await?;
        lease.give_back();
        match ended {
            Some(Ended::Aborted { .. }) => return Ok(Completion::Done),
            Some(Ended::Committed { evidence }) => return Ok(Completion::Contrary(evidence)),
            None => {}
        }
    }
    Err(ResourceError::transient(format!(
        "{gid} is not fenced yet: another transaction holds its marker; see pg_locks and pg_stat_activity if this lasts"
    )))
}

/// Ends interactive or running work of this process on the branch. What remains will collide with the fence.
pub(super) async fn end_work(session: &Session, branch: BranchKey) {
    session.open_branches.discard(branch);
    for backend in session.running.doom(branch) {
        let Ok(lease) = session.decisions().await else {
            return;
        };
        match backends::terminate(&lease, &backend).await {
            Ok(()) => lease.give_back(),
            Err(error) => tracing::debug!(%branch, %error, "work that is aborted could not be ended"),
        }
    }
}

/// Writes the fence, and ends whoever makes it wait; `false` if the wait was too long.
async fn fence(session: &Session, lease: &Lease, branch: BranchKey) -> Result<bool, ResourceError> {
    let failed = |error| resource_error("writing a fence", &error);
    let process: i32 = lease
        .query_typed_one("SELECT pg_backend_pid()", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let reaper = async {
        sleep(REAP_AFTER).await;
        if let Ok(second) = session.decisions().await
            && backends::terminate_blockers(&second, process).await.is_ok()
        {
            second.give_back();
        }
        std::future::pending::<()>().await;
    };
    let written = tokio::select! {
        biased;
        written = markers::insert_fence(lease, branch) => written,
        () = reaper => unreachable!("the reaper waits for ever"),
    };
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_lock_timeout(&error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
