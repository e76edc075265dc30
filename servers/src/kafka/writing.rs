//! Writing as any producer and any consumer could, outside of transactions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::KafkaView;
use crate::wait_until;

const ACKS_ALL: i16 = -1;
/// How long the broker may wait for its copies.
const TIMEOUT_MS: i32 = 10_000;
/// What is answered, and nothing written, while a topic was just made or a broker just started.
const NOT_LEADER: i16 = 6;
/// How long a partition may be without its leader.
const LEADER_LIMIT: Duration = Duration::from_secs(30);
/// Of a group that has no members.
const NO_GENERATION: i32 = -1;

/// A record to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Bytes,
}

impl KafkaView {
    /// Writes one batch to a partition, and returns once it is acknowledged. An error may mean that it is there all the same.
    pub fn write(&self, topic: &str, partition: i32, records: &[NewRecord]) -> anyhow::Result<()> {
        let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let record = |(record, position): (&NewRecord, i32)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(position),
            sequence: NO_SEQUENCE.wrapping_add(position),
            timestamp,
            key: record.key.clone(),
            value: Some(record.value.clone()),
            headers: IndexMap::new(),
        };
        let records: Vec<Record> = records.iter().zip(0..).map(record).collect();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, &records, &options)?;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.freeze()));
        let request = ProduceRequest::default()
            .with_acks(ACKS_ALL)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![
                TopicProduceData::default()
                    .with_name(name(topic))
                    .with_partition_data(vec![data]),
            ]);
        let mut code = 0;
        wait_until("the partition's leader", LEADER_LIMIT, || {
            let answer = self.ask(9, &request)?;
            let written = answer.responses.first();
            let written = written.and_then(|topic| topic.partition_responses.first());
            code = written.context("an answer without the partition")?.error_code;
            Ok(code != NOT_LEADER)
        })?;
        ensure!(
            code == 0,
            "error {code} for records to partition {partition} of {topic}"
        );
        Ok(())
    }

    /// Commits the position of a group that has no members.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, next: i64) -> anyhow::Result<()> {
        let position = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(next);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_name(name(topic))
                    .with_partitions(vec![position]),
            ]);
        let answer = self.ask(8, &request)?;
        let committed = answer.topics.first().and_then(|topic| topic.partitions.first());
        let code = committed.context("an answer without the partition")?.error_code;
        ensure!(
            code == 0,
            "error {code} for the position of {group} in partition {partition} of {topic}"
        );
        Ok(())
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
