//! The work of a branch inside its Kafka transaction: records to their partitions, and the positions of a group.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::{join_all, try_join};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{BrokerId, GroupId};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::batch::{self, NewRecord, Writer};
use super::cluster::{Cluster, Coordinated, Pause, passes, topic_name, version};
use super::failure;
use super::journal::ACKS_ALL;
use super::operation::{GroupOffsets, KafkaOperation, OutgoingRecord};
use super::options::ANSWER_LIMIT;
use super::record::KafkaTransaction;
use super::transaction::{id, refusal};
use super::wire::KafkaError;
use super::{partitioner, wall_clock_ms};
use crate::resource::{BranchKey, Refusal};

/// Records by topic and partition.
pub(super) type Routed = BTreeMap<(String, i32), Vec<NewRecord>>;

/// Which record goes where. Looks only at what the cluster says of its topics, and changes nothing.
pub(super) async fn route(
    cluster: &Cluster,
    branch: BranchKey,
    operation: &KafkaOperation,
) -> Result<Routed, Refusal> {
    let mut routed = Routed::new();
    for (number, record) in (1..).zip(&operation.records) {
        let partition = partition_of(cluster, branch, record)
            .await
            .map_err(|refusal| Refusal {
                message: format!("record {number}: {}", refusal.message),
                ..refusal
            })?;
        let place = (record.topic.clone(), partition);
        routed.entry(place).or_default().push(NewRecord {
            key: record.key.0.clone(),
            value: record.value.0.clone(),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.0.clone()))
                .collect(),
        });
    }
    for (number, position) in (1..).zip(operation.offsets.iter().flat_map(|offsets| &offsets.positions)) {
        known_partition(cluster, &position.topic, Some(position.partition))
            .await
            .map_err(|refusal| Refusal {
                message: format!("position {number}: {}", refusal.message),
                ..refusal
            })?;
    }
    Ok(routed)
}

async fn partition_of(cluster: &Cluster, branch: BranchKey, record: &OutgoingRecord) -> Result<i32, Refusal> {
    let partitions = known_partition(cluster, &record.topic, record.partition).await?;
    Ok(match (record.partition, &record.key.0) {
        (Some(partition), _) => partition,
        (None, Some(key)) => partitioner::of_key(key, partitions),
        (None, None) => partitioner::of_branch(branch, partitions),
    })
}

/// How many partitions the topic has; refused if `partition` is none of them.
async fn known_partition(cluster: &Cluster, topic: &str, partition: Option<i32>) -> Result<i32, Refusal> {
    // What is remembered of a topic may be older than partitions that were added.
    for looked_up_again in [false, true] {
        let found = cluster
            .topic(topic)
            .await
            .map_err(|error| failure::refusal(&error))?;
        let partitions = i32::try_from(found.leaders.len()).unwrap_or(i32::MAX);
        if partitions > 0 && partition.is_none_or(|partition| (0..partitions).contains(&partition)) {
            return Ok(partitions);
        }
        cluster.forget_topic(topic);
        if looked_up_again {
            let partition = partition.map_or_else(|| "any".to_owned(), |partition| partition.to_string());
            return Err(Refusal::permanent(
                "UNKNOWN_PARTITION",
                format!("topic {topic} has {partitions} partitions, numbered from 0, and not {partition}"),
            ));
        }
    }
    unreachable!("the second round returns")
}

/// Does the work. What it wrote before an error is ended by whoever aborts the transaction.
pub(super) async fn perform(
    cluster: &Cluster,
    transaction: &KafkaTransaction,
    routed: &Routed,
    offsets: Option<&GroupOffsets>,
    deadline: Instant,
) -> Result<(), KafkaError> {
    let records = write(cluster, transaction, routed, deadline);
    let positions = async {
        match offsets.filter(|offsets| !offsets.positions.is_empty()) {
            Some(offsets) => commit_positions(cluster, transaction, offsets, deadline).await,
            None => Ok(()),
        }
    };
    try_join(records, positions).await.map(drop)
}

async fn write(
    cluster: &Cluster,
    transaction: &KafkaTransaction,
    routed: &Routed,
    deadline: Instant,
) -> Result<(), KafkaError> {
    let writer = Writer {
        producer: transaction.producer,
        epoch: transaction.epoch,
        // The epoch is new, and a branch has one batch for a partition: sent again, it is known by this number.
        sequence: 0,
        transactional: true,
    };
    let mut pending = BTreeMap::new();
    for (place, records) in routed {
        let bytes = batch::encode(records, writer, wall_clock_ms())?;
        pending.insert(place.clone(), bytes);
    }
    let mut pause = Pause::new();
    while !pending.is_empty() {
        let passing = write_round(cluster, transaction, &mut pending, deadline).await?;
        if let Some(error) = passing
            && !pause.before(deadline).await
        {
            return Err(error);
        }
    }
    Ok(())
}

