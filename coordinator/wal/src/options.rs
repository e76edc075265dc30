//! The bounds of a log, in one place.

use crate::frame::{self, FRAME_HEADER_BYTES};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::{Result, WalError};

/// The largest record that any log takes, in bytes, whatever its options.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// The most bytes of records that one frame holds, so that a reader knows how much memory a frame can ask for.
pub(crate) const MAX_FRAME_RECORD_BYTES: usize = MAX_RECORD_BYTES + frame::RECORD_LENGTH_BYTES;

const SMALLEST_SEGMENT_BYTES: u64 = 2 * SEGMENT_HEADER_BYTES;

/// How a log is laid out and how much it buffers. Segments that exist keep the size that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of a new segment in bytes, a multiple of 4096. Disk use is at least two segments: one open, one spare.
    pub segment_bytes: u64,
    /// How many bytes of records may wait for the batch in flight. As much again may be in flight. Half a segment or
    /// less keeps a batch from needing two new segments, of which only one is reserved.
    pub buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 << 20,
            buffer_bytes: 8 << 20,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        if !self.segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES)
            || self.segment_bytes < SMALLEST_SEGMENT_BYTES
        {
            return Err(WalError::InvalidOptions {
                reason: "segment_bytes must be a multiple of 4096 and at least 8192",
            });
        }
        if self.segment_bytes > u64::from(u32::MAX) {
            return Err(WalError::InvalidOptions {
                reason: "segment_bytes must be below 4 GiB",
            });
        }
        if self.buffer_bytes < 64 {
            return Err(WalError::InvalidOptions {
                reason: "buffer_bytes must be at least 64",
            });
        }
        Ok(())
    }

    /// The largest record that fits a new segment, a frame and the buffer.
    pub(crate) fn record_limit(&self) -> usize {
        self.record_limit_of(self.segment_bytes)
    }

    /// The same of an empty segment of this size, which may be one that was made with other options.
    pub(crate) fn record_limit_of(&self, segment_bytes: u64) -> usize {
        let payload_at = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES;
        let room = segment_bytes - payload_at - FRAME_HEADER_BYTES;
        let fits_segment = frame::raw_bytes_that_fit(payload_at, room);
        let with_length = fits_segment.min(self.buffer_bytes).min(MAX_FRAME_RECORD_BYTES);
        with_length - frame::RECORD_LENGTH_BYTES
    }
}
