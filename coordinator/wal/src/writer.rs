//! The writer: puts batches into segments, and moves on to the next one when a segment is full.

use std::fmt;

use crate::frame::{self, FRAME_HEADER_BYTES};
use crate::identity::{Key, LogId};
use crate::latch::Latch;
use crate::options::MAX_FRAME_RECORD_BYTES;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::{Disk, Lsn, Options, Result, WalError, names, spare};

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Syncs that some record waited for: one a frame, three a rotation.
    pub syncs: u64,
    /// Frames.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
}

/// A log that this process owns. [`crate::GroupCommit`] appends to it.
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) log_id: LogId,
    pub(crate) options: Options,
    pub(crate) latch: Latch,
    pub(crate) place: Place,
    pub(crate) spare: bool,
    pub(crate) counters: Counters,
    frame: Vec<u8>,
    _lock: D::Lock,
}

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: Lsn,
    pub segment_bytes: u64,
    pub offset: u64,
    /// The last record of the log, durable.
    pub last: Lsn,
}

impl Place {
    /// Whether the segment holds no frame yet.
    pub fn is_empty(&self) -> bool {
        self.offset == SEGMENT_HEADER_BYTES
    }
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(
        disk: D,
        lock: D::Lock,
        log_id: LogId,
        options: Options,
        place: Place,
        spare: bool,
    ) -> Self {
        Log {
            disk,
            log_id,
            options,
            latch: Latch::default(),
            place,
            spare,
            counters: Counters::default(),
            frame: Vec::new(),
            _lock: lock,
        }
    }

    /// Who this log is.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last record. It is durable.
    pub fn durable(&self) -> Lsn {
        self.place.last
    }

    /// Whether `raw` bytes of records may need the next segment.
    pub(crate) fn may_rotate(&self, raw: usize) -> bool {
        self.records_limit() < raw
    }

    /// Writes all records of a batch durably: one frame, unless a segment ends in between.
    pub(crate) async fn write_batch(&mut self, raw: &[u8]) -> Result<()> {
        let mut rest = raw;
        while !rest.is_empty() {
            let (bytes, records) = frame::whole_records_within(rest, self.records_limit());
            if records == 0 {
                if self.place.is_empty() {
                    return Err(self.too_large(rest));
                }
                self.rotate().await?;
                continue;
            }
            let (now, later) = rest.split_at(bytes);
            self.write_frame(now, records).await?;
            rest = later;
        }
        Ok(())
    }

    /// The next segment would begin with the same record and have the same name. `append` lets no such record in.
    fn too_large(&self, raw: &[u8]) -> WalError {
        let first = frame::Records::new(raw).find_map(std::result::Result::ok);
        WalError::RecordTooLarge {
            bytes: first.map_or(raw.len(), <[u8]>::len),
            limit: self.options.record_limit_of(self.place.segment_bytes),
        }
    }

    /// How many bytes of records the next frame can hold, with room for the seal left behind it.
    fn records_limit(&self) -> usize {
        let payload_at = self.place.offset + FRAME_HEADER_BYTES;
        match self
            .place
            .segment_bytes
            .checked_sub(payload_at + FRAME_HEADER_BYTES)
        {
            Some(room) => frame::raw_bytes_that_fit(payload_at, room).min(MAX_FRAME_RECORD_BYTES),
            None => 0,
        }
    }

    async fn write_frame(&mut self, raw: &[u8], records: u32) -> Result<()> {
        let Place {
            segment,
            offset,
            last,
            ..
        } = self.place;
        let name = names::segment(segment);
        let mut frame = std::mem::take(&mut self.frame);
        frame::encode_batch(&mut frame, self.key(), offset, last, records, raw);
        self.frame = self
            .disk
            .write_sync(&name, offset, frame)
            .await
            .map_err(WalError::io("write", &name))?;
        self.place.offset += self.frame.len() as u64;
        self.place.last = last.advance(u64::from(records));
        self.counters.batches += 1;
        self.counters.records += u64::from(records);
        self.count_sync(self.frame.len());
        Ok(())
    }

    /// 1. The spare gets a header and the next segment's name, both durable.
    /// 2. The seal says that the next segment exists, and is durable.
    /// 3. Only then may a frame go into the next segment.
    ///
    /// A crash after 1 leaves an empty segment behind an unsealed one, and recovery writes the seal. A crash after 2
    /// leaves nothing to do. A sealed segment whose successor is missing has lost it.
    async fn rotate(&mut self) -> Result<()> {
        if !self.spare {
            spare::make(&self.disk, self.options.segment_bytes).await?;
        }
        self.spare = false;
        let next = SegmentHeader {
            first: self.place.last.next(),
            segment_bytes: self.options.segment_bytes,
        };
        spare::become_segment(&self.disk, &self.log_id, next).await?;
        self.counters.syncs += 1;
        self.count_sync(SEGMENT_HEADER_BYTES as usize);
        self.seal().await?;
        self.place = Place {
            segment: next.first,
            segment_bytes: next.segment_bytes,
            offset: SEGMENT_HEADER_BYTES,
            last: self.place.last,
        };
        Ok(())
    }

    async fn seal(&mut self) -> Result<()> {
        let Place {
            segment,
            offset,
            last,
            ..
        } = self.place;
        let name = names::segment(segment);
        let seal = frame::encode_seal(self.key(), offset, last);
        let seal = self
            .disk
            .write_sync(&name, offset, seal)
            .await
            .map_err(WalError::io("seal", &name))?;
        self.count_sync(seal.len());
        Ok(())
    }

    fn key(&self) -> Key {
        Key::of_file(&self.log_id, self.place.segment)
    }

    fn count_sync(&mut self, bytes: usize) {
        self.counters.syncs += 1;
        self.counters.bytes += bytes as u64;
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("place", &self.place)
            .field("spare", &self.spare)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
