//! The frame: one batch of records, or the seal that closes a segment.
//!
//! ```text
//!   0        4     6     8        12       16        24                 32      40       44        60
//!   ┌────────┬─────┬─────┬────────┬────────┬─────────┬──────────────────┬───────┬────────┬─────────┬────────┐
//!   │ "HFFR" │kind │ 0   │payload │record  │first lsn│previous durable  │offset │payload │ 0       │header  │
//!   │        │     │     │length  │count   │         │lsn               │       │crc     │         │crc     │
//!   └────────┴─────┴─────┴────────┴────────┴─────────┴──────────────────┴───────┴────────┴─────────┴────────┘
//!   followed by the payload, then zeros up to a multiple of 64.
//! ```
//!
//! A header never crosses a sector, because frames begin at multiples of 64. In the payload, the first byte of every
//! sector is [`SECTOR_TAG`]: no sector of a frame is all zero, so an all-zero sector always means that it never
//! reached the medium. The tag has four bits set, so no single flipped bit can make a sector look lost.

use crate::identity::{Key, read_u32, read_u64};
use crate::options::MAX_FRAME_RECORD_BYTES;
use crate::{Fault, Lsn};

/// What the medium writes whole or not at all.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// Frames begin at multiples of this, and a header is this long.
pub(crate) const FRAME_HEADER_BYTES: u64 = 64;
/// Stands before each record.
pub(crate) const RECORD_LENGTH_BYTES: usize = 4;
/// The first byte of each sector that begins within a payload.
pub(crate) const SECTOR_TAG: u8 = 0xA5;

const MAGIC: &[u8; 4] = b"HFFR";
const KIND_BATCH: u16 = 1;
const KIND_SEAL: u16 = 2;
const CRC_AT: usize = 60;

/// The longest payload, tags included, that a header may state.
const MAX_PAYLOAD_BYTES: u64 =
    MAX_FRAME_RECORD_BYTES as u64 / (SECTOR_BYTES - 1) * SECTOR_BYTES + 2 * SECTOR_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch,
    /// No records; `first` is the first LSN of the next segment.
    Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: Kind,
    pub payload_bytes: u32,
    pub records: u32,
    pub first: Lsn,
    pub previous_durable: Lsn,
    pub offset: u64,
    pub payload_crc: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self, key: Key) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mut bytes = [0; FRAME_HEADER_BYTES as usize];
        let kind = match self.kind {
            Kind::Batch => KIND_BATCH,
            Kind::Seal => KIND_SEAL,
        };
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_durable.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = key.crc(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at `offset`, or nothing if these bytes are not one that was written there under this key.
    pub(crate) fn decode(bytes: &[u8], key: Key, offset: u64) -> Option<FrameHeader> {
        if bytes.len() < FRAME_HEADER_BYTES as usize || &bytes[0..4] != MAGIC {
            return None;
        }
        if key.crc(&bytes[..CRC_AT]) != read_u32(bytes, CRC_AT) {
            return None;
        }
        let kind = match u16::from_le_bytes([bytes[4], bytes[5]]) {
            KIND_BATCH => Kind::Batch,
            KIND_SEAL => Kind::Seal,
            _ => return None,
        };
        let header = FrameHeader {
            kind,
            payload_bytes: read_u32(bytes, 8),
            records: read_u32(bytes, 12),
            first: Lsn(read_u64(bytes, 16)),
            previous_durable: Lsn(read_u64(bytes, 24)),
            offset: read_u64(bytes, 32),
            payload_crc: read_u32(bytes, 40),
        };
        let bounded =
            u64::from(header.payload_bytes) <= MAX_PAYLOAD_BYTES && header.previous_durable < header.first;
        (header.offset == offset && bounded).then_some(header)
    }

    pub(crate) fn payload_at(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES
    }

    /// Where the next frame begins.
    pub(crate) fn end(&self) -> u64 {
        (self.payload_at() + u64::from(self.payload_bytes)).next_multiple_of(FRAME_HEADER_BYTES)
    }
}

/// Puts one record into the buffer of a batch.
pub(crate) fn push_record(raw: &mut Vec<u8>, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("append refuses records above MAX_RECORD_BYTES");
    raw.extend_from_slice(&length.to_le_bytes());
    raw.extend_from_slice(record);
}

/// Takes the records of a batch apart.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Records { rest: raw }
    }
}

