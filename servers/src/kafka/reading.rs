//! Looking at a broker from outside, as a consumer does: what is committed, what is held back, how far a group has come.
//!
//! Written apart from every client of the product, so that it can judge them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, ListTransactionsRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::RecordBatchDecoder;

use super::KafkaView;
use crate::wait_until;

const FETCH_BYTES: i32 = 16 << 20;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;
/// Asks for the end of a partition.
const LATEST: i64 = -1;
/// What a group is answered whose offsets are part of an open transaction.
const UNSTABLE_OFFSET_COMMIT: i16 = 88;
/// What is answered for a group while the topic of offsets is made or read: loading, not available, not the coordinator.
const NOT_YET: [i16; 3] = [14, 15, 16];
/// How long a group may take to be answered for.
const GROUP_LIMIT: Duration = Duration::from_secs(30);

/// States of a transaction that is not at its end.
const OPEN_STATES: [&str; 3] = ["Ongoing", "PrepareCommit", "PrepareAbort"];

/// A record as a consumer sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ReadRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// How far a group has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Committed {
    /// It never committed anything.
    Nothing,
    /// The next offset to be read.
    At(i64),
    /// An open transaction holds a commit of it back.
    Unstable,
}

impl KafkaView {
    /// Everything that a consumer with `read_committed` can see of a topic, in the order of partition and offset. What open
    /// transactions hold back is not there yet; see [`KafkaView::is_stable`].
    pub fn read_committed(&self, topic: &str) -> anyhow::Result<Vec<ReadRecord>> {
        self.read(topic, READ_COMMITTED)
    }

