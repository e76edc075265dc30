//! Transactions that were begun and never promised, by a process that is gone: they would hold readers back until their timeout.
//!
//! Whoever began one may be slow and not gone, and about to promise it. So:
//! 1. the coordinators list what is open for longer than any prepare takes, under ids of this resource;
//! 2. for what the journal does not know, a record is written that makes any later promise of it void;
//! 3. that record was read back and no promise came before it: nobody will ever vote for this transaction;
//! 4. it is aborted.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use kafka_protocol::messages::ListTransactionsRequest;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::cluster::version;
use super::options::MAX_REAPED;
use super::pool::prefix_of;
use super::record::{KafkaTransaction, Record};
use super::session::Session;
use super::transaction;
use super::wire::KafkaError;
use crate::runtime::random_bits;

/// Aborts what was left behind.
pub(super) async fn reap(session: &Session, deadline: Instant) -> Result<(), KafkaError> {
    let old = open_for_long(session).await?;
    session.journal.catch_up(deadline).await?;
    let standings = transaction::describe(&session.cluster, &old, deadline).await?;
    for (transactional_id, standing) in standings {
        let orphan = KafkaTransaction {
            transactional_id,
            producer: standing.producer,
            epoch: standing.epoch,
        };
        if !standing.is_open(&orphan) || is_promised(session, &orphan) {
            continue;
        }
        let is_reaped = session.journal.fold().is_reaped(&orphan);
        if !is_reaped {
            let record = Record::Reap {
                nonce: random_bits(),
                transaction: orphan.clone(),
            };
            session.journal.settle(record, Bytes::new(), deadline).await?;
        }
        if is_promised(session, &orphan) {
            continue;
        }
        match transaction::end(&session.cluster, &orphan, false, deadline).await {
            Ok(()) => tracing::info!(
                id = orphan.transactional_id,
                "a transaction that was left behind is aborted"
            ),
            Err(error) if transaction::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    forget(session).await
}

fn is_promised(session: &Session, transaction: &KafkaTransaction) -> bool {
    let fold = session.journal.fold();
    fold.promised()
        .any(|(_, noted)| noted.promise.transaction == *transaction)
}

/// How long each broker may take to list. Those that answer are not held up much by one that does not.
const LIST_LIMIT: Duration = Duration::from_secs(2);

/// Ids of this resource whose transaction is open for long. Each broker lists those that it coordinates.
async fn open_for_long(session: &Session) -> Result<Vec<String>, KafkaError> {
    let age = i64::try_from(session.options.orphan_age.as_millis()).unwrap_or(i64::MAX);
    let request = ListTransactionsRequest::default()
        .with_state_filters(vec![StrBytes::from_static_str("Ongoing")])
        .with_duration_filter(age);
    let prefix = prefix_of(session.journal.topic_id());
    let promised: BTreeSet<String> = {
        let fold = session.journal.fold();
        fold.promised()
            .map(|(_, noted)| noted.promise.transaction.transactional_id.clone())
            .collect()
    };
    let mut old = Vec::new();
    let brokers = session.cluster.metadata(&[]).await?.brokers;
    let asked = brokers.iter().map(|broker| {
        session
            .cluster
            .ask(broker.node_id, &request, version::LIST_TRANSACTIONS, LIST_LIMIT)
    });
    for answer in join_all(asked).await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "what this broker coordinates is looked for with the next scan");
                continue;
            }
        };
        if let Some(error) = transaction::refusal("ListTransactions", answer.error_code) {
            return Err(error);
        }
        let listed = answer
            .transaction_states
            .iter()
            .map(|state| state.transactional_id.to_string());
        old.extend(listed.filter(|id| id.starts_with(&prefix) && !promised.contains(id)));
    }
    old.truncate(MAX_REAPED);
    Ok(old)
}

/// Whoever began a transaction does not promise it any more once it must have expired.
async fn forget(session: &Session) -> Result<(), KafkaError> {
    let age = session.options.transaction_timeout;
    let old = session.journal.fold().reaped(age, Instant::now());
    if old.is_empty() {
        return Ok(());
    }
    let gone = old.into_iter().map(|key| (Record::Gone(key), Bytes::new()));
    session.journal.append(gone.collect()).await.map(drop)
}
