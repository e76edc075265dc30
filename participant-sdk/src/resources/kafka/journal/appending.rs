//! The task that appends to the journal.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::InitProducerIdRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Append, PARTITION, Shared};
use crate::resources::kafka::batch::{self, NewRecord, Writer};
use crate::resources::kafka::cluster::{Pause, passes, topic_name, version};
use crate::resources::kafka::options::{ANSWER_LIMIT, APPEND_LIMIT, BATCH_BYTES};
use crate::resources::kafka::wall_clock_ms;
use crate::resources::kafka::wire::KafkaError;

/// As durable as the cluster can: every replica in sync has it.
pub(in crate::resources::kafka) const ACKS_ALL: i16 = -1;

/// Appends until nobody is left who could ask for it.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Append>) {
    let mut writer = None;
    while let Some(first) = queue.recv().await {
        let mut batch = Gathered::default();
        batch.add(first);
        while batch.bytes < BATCH_BYTES
            && let Ok(next) = queue.try_recv()
        {
            batch.add(next);
        }
        let delivered = deliver(&shared, &batch.records, &mut writer).await;
        if delivered.is_err() {
            // The batch may still be on its way. Another producer id keeps what comes next apart from it.
            writer = None;
        }
        batch.tell(&delivered);
    }
}

#[derive(Default)]
struct Gathered {
    records: Vec<NewRecord>,
    bytes: usize,
    /// Each with the place behind its last record.
    waiting: Vec<(i64, Append)>,
}

impl Gathered {
    fn add(&mut self, mut append: Append) {
        for (record, operation) in std::mem::take(&mut append.records) {
            let record = NewRecord {
                key: Some(record.key().encode()),
                value: record.value(&operation),
                headers: Vec::new(),
            };
            self.bytes += record.len();
            self.records.push(record);
        }
        let behind = i64::try_from(self.records.len()).expect("a batch of bounded bytes");
        self.waiting.push((behind, append));
    }

    fn tell(self, delivered: &Result<i64, KafkaError>) {
        for (behind, append) in self.waiting {
            let told = delivered.clone().map(|first| first + behind - 1);
            // Who does not wait any more does not need to know.
            let _ = append.done.send(told);
        }
    }
}

/// Writes one batch, again and again until its fate is known; the offset of its first record.
async fn deliver(
    shared: &Shared,
    records: &[NewRecord],
    writer: &mut Option<Writer>,
) -> Result<i64, KafkaError> {
    let deadline = Instant::now() + APPEND_LIMIT;
    let mut pause = Pause::new();
    loop {
        let attempt = async {
            let current = match *writer {
                Some(writer) => writer,
                None => *writer.insert(new_writer(shared).await?),
            };
            let bytes = batch::encode(records, current, wall_clock_ms())?;
            let offset = produce(shared, bytes).await?;
            let next = i32::try_from(records.len()).expect("a batch of bounded bytes");
            Ok((offset, current.sequence.wrapping_add(next) & i32::MAX))
        };
        match attempt.await {
            Ok((offset, next)) => {
                if let Some(writer) = writer {
                    writer.sequence = next;
                }
                return Ok(offset);
            }
            Err(error) if passes(&error) => {
                shared.cluster.forget_topic(&shared.topic);
                if !pause.before(deadline).await {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn new_writer(shared: &Shared) -> Result<Writer, KafkaError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let response = shared
        .cluster
        .ask_any(&request, version::INIT_PRODUCER_ID)
        .await?;
    if response.error_code != 0 {
        return Err(KafkaError::refused("InitProducerId", response.error_code));
    }
    Ok(Writer {
        producer: response.producer_id.0,
        epoch: response.producer_epoch,
        sequence: 0,
        transactional: false,
    })
}

async fn produce(shared: &Shared, bytes: Bytes) -> Result<i64, KafkaError> {
    let leader = shared.cluster.leader(&shared.topic, PARTITION).await?;
    let partition = PartitionProduceData::default()
        .with_index(PARTITION)
        .with_records(Some(bytes));
    let request = ProduceRequest::default()
        .with_acks(ACKS_ALL)
        .with_timeout_ms(i32::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![
            TopicProduceData::default()
                .with_name(topic_name(&shared.topic))
                .with_partition_data(vec![partition]),
        ]);
    let response = shared
        .cluster
        .ask(leader, &request, version::PRODUCE, ANSWER_LIMIT)
        .await?;
    let partition = response
        .responses
        .first()
        .and_then(|topic| topic.partition_responses.first());
    match partition {
        Some(written) if written.error_code == 0 && written.base_offset >= 0 => Ok(written.base_offset),
        Some(written) if written.error_code == 0 => Err(KafkaError::refused(
            "Produce",
            ResponseError::DuplicateSequenceNumber.code(),
        )),
        Some(refused) => {
            let said = refused.error_message.as_deref().unwrap_or_default();
            Err(KafkaError::said(
                "Produce",
                refused.error_code,
                format!("topic {} {said}", shared.topic),
            ))
        }
        None => Err(KafkaError::Unusable(
            "Produce is answered without what was asked for".to_owned(),
        )),
    }
}
