//! What a one-shot branch does: records to be written and a consumer group's offsets to be committed, as bytes of an operation.
//!
//! The encoding is JSON with a version, so that any language can write it:
//!
//! ```json
//! {"handfast_kafka": 1,
//!  "records": [{"topic": "orders", "key": "4711", "value": "paid", "headers": [["kind", "payment"]]},
//!              {"topic": "audit", "partition": 0, "value": {"bytes": "00ff"}}],
//!  "offsets": {"group": "billing", "positions": [{"topic": "invoices", "partition": 3, "offset": 42}]}}
//! ```
//!
//! A key, a value and a header's value is text, `{"bytes": "00ff"}` or `null`. An offset is that of the next record to be read.
//! A field that is not known is an error, so that a slip of the pen is not taken for nothing.

use std::fmt::Write;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use crate::resource::Refusal;

/// The version of the encoding that this build writes and reads.
pub const OPERATION_VERSION: u32 = 1;
/// The most bytes of one operation: it is kept in the journal as a whole.
pub const MAX_OPERATION_BYTES: usize = 1 << 20;
/// The most records of one operation.
pub const MAX_RECORDS: usize = 10_000;
/// The most positions of one operation.
pub const MAX_POSITIONS: usize = 10_000;

/// What a one-shot branch does.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct KafkaOperation {
    /// Written in this order, partition by partition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<OutgoingRecord>,
    /// Committed in step with the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offsets: Option<GroupOffsets>,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutgoingRecord {
    /// The topic, which must exist.
    pub topic: String,
    /// The partition; without one, the key says which, as with Kafka's own producers, and without a key the branch does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The key.
    #[serde(default, skip_serializing_if = "Payload::is_null")]
    pub key: Payload,
    /// The value. `null` is a tombstone, and must be written out.
    #[serde(deserialize_with = "written_out")]
    pub value: Payload,
    /// Names and values; a name may come more than once, and then the last value counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Payload)>,
}

/// Positions of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupOffsets {
    /// The group.
    pub group: String,
    /// Who consumes, so that one that has lost its partitions is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<GroupMember>,
    /// The positions.
    pub positions: Vec<Position>,
}

/// A member of a consumer group, as its consumer tells (`groupMetadata`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMember {
    /// The member's id.
    pub id: String,
    /// The generation, or the member's epoch with the newer group protocol.
    pub generation: i32,
    /// `group.instance.id`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to be read.
    pub offset: i64,
    /// Kept beside it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// Bytes or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct Payload(pub Option<Bytes>);

#[derive(Serialize)]
struct Encoded<'a> {
    handfast_kafka: u32,
    #[serde(flatten)]
    operation: &'a KafkaOperation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decoded {
    #[serde(rename = "handfast_kafka")]
    _version: u32,
    #[serde(default)]
    records: Vec<OutgoingRecord>,
    #[serde(default)]
    offsets: Option<GroupOffsets>,
}

#[derive(Deserialize)]
struct Version {
    handfast_kafka: u32,
}

impl KafkaOperation {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more record, in the partition that its key says.
    #[must_use]
    pub fn record(
        mut self,
        topic: impl Into<String>,
        key: impl Into<Payload>,
        value: impl Into<Payload>,
    ) -> Self {
        self.records.push(OutgoingRecord {
            topic: topic.into(),
            partition: None,
            key: key.into(),
            value: value.into(),
            headers: Vec::new(),
        });
        self
    }

    /// The last record goes to this partition.
    #[must_use]
    pub fn to_partition(mut self, partition: i32) -> Self {
        if let Some(last) = self.records.last_mut() {
            last.partition = Some(partition);
        }
        self
    }