/// One request to each leader; takes out of `pending` what is written, and says why something is left.
async fn write_round(
    cluster: &Cluster,
    transaction: &KafkaTransaction,
    pending: &mut BTreeMap<(String, i32), Bytes>,
    deadline: Instant,
) -> Result<Option<KafkaError>, KafkaError> {
    let mut passing = None;
    let mut of_leader: BTreeMap<BrokerId, Vec<(String, i32)>> = BTreeMap::new();
    for (topic, partition) in pending.keys() {
        match cluster.leader(topic, *partition).await {
            Ok(leader) => of_leader
                .entry(leader)
                .or_default()
                .push((topic.clone(), *partition)),
            Err(error) if passes(&error) => passing = Some(error),
            Err(error) => return Err(error),
        }
    }
    let limit = deadline
        .saturating_duration_since(Instant::now())
        .min(ANSWER_LIMIT);
    let asked = of_leader.into_iter().map(|(leader, places)| {
        let request = produce_request(transaction, &places, pending);
        async move {
            let answer = cluster.ask(leader, &request, version::PRODUCE, limit).await;
            (places, answer)
        }
    });
    for (places, answer) in join_all(asked).await {
        let response = match answer {
            Ok(response) => response,
            Err(error) if passes(&error) => {
                places.iter().for_each(|(topic, _)| cluster.forget_topic(topic));
                passing = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        for topic in response.responses {
            for partition in topic.partition_responses {
                let place = (topic.name.to_string(), partition.index);
                let said = partition.error_message.as_deref().unwrap_or_default();
                let error = KafkaError::said(
                    "Produce",
                    partition.error_code,
                    format!("topic {} partition {} {said}", place.0, place.1),
                );
                match error.code() {
                    None | Some(ResponseError::DuplicateSequenceNumber) => drop(pending.remove(&place)),
                    Some(_) if passes(&error) => {
                        cluster.forget_topic(&place.0);
                        passing = Some(error);
                    }
                    Some(_) => return Err(error),
                }
            }
        }
    }
    Ok(passing)
}

fn produce_request(
    transaction: &KafkaTransaction,
    places: &[(String, i32)],
    pending: &BTreeMap<(String, i32), Bytes>,
) -> ProduceRequest {
    let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
    for place in places {
        let data = PartitionProduceData::default()
            .with_index(place.1)
            .with_records(pending.get(place).cloned());
        topics.entry(&place.0).or_default().push(data);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| {
            TopicProduceData::default()
                .with_name(topic_name(topic))
                .with_partition_data(partitions)
        })
        .collect();
    ProduceRequest::default()
        .with_transactional_id(Some(id(&transaction.transactional_id)))
        .with_acks(ACKS_ALL)
        .with_timeout_ms(i32::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(topics)
}

async fn commit_positions(
    cluster: &Cluster,
    transaction: &KafkaTransaction,
    offsets: &GroupOffsets,
    deadline: Instant,
) -> Result<(), KafkaError> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for position in &offsets.positions {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(position.partition)
            .with_committed_offset(position.offset)
            .with_committed_metadata(Some(text(position.metadata.as_deref().unwrap_or_default())));
        topics.entry(&position.topic).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        })
        .collect();
    let mut request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id(&transaction.transactional_id))
        .with_group_id(GroupId(text(&offsets.group)))
        .with_producer_id(transaction.producer.into())
        .with_producer_epoch(transaction.epoch)
        .with_generation_id(-1)
        .with_topics(topics);
    if let Some(member) = &offsets.member {
        request = request
            .with_generation_id(member.generation)
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text));
    }
    let error_of = |response: &kafka_protocol::messages::TxnOffsetCommitResponse| {
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.find_map(|partition| refusal("TxnOffsetCommit", partition.error_code))
    };
    cluster
        .ask_coordinator(
            Coordinated::Group,
            &offsets.group,
            &request,
            version::TXN_OFFSET_COMMIT,
            deadline,
            error_of,
        )
        .await
        .map(drop)
}

/// What a transaction holds back, for people.
pub(super) fn places(routed: &Routed, offsets: Option<&GroupOffsets>) -> String {
    let mut places: Vec<String> = routed
        .keys()
        .take(MAX_PLACES_TOLD)
        .map(|(topic, partition)| format!("{topic}-{partition}"))
        .collect();
    if routed.len() > MAX_PLACES_TOLD {
        places.push(format!("and {} more", routed.len() - MAX_PLACES_TOLD));
    }
    if let Some(offsets) = offsets {
        places.push(format!("group {}", offsets.group));
    }
    places.join(", ")
}

/// More partitions than these are counted and not named.
const MAX_PLACES_TOLD: usize = 20;
