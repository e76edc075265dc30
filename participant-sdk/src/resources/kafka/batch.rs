//! Batches of records as Kafka's log has them: from our records, and back.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use super::wire::KafkaError;

/// Bytes of a batch before its records, and where its length, its last offset and its count of records are.
const HEADER_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
const LENGTH_COVERS_FROM: usize = 12;
const LAST_OFFSET_DELTA_AT: usize = 23;
const COUNT_AT: usize = 57;

/// One record to be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct NewRecord {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl NewRecord {
    /// Bytes of its contents.
    pub fn len(&self) -> usize {
        let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + of(value))
            .sum();
        of(&self.key) + of(&self.value) + headers
    }
}

/// Who writes a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub producer: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub transactional: bool,
}

/// One batch of these records.
pub(super) fn encode(records: &[NewRecord], writer: Writer, at_ms: i64) -> Result<Bytes, KafkaError> {
    let records: Vec<Record> = records
        .iter()
        .zip(0_i32..)
        .map(|(record, position)| Record {
            transactional: writer.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: writer.producer,
            producer_epoch: writer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(position),
            sequence: writer.sequence.wrapping_add(position),
            timestamp: at_ms,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (StrBytes::from_string(name.clone()), value.clone()))
                .collect::<IndexMap<_, _>>(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut bytes, &records, &options)
        .map_err(|error| KafkaError::Unusable(format!("records cannot be written: {error}")))?;
    Ok(bytes.freeze())
}

/// The records in what a broker sent, and the offset behind them. A batch that was cut short at the end is left for the next
/// time.
pub(super) fn decode(mut bytes: Bytes) -> Result<(Vec<Record>, Option<i64>), KafkaError> {
    let mut records = Vec::new();
    let mut next = None;
    while let Some(batch) = split_batch(&mut bytes) {
        let number = |at: usize| {
            let mut part = &batch[at..];
            part.get_i32()
        };
        let first = (&batch[..]).get_i64();
        next = Some(first + i64::from(number(LAST_OFFSET_DELTA_AT)) + 1);
        // Compaction leaves batches without records behind, for the sake of their offsets.
        if number(COUNT_AT) > 0 {
            let set = RecordBatchDecoder::decode(&mut batch.clone())
                .map_err(|error| {
                    KafkaError::Unusable(format!(
                        "records cannot be read: {error:#}; a batch that is compressed with lz4 or zstd is none that this build reads"
                    ))
                })?;
            records.extend(set.records.into_iter().filter(|record| !record.control));
        }
    }
    Ok((records, next))
}

fn split_batch(bytes: &mut Bytes) -> Option<Bytes> {
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let mut length = &bytes[LENGTH_AT..];
    let length = usize::try_from(length.get_i32())
        .ok()?
        .checked_add(LENGTH_COVERS_FROM)?;
    (HEADER_BYTES..=bytes.len())
        .contains(&length)
        .then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests;