impl<'a> Iterator for Records<'a> {
    /// An error is a length that points outside of the batch.
    type Item = std::result::Result<&'a [u8], Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self
            .rest
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let record = length.and_then(|length| self.rest.get(RECORD_LENGTH_BYTES..)?.get(..length));
        match record {
            Some(record) => {
                self.rest = &self.rest[RECORD_LENGTH_BYTES + record.len()..];
                Some(Ok(record))
            }
            None => {
                self.rest = &[];
                Some(Err(Fault::PayloadDamaged))
            }
        }
    }
}

/// How many bytes `raw` bytes of records take at `payload_at`, tags included.
pub(crate) fn stored_bytes(payload_at: u64, raw: u64) -> u64 {
    let before_first_tag = payload_at.next_multiple_of(SECTOR_BYTES) - payload_at;
    raw + raw.saturating_sub(before_first_tag).div_ceil(SECTOR_BYTES - 1)
}

/// How many bytes of records fit into `room` bytes at `payload_at`: the inverse of [`stored_bytes`].
pub(crate) fn raw_bytes_that_fit(payload_at: u64, room: u64) -> usize {
    let before_first_tag = payload_at.next_multiple_of(SECTOR_BYTES) - payload_at;
    let tags = room.saturating_sub(before_first_tag).div_ceil(SECTOR_BYTES);
    (room - tags) as usize
}

/// The longest run of whole records at the front of `raw` that takes at most `limit` bytes: its length and how many.
pub(crate) fn whole_records_within(raw: &[u8], limit: usize) -> (usize, u32) {
    let (mut bytes, mut records) = (0, 0);
    for record in Records::new(raw) {
        let record = record.expect("the buffer was filled by push_record");
        let next = bytes + RECORD_LENGTH_BYTES + record.len();
        if next > limit {
            break;
        }
        bytes = next;
        records += 1;
    }
    (bytes, records)
}

/// Writes a whole frame, padding included, into `buffer`, for the place `offset`.
pub(crate) fn encode_batch(
    buffer: &mut Vec<u8>,
    key: Key,
    offset: u64,
    previous: Lsn,
    records: u32,
    raw: &[u8],
) {
    let payload_at = offset + FRAME_HEADER_BYTES;
    buffer.clear();
    buffer.resize(FRAME_HEADER_BYTES as usize, 0);
    let mut rest = raw;
    while !rest.is_empty() {
        let position = offset + buffer.len() as u64;
        let mut room = position.next_multiple_of(SECTOR_BYTES) - position;
        if room == 0 {
            buffer.push(SECTOR_TAG);
            room = SECTOR_BYTES - 1;
        }
        let (now, later) = rest.split_at(rest.len().min(room as usize));
        buffer.extend_from_slice(now);
        rest = later;
    }
    let payload = &buffer[FRAME_HEADER_BYTES as usize..];
    debug_assert_eq!(payload.len() as u64, stored_bytes(payload_at, raw.len() as u64));
    let header = FrameHeader {
        kind: Kind::Batch,
        payload_bytes: u32::try_from(payload.len()).expect("a frame is smaller than a segment"),
        records,
        first: previous.next(),
        previous_durable: previous,
        offset,
        payload_crc: key.crc(payload),
    };
    buffer[..FRAME_HEADER_BYTES as usize].copy_from_slice(&header.encode(key));
    buffer.resize(buffer.len().next_multiple_of(FRAME_HEADER_BYTES as usize), 0);
}

/// The frame that closes a segment whose last record is `last`.
pub(crate) fn encode_seal(key: Key, offset: u64, last: Lsn) -> Vec<u8> {
    let header = FrameHeader {
        kind: Kind::Seal,
        payload_bytes: 0,
        records: 0,
        first: last.next(),
        previous_durable: last,
        offset,
        payload_crc: key.crc(&[]),
    };
    header.encode(key).to_vec()
}

/// Takes the tags out of a payload that stood at `payload_at`. The caller has checked its checksum.
pub(crate) fn strip_tags(payload_at: u64, payload: &[u8], raw: &mut Vec<u8>) {
    raw.clear();
    let before_first_tag = (payload_at.next_multiple_of(SECTOR_BYTES) - payload_at) as usize;
    let (head, sectors) = payload.split_at(payload.len().min(before_first_tag));
    raw.extend_from_slice(head);
    for sector in sectors.chunks(SECTOR_BYTES as usize) {
        raw.extend_from_slice(&sector[1..]);
    }
}

#[cfg(test)]
mod tests;
