//! The task that reads the journal into the fold.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use tokio::time::Instant;

use super::{PARTITION, Shared};
use crate::resources::kafka::batch;
use crate::resources::kafka::cluster::{Pause, version};
use crate::resources::kafka::options::{ANSWER_LIMIT, FETCH_BYTES, FETCH_WAIT};
use crate::resources::kafka::pool::Pool;
use crate::resources::kafka::record::Record;
use crate::resources::kafka::wire::KafkaError;

/// Reads until the topic is not what it was, or the journal is closed.
pub(super) async fn run(shared: Arc<Shared>, pool: Arc<Pool>) {
    let mut next = 0;
    let mut pause = Pause::new();
    loop {
        match fetch(&shared, next)
            .await
            .and_then(|bytes| take(&shared, &pool, next, bytes))
        {
            Ok(reached) => {
                next = reached;
                pause = Pause::new();
            }
            Err(error) => {
                if let Some(why) = is_final(&shared, &error).await {
                    tracing::error!(
                        topic = shared.topic,
                        why,
                        "the journal cannot be read any further"
                    );
                    shared
                        .progress
                        .send_modify(|progress| progress.broken = Some(why));
                    return;
                }
                tracing::debug!(topic = shared.topic, %error, "reading the journal is tried again");
                shared.cluster.forget_topic(&shared.topic);
                pause.before(Instant::now() + ANSWER_LIMIT).await;
            }
        }
    }
}

async fn fetch(shared: &Shared, next: i64) -> Result<bytes::Bytes, KafkaError> {
    let leader = shared.cluster.leader(&shared.topic, PARTITION).await?;
    let partition = FetchPartition::default()
        .with_partition(PARTITION)
        .with_fetch_offset(next)
        .with_partition_max_bytes(FETCH_BYTES);
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(FETCH_WAIT.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic_id(shared.topic_id)
                .with_partitions(vec![partition]),
        ]);
    let response = shared
        .cluster
        .ask(leader, &request, version::FETCH, FETCH_WAIT + ANSWER_LIMIT)
        .await?;
    if response.error_code != 0 {
        return Err(KafkaError::refused("Fetch", response.error_code));
    }
    let partition = response
        .responses
        .into_iter()
        .next()
        .and_then(|topic| topic.partitions.into_iter().next());
    match partition {
        Some(partition) if partition.error_code == 0 => Ok(partition.records.unwrap_or_default()),
        Some(partition) => Err(KafkaError::refused("Fetch", partition.error_code)),
        None => Err(KafkaError::Unusable(
            "Fetch is answered without what was asked for".to_owned(),
        )),
    }
}

fn take(shared: &Shared, pool: &Pool, next: i64, bytes: bytes::Bytes) -> Result<i64, KafkaError> {
    let (records, behind) = batch::decode(bytes)?;
    let reached = next.max(behind.unwrap_or(next));
    {
        let now = Instant::now();
        let mut fold = shared.fold();
        for record in records.iter().filter(|record| record.offset >= next) {
            let key = record.key.as_deref().unwrap_or_default();
            let Some(decoded) = Record::decode(key, record.value.as_deref()) else {
                return Err(KafkaError::Unusable(format!(
                    "the record at offset {} of topic {} is none that this build can read: a later build or somebody else wrote \
                     it; use the build that did, and keep others out of the topic",
                    record.offset, shared.topic
                )));
            };
            let freed = fold.take(record.offset, decoded, now);
            if let Some(transaction) = freed {
                pool.give_back(&transaction.transactional_id);
            }
        }
    }
    if reached > next {
        shared.progress.send_modify(|progress| progress.next = reached);
    }
    Ok(reached)
}

/// Why reading can never go on, or `None` if it can be tried again.
async fn is_final(shared: &Shared, error: &KafkaError) -> Option<String> {
    match error.code() {
        Some(ResponseError::OffsetOutOfRange) => Some(format!(
            "topic {} is shorter than what was read of it: the cluster has lost acknowledged records, or somebody deleted them",
            shared.topic
        )),
        Some(
            ResponseError::UnknownTopicId
            | ResponseError::InconsistentTopicId
            | ResponseError::UnknownTopicOrPartition,
        ) => {
            shared.cluster.forget_topic(&shared.topic);
            match shared.cluster.topic(&shared.topic).await {
                Ok(topic) if topic.id != shared.topic_id => Some(format!(
                    "topic {} was deleted and made again; what it held of branches is lost",
                    shared.topic
                )),
                // A broker that has just started may not know its topics yet.
                _ => None,
            }
        }
        _ => match error {
            KafkaError::Unusable(why) => Some(why.clone()),
            _ => None,
        },
    }
}
