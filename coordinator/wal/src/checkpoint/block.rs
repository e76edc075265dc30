//! The pieces of a checkpoint file.

use crate::identity::{FORMAT_VERSION, Key, LogId, read_u32, read_u64};
use crate::options::MAX_FRAME_RECORD_BYTES;
use crate::{Fault, Lsn};

pub(super) const FILE_HEADER_BYTES: usize = 64;
pub(super) const BLOCK_HEADER_BYTES: usize = 32;

/// A chunk is written when it has reached this, so that a commit never waits behind more of a checkpoint.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// The longest that a block can be: almost a chunk, then one record of the largest size.
const MAX_BLOCK_BYTES: usize = CHUNK_BYTES + MAX_FRAME_RECORD_BYTES;

const FILE_MAGIC: &[u8; 8] = b"HFWALCKP";
const FILE_CRC_AT: usize = 60;
const BLOCK_MAGIC: &[u8; 4] = b"HFCB";
const BLOCK_CRC_AT: usize = 28;
const KIND_CHUNK: u16 = 1;
const KIND_FOOTER: u16 = 2;

pub(super) fn encode_file_header(log_id: &LogId, through: Lsn) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[0..8].copy_from_slice(FILE_MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(log_id);
    bytes[32..40].copy_from_slice(&through.0.to_le_bytes());
    let crc = Key::of_log(log_id).crc(&bytes[..FILE_CRC_AT]);
    bytes[FILE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn check_file_header(bytes: &[u8], log_id: &LogId, through: Lsn) -> Result<(), Fault> {
    if bytes.len() != FILE_HEADER_BYTES || &bytes[0..8] != FILE_MAGIC {
        return Err(Fault::CheckpointDamaged);
    }
    if Key::of_log(log_id).crc(&bytes[..FILE_CRC_AT]) != read_u32(bytes, FILE_CRC_AT)
        || &bytes[16..32] != log_id
    {
        return Err(Fault::CheckpointDamaged);
    }
    match read_u32(bytes, 8) {
        FORMAT_VERSION if read_u64(bytes, 32) == through.0 => Ok(()),
        FORMAT_VERSION => Err(Fault::CheckpointDamaged),
        found => Err(Fault::UnknownVersion { found }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chunk,
    Footer,
}

/// What stands before the bytes of a block. `index` counts the blocks of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub kind: Kind,
    pub index: u32,
    pub bytes: u32,
    pub records: u32,
    pub crc: u32,
}

impl BlockHeader {
    pub(super) fn encode(&self, key: Key) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let kind = match self.kind {
            Kind::Chunk => KIND_CHUNK,
            Kind::Footer => KIND_FOOTER,
        };
        bytes[0..4].copy_from_slice(BLOCK_MAGIC);
        bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.records.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        let crc = key.crc(&bytes[..BLOCK_CRC_AT]);
        bytes[BLOCK_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header, or nothing if these bytes are not that of block `index`.
    pub(super) fn decode(bytes: &[u8], key: Key, index: u32) -> Option<BlockHeader> {
        if bytes.len() != BLOCK_HEADER_BYTES || &bytes[0..4] != BLOCK_MAGIC {
            return None;
        }
        if key.crc(&bytes[..BLOCK_CRC_AT]) != read_u32(bytes, BLOCK_CRC_AT) || read_u32(bytes, 8) != index {
            return None;
        }
        let kind = match u16::from_le_bytes([bytes[4], bytes[5]]) {
            KIND_CHUNK => Kind::Chunk,
            KIND_FOOTER => Kind::Footer,
            _ => return None,
        };
        let header = BlockHeader {
            kind,
            index,
            bytes: read_u32(bytes, 12),
            records: read_u32(bytes, 16),
            crc: read_u32(bytes, 20),
        };
        (header.bytes as usize <= MAX_BLOCK_BYTES).then_some(header)
    }
}

/// What the footer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub records: u64,
    /// Of all chunks, headers not counted.
    pub bytes: u64,
}

impl Totals {
    pub(super) fn encode(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.records.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests;
