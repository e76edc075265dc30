//! Carrying out decisions, from any instance, and proving what became of branches that are gone.
//!
//! A commit is two steps: `EndTxn` at the transaction's coordinator, then the marker in the journal. Between them the
//! process may die; whoever is asked next says `EndTxn` again, which Kafka answers as it did the first time, because the
//! transactional id begins nothing else before the marker is durable. With the producer id and the epoch of the promise, a
//! request that was held up on its way cannot end what the id does later.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::time::{Instant, timeout_at};

use super::failure::resource_error;
use super::fold::{Branch, Noted};
use super::options::CALL_LIMIT;
use super::record::{End, Record};
use super::session::Session;
use super::transaction::{self, name_of};
use super::wire::KafkaError;
use crate::failpoint;
use crate::resource::{BranchKey, Completion, Decision, ResourceError};
use crate::runtime::random_bits;

/// How often an abort looks again at a branch that changes under its hands.
const ROUNDS: u32 = 3;

/// Carries out a decision within [`CALL_LIMIT`].
pub(super) async fn finish(
    session: &Session,
    branch: BranchKey,
    decision: Decision,
) -> Result<Completion, ResourceError> {
    let deadline = Instant::now() + CALL_LIMIT;
    let late = || ResourceError::transient(format!("{branch} was not finished within {CALL_LIMIT:?}"));
    timeout_at(deadline, within(session, branch, decision, deadline))
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn within(
    session: &Session,
    branch: BranchKey,
    decision: Decision,
    deadline: Instant,
) -> Result<Completion, ResourceError> {
    for _ in 0..ROUNDS {
        let known = match session.journal.branch(branch) {
            // Another instance may have promised or ended it a moment ago.
            None => {
                catch_up(session, deadline).await?;
                session.journal.branch(branch)
            }
            known => known,
        };
        match (known, decision) {
            (Some(Branch::Promised(noted)), Decision::Commit) => {
                return commit(session, branch, &noted, deadline).await;
            }
            (Some(Branch::Promised(noted)), Decision::Abort) => {
                return abort(session, branch, &noted, deadline).await;
            }
            (Some(Branch::Ended { end, promise }), decision) => {
                return Ok(already(session, branch, &end, promise.as_ref(), decision));
            }
            (Some(Branch::Fenced), Decision::Abort) => return Ok(Completion::Done),
            (Some(Branch::Fenced), Decision::Commit) => {
                return Ok(Completion::Contrary(format!(
                    "topic {} holds a fence: the branch was aborted before anything was promised",
                    session.journal.topic()
                )));
            }
            (None, Decision::Commit) => {
                return Ok(Completion::Hazard(format!(
                    "topic {} of cluster {} holds neither a promise of {branch} nor a marker of it: the topic has lost records, or \
                     the marker was deleted",
                    session.journal.topic(),
                    session.cluster.id()
                )));
            }
            (None, Decision::Abort) => fence(session, branch, deadline).await?,
        }
    }
    Err(ResourceError::transient(format!(
        "{branch} changes under the hands of its abort"
    )))
}

async fn catch_up(session: &Session, deadline: Instant) -> Result<(), ResourceError> {
    session
        .journal
        .catch_up(deadline)
        .await
        .map_err(|error| resource_error("reading the journal to its end", &error))
}

/// Keeps late work out, unless a promise came first: the next round sees which.
pub(super) async fn fence(
    session: &Session,
    branch: BranchKey,
    deadline: Instant,
) -> Result<(), ResourceError> {
    let fence = Record::Fence {
        branch,
        nonce: random_bits(),
    };
    session
        .journal
        .settle(fence, Bytes::new(), deadline)
        .await
        .map_err(|error| resource_error("writing a fence", &error))
}

async fn commit(
    session: &Session,
    branch: BranchKey,
    noted: &Noted,
    deadline: Instant,
) -> Result<Completion, ResourceError> {
    let error = match transaction::end(&session.cluster, &noted.promise.transaction, true, deadline).await {
        Ok(()) => {
            failpoint::pass("after_commit_append");
            mark(session, branch, End::Committed).await?;
            return Ok(Completion::Done);
        }
        Err(error) => error,
    };
    if !transaction::is_gone(&error) {
        return Err(resource_error(&format!("committing {branch}"), &error));
    }
    // Another instance may have committed it, after which its id may have gone on. Then the marker is there by now.
    catch_up(session, deadline).await?;
    if let Some(Branch::Ended { end, promise }) = session.journal.branch(branch) {
        return Ok(already(session, branch, &end, promise.as_ref(), Decision::Commit));
    }
    let evidence = evidence(session, noted, &error, deadline).await;
    mark(session, branch, End::Lost(evidence.clone())).await?;
    tracing::error!(%branch, evidence, "a branch that was decided to be committed is gone");
    Ok(Completion::Hazard(with_payload(session, Some(noted), &evidence)))
}

async fn abort(
    session: &Session,
    branch: BranchKey,
    noted: &Noted,
    deadline: Instant,
) -> Result<Completion, ResourceError> {
    let transaction = &noted.promise.transaction;
    match transaction::end(&session.cluster, transaction, false, deadline).await {
        Ok(()) => {}
        Err(error) if transaction::is_gone(&error) => {
            catch_up(session, deadline).await?;
            if let Some(Branch::Ended { end, promise }) = session.journal.branch(branch) {
                return Ok(already(session, branch, &end, promise.as_ref(), Decision::Abort));
            }
            let failed = |error| resource_error(&format!("asking how {branch} ended"), &error);
            let ids = [transaction.transactional_id.clone()];
            let standings = transaction::describe(&session.cluster, &ids, deadline)
                .await
                .map_err(failed)?;
            let standing = standings.get(&transaction.transactional_id);
            if let Some(standing) = standing.filter(|standing| standing.is_committed(transaction)) {
                mark(session, branch, End::Committed).await?;
                return Ok(Completion::Contrary(format!(
                    "it was committed by hand: {standing}"
                )));
            }
            if error.code() == Some(ResponseError::InvalidTxnState)
                && standing.is_some_and(|standing| standing.is_open(transaction))
            {
                return Err(resource_error(&format!("aborting {branch}"), &error));
            }
            // Expired, or fenced by somebody who took the id: Kafka ends a transaction so only by aborting it.
        }
        Err(error) => return Err(resource_error(&format!("aborting {branch}"), &error)),
    }
    mark(session, branch, End::Aborted).await?;
    Ok(Completion::Done)
}

/// Notes durably how a branch ended. Its transactional id is free from then on.
async fn mark(session: &Session, branch: BranchKey, end: End) -> Result<(), ResourceError> {
    let record = Record::End { branch, end };
    session
        .journal
        .append(vec![(record, Bytes::new())])
        .await
        .map(drop)
        .map_err(|error| resource_error(&format!("writing the marker of {branch}"), &error))
}

fn already(
    session: &Session,
    branch: BranchKey,
    end: &End,
    promise: Option<&Noted>,
    decision: Decision,
) -> Completion {
    let holds = |word: &str| {
        Completion::Contrary(format!(
            "topic {} holds a marker: {branch} was {word}",
            session.journal.topic()
        ))
    };
    match (end, decision) {
        (End::Committed, Decision::Commit) | (End::Aborted, Decision::Abort) => Completion::Done,
        (End::Committed, Decision::Abort) => holds("committed"),
        (End::Aborted, Decision::Commit) => holds("aborted"),
        (End::Lost(evidence), _) => Completion::Hazard(with_payload(session, promise, evidence)),
    }
}

/// What an operator needs to see of a branch that cannot be committed any more.
async fn evidence(session: &Session, noted: &Noted, error: &KafkaError, deadline: Instant) -> String {
    let transaction = &noted.promise.transaction;
    let ids = [transaction.transactional_id.clone()];
    let standing = match transaction::describe(&session.cluster, &ids, deadline).await {
        Ok(standings) => standings
            .get(&transaction.transactional_id)
            .map_or_else(|| "it says nothing of the id".to_owned(), ToString::to_string),
        Err(error) => error.to_string(),
    };
    format!(
        "Kafka answers the commit of {} (producer {} epoch {}) with {}: it expired, was aborted by hand, or was lost; {standing}",
        transaction.transactional_id,
        transaction.producer,
        transaction.epoch,
        name_of(error)
    )
}

fn with_payload(session: &Session, promise: Option<&Noted>, evidence: &str) -> String {
    let Some(noted) = promise else {
        return evidence.to_owned();
    };
    format!(
        "{evidence}; not written: {}; the operation is kept in topic {} of cluster {}, partition 0, offset {}",
        noted.promise.places,
        session.journal.topic(),
        session.cluster.id(),
        noted.offset
    )
}