    /// What a consumer with `read_committed` gets of a partition from an offset on, at one time: perhaps not all.
    pub fn read_committed_from(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> anyhow::Result<Vec<ReadRecord>> {
        let mut records = Vec::new();
        self.read_from(topic, partition, from, READ_COMMITTED, &mut records)?;
        Ok(records)
    }

    /// How many transactions are open at the broker, or on their way to their end.
    pub fn open_transactions(&self) -> anyhow::Result<usize> {
        let states = OPEN_STATES.map(StrBytes::from_static_str).to_vec();
        let answer = self.ask(0, &ListTransactionsRequest::default().with_state_filters(states))?;
        ensure!(
            answer.error_code == 0,
            "error {} for the list of transactions",
            answer.error_code
        );
        Ok(answer.transaction_states.len())
    }

    /// Everything that is in a topic, aborted or not.
    pub fn read_uncommitted(&self, topic: &str) -> anyhow::Result<Vec<ReadRecord>> {
        self.read(topic, READ_UNCOMMITTED)
    }

    /// Whether no open transaction holds anything of the topic back.
    pub fn is_stable(&self, topic: &str) -> anyhow::Result<bool> {
        for partition in 0..self.partitions(topic)? {
            if self.end(topic, partition, READ_COMMITTED)? < self.end(topic, partition, READ_UNCOMMITTED)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far a group has come in a partition.
    pub fn committed(&self, name_of_group: &str, topic: &str, partition: i32) -> anyhow::Result<Committed> {
        let topics = OffsetFetchRequestTopics::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![partition]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(name_of_group.to_owned())))
            .with_topics(Some(vec![topics]));
        let request = OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(true);
        // Asking for the coordinator makes the topic of offsets, if this is the first group of all.
        let key = vec![StrBytes::from_string(name_of_group.to_owned())];
        let find = FindCoordinatorRequest::default().with_coordinator_keys(key);
        let mut answer = OffsetFetchResponse::default();
        wait_until("the group's coordinator", GROUP_LIMIT, || {
            self.ask(4, &find)?;
            answer = self.ask(8, &request)?;
            let code = answer.groups.first().map_or(0, |group| group.error_code);
            Ok(!NOT_YET.contains(&code))
        })?;
        let group = answer.groups.first().context("an answer without the group")?;
        ensure!(
            group.error_code == 0,
            "the group is answered error {}",
            group.error_code
        );
        let partition = group.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.context("an answer without the partition")?;
        match (partition.error_code, partition.committed_offset) {
            (UNSTABLE_OFFSET_COMMIT, _) => Ok(Committed::Unstable),
            (0, offset) if offset < 0 => Ok(Committed::Nothing),
            (0, offset) => Ok(Committed::At(offset)),
            (code, _) => anyhow::bail!("the group's offset is answered error {code}"),
        }
    }

    /// The end of a partition: the last stable offset with `read_committed`, else the high watermark.
    fn end(&self, topic: &str, partition: i32, isolation: i8) -> anyhow::Result<i64> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(LATEST);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation)
            .with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(name(topic))
                    .with_partitions(vec![asked]),
            ]);
        let answer = self.ask(7, &request)?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.context("an answer without the partition")?;
        ensure!(
            found.error_code == 0,
            "error {} for the end of {topic}",
            found.error_code
        );
        Ok(found.offset)
    }

    fn partitions(&self, topic: &str) -> anyhow::Result<i32> {
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = self.ask(9, &request)?;
        let found = answer.topics.first().context("an answer without the topic")?;
        ensure!(
            found.error_code == 0,
            "error {} for topic {topic}",
            found.error_code
        );
        Ok(i32::try_from(found.partitions.len())?)
    }

    fn read(&self, topic: &str, isolation: i8) -> anyhow::Result<Vec<ReadRecord>> {
        let mut records = Vec::new();
        for partition in 0..self.partitions(topic)? {
            let end = self.end(topic, partition, isolation)?;
            let mut next = 0;
            while next < end {
                let reached = self.read_from(topic, partition, next, isolation, &mut records)?;
                ensure!(
                    reached > next,
                    "partition {partition} of {topic} gives nothing at offset {next}"
                );
                next = reached;
            }
        }
        Ok(records)
    }

    /// One fetch. A consumer drops the records of aborted transactions by itself: the answer names their producers and where
    /// they begin, and the marker in the log says where they end.
    fn read_from(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        isolation: i8,
        records: &mut Vec<ReadRecord>,
    ) -> anyhow::Result<i64> {
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(from)
            .with_partition_max_bytes(FETCH_BYTES);
        let request = FetchRequest::default()
            .with_max_bytes(FETCH_BYTES)
            .with_isolation_level(isolation)
            .with_session_epoch(-1)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(name(topic))
                    .with_partitions(vec![asked]),
            ]);
        let answer = self.ask(11, &request)?;
        let topics = answer.responses.into_iter().next();
        let found = topics.and_then(|topic| topic.partitions.into_iter().next());
        let found = found.context("an answer without the partition")?;
        ensure!(
            found.error_code == 0,
            "error {} for the records of {topic}",
            found.error_code
        );
        let mut begins: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for aborted in found.aborted_transactions.unwrap_or_default() {
            begins
                .entry(aborted.first_offset)
                .or_default()
                .insert(aborted.producer_id.0);
        }
        let mut aborted: BTreeSet<i64> = BTreeSet::new();
        let mut bytes = found.records.unwrap_or_default();
        let mut reached = from;
        while let Some(mut batch) = split_batch(&mut bytes) {
            for record in RecordBatchDecoder::decode(&mut batch)?.records {
                reached = reached.max(record.offset + 1);
                let later = begins.split_off(&(record.offset + 1));
                aborted.extend(std::mem::replace(&mut begins, later).into_values().flatten());
                if record.control {
                    aborted.remove(&record.producer_id);
                } else if record.offset >= from
                    && !(record.transactional && aborted.contains(&record.producer_id))
                {
                    records.push(ReadRecord {
                        partition,
                        offset: record.offset,
                        key: record.key,
                        value: record.value,
                        headers: record
                            .headers
                            .into_iter()
                            .map(|(name, value)| (name.to_string(), value))
                            .collect(),
                    });
                }
            }
        }
        Ok(reached)
    }
}

/// The next whole batch: 8 bytes of offset, 4 of length, and so many more.
fn split_batch(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.get(8..12)?.get_i32()).ok()? + 12;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
