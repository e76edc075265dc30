//! The header of a segment.

use crate::identity::{FORMAT_VERSION, Key, LogId, read_u32, read_u64};
use crate::{Fault, Lsn};

/// The header has a block of its own, so that no frame ever shares a sector or a page with it.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;

const MAGIC: &[u8; 8] = b"HFWALSEG";
const FIELDS_BYTES: usize = 64;
const CRC_AT: usize = 60;

/// Whose segment this is and where it stands in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub first: Lsn,
    pub segment_bytes: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self, log_id: &LogId) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
        block[0..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[16..32].copy_from_slice(log_id);
        block[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        block[40..48].copy_from_slice(&self.first.previous().0.to_le_bytes());
        block[48..56].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = Key::of_log(log_id).crc(&block[..CRC_AT]);
        block[CRC_AT..FIELDS_BYTES].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the header of the segment whose name says `first`; an error names the offset.
    pub(crate) fn decode(
        block: &[u8],
        log_id: &LogId,
        first: Lsn,
    ) -> std::result::Result<SegmentHeader, (u64, Fault)> {
        let damaged = (0, Fault::SegmentHeaderDamaged);
        if block.len() != SEGMENT_HEADER_BYTES as usize || &block[0..8] != MAGIC {
            return Err(damaged);
        }
        if Key::of_log(log_id).crc(&block[..CRC_AT]) != read_u32(block, CRC_AT) || &block[16..32] != log_id {
            return Err(damaged);
        }
        let version = read_u32(block, 8);
        if version != FORMAT_VERSION {
            return Err((8, Fault::UnknownVersion { found: version }));
        }
        if read_u64(block, 32) != first.0 || read_u64(block, 40) != first.previous().0 {
            return Err(damaged);
        }
        if let Some(stray) = block[FIELDS_BYTES..].iter().position(|byte| *byte != 0) {
            return Err(((FIELDS_BYTES + stray) as u64, Fault::StrayBytes));
        }
        Ok(SegmentHeader {
            first,
            segment_bytes: read_u64(block, 48),
        })
    }
}

#[cfg(test)]
mod tests;