    /// The last record has one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Payload>) -> Self {
        if let Some(last) = self.records.last_mut() {
            last.headers.push((name.into(), value.into()));
        }
        self
    }

    /// The group's position moves to `offset`, the next one to be read. One group an operation: the last one counts.
    #[must_use]
    pub fn position(
        mut self,
        group: impl Into<String>,
        topic: impl Into<String>,
        partition: i32,
        offset: i64,
    ) -> Self {
        let offsets = self.offsets.get_or_insert_with(|| GroupOffsets {
            group: String::new(),
            member: None,
            positions: Vec::new(),
        });
        offsets.group = group.into();
        offsets.positions.push(Position {
            topic: topic.into(),
            partition,
            offset,
            metadata: None,
        });
        self
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self
                .offsets
                .as_ref()
                .is_none_or(|offsets| offsets.positions.is_empty())
    }

    /// As the bytes of an operation.
    pub fn encode(&self) -> Bytes {
        let encoded = Encoded {
            handfast_kafka: OPERATION_VERSION,
            operation: self,
        };
        serde_json::to_vec(&encoded)
            .expect("an operation has text keys only, so JSON can say it")
            .into()
    }

    /// Back from bytes; what cannot be read is refused in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_OPERATION_BYTES {
            return Err(Refusal::permanent(
                "OPERATION_TOO_LARGE",
                format!(
                    "the operation has {} bytes, and {MAX_OPERATION_BYTES} are the most; keep large payloads elsewhere and write \
                     where they are",
                    bytes.len()
                ),
            ));
        }
        let malformed = |what: String| Refusal::permanent("MALFORMED_OPERATION", what);
        let version: Version = serde_json::from_slice(bytes).map_err(|error| {
            malformed(format!(
                "the operation is not JSON with a number in \"handfast_kafka\": {error}"
            ))
        })?;
        if version.handfast_kafka != OPERATION_VERSION {
            return Err(malformed(format!(
                "the operation is of version {}; this build reads version {OPERATION_VERSION}",
                version.handfast_kafka
            )));
        }
        let decoded: Decoded = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("the operation cannot be read: {error}")))?;
        let operation = KafkaOperation {
            records: decoded.records,
            offsets: decoded.offsets,
        };
        match operation.check() {
            Ok(()) => Ok(operation),
            Err(what) => Err(malformed(what)),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.records.len() > MAX_RECORDS {
            return Err(format!(
                "the operation has {} records, and {MAX_RECORDS} are the most",
                self.records.len()
            ));
        }
        for (number, record) in (1..).zip(&self.records) {
            check_topic(&record.topic).map_err(|what| format!("record {number}: {what}"))?;
        }
        let Some(offsets) = &self.offsets else {
            return Ok(());
        };
        if offsets.group.is_empty() {
            return Err("\"group\" is empty".to_owned());
        }
        if offsets.positions.len() > MAX_POSITIONS {
            return Err(format!(
                "the operation has {} positions, and {MAX_POSITIONS} are the most",
                offsets.positions.len()
            ));
        }
        for (number, position) in (1..).zip(&offsets.positions) {
            check_topic(&position.topic).map_err(|what| format!("position {number}: {what}"))?;
            if position.partition < 0 || position.offset < 0 {
                return Err(format!(
                    "position {number}: a partition and an offset are not negative"
                ));
            }
        }
        Ok(())
    }
}

/// What Kafka takes for the name of a topic.
fn check_topic(name: &str) -> Result<(), String> {
    let is_legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || !name.chars().all(is_legal) || name == "." || name == ".." {
        return Err(format!(
            "{name:?} is no topic; a name has 1 to 249 of the letters a-z, A-Z, 0-9, '.', '_' and '-'"
        ));
    }
    Ok(())
}

fn written_out<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
    Payload::deserialize(deserializer)
}

impl Payload {
    fn is_null(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Payload> for serde_json::Value {
    fn from(payload: Payload) -> Self {
        match payload.0 {
            None => serde_json::Value::Null,
            Some(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => text.into(),
                Err(_) => serde_json::json!({ "bytes": hex(&bytes) }),
            },
        }
    }
}

impl TryFrom<serde_json::Value> for Payload {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        use serde_json::Value;
        let forms =
            || "text, {\"bytes\": \"00ff\"} with an even number of hexadecimal digits, or null".to_owned();
        match value {
            Value::Null => Ok(Payload(None)),
            Value::String(text) => Ok(Payload(Some(text.into()))),
            Value::Object(object) if object.len() == 1 => object
                .get("bytes")
                .and_then(Value::as_str)
                .and_then(unhex)
                .map(|bytes| Payload(Some(bytes.into())))
                .ok_or_else(forms),
            _ => Err(forms()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

macro_rules! from {
    ($($source:ty),* $(,)?) => {$(
        impl From<$source> for Payload {
            fn from(value: $source) -> Self {
                Payload(Some(Bytes::from(value)))
            }
        }
    )*};
}
from!(&'static str, String, Vec<u8>, Bytes);

impl<T: Into<Payload>> From<Option<T>> for Payload {
    fn from(value: Option<T>) -> Self {
        value.map_or(Payload(None), Into::into)
    }
}

#[cfg(test)]
mod tests;
