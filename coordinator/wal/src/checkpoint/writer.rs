//! Writing a checkpoint beside a running log.

use super::KEPT_CHECKPOINTS;
use super::block::{self, BLOCK_HEADER_BYTES, BlockHeader, CHUNK_BYTES, Kind, Totals};
use crate::frame;
use crate::identity::{Key, LogId};
use crate::latch::Latch;
use crate::names::{self, Listing};
use crate::spare::remove_if_present;
use crate::{Disk, Lsn, MAX_RECORD_BYTES, Result, WalError, retired};

/// A checkpoint that is being written. It shares no buffer and no turn with the log, whose commits go on between its
/// chunks. Dropped before [`CheckpointWriter::finish`] has completed, it counts for nothing.
///
/// One at a time. A full disk fails the checkpoint and not the log; any other error of the disk latches the log too.
#[derive(Debug)]
pub struct CheckpointWriter<D: Disk> {
    disk: D,
    latch: Latch,
    key: Key,
    through: Lsn,
    file: String,
    /// What is written already, in bytes and blocks.
    written: u64,
    blocks: u32,
    /// What is not: the file header at first, then one block with a place for its header.
    buffer: Vec<u8>,
    block_at: usize,
    block_records: u32,
    totals: Totals,
}

/// A checkpoint that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// It replaces the log through this record.
    pub through: Lsn,
    /// How many records it holds.
    pub records: u64,
    /// The length of its file.
    pub bytes: u64,
}

impl<D: Disk> CheckpointWriter<D> {
    pub(crate) fn new(disk: D, latch: Latch, log_id: &LogId, through: Lsn) -> Self {
        let mut writer = CheckpointWriter {
            disk,
            latch,
            key: Key::of_file(log_id, through),
            through,
            file: names::checkpoint_unfinished(through),
            written: 0,
            blocks: 0,
            buffer: block::encode_file_header(log_id, through).to_vec(),
            block_at: 0,
            block_records: 0,
            totals: Totals::default(),
        };
        writer.begin_block();
        writer
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`WalError::RecordTooLarge`] above [`MAX_RECORD_BYTES`], and those of the disk, after which the checkpoint is lost.
    pub async fn add(&mut self, record: &[u8]) -> Result<()> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(WalError::RecordTooLarge {
                bytes: record.len(),
                limit: MAX_RECORD_BYTES,
            });
        }
        frame::push_record(&mut self.buffer, record);
        self.block_records += 1;
        if self.buffer.len() - self.block_at - BLOCK_HEADER_BYTES >= CHUNK_BYTES {
            self.write_block(Kind::Chunk).await?;
        }
        Ok(())
    }

    /// Makes the checkpoint durable under its name, and removes all but the newest two.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn finish(mut self) -> Result<Checkpoint> {
        if self.block_records > 0 {
            self.write_block(Kind::Chunk).await?;
        }
        self.buffer.extend_from_slice(&self.totals.encode());
        let totals = self.totals;
        self.write_block(Kind::Footer).await?;
        let renamed = self.publish().await;
        self.outcome(renamed).await?;
        Ok(Checkpoint {
            through: self.through,
            records: totals.records,
            bytes: self.written,
        })
    }

    /// [`CheckpointWriter::add`] for each record, then [`CheckpointWriter::finish`].
    ///
    /// # Errors
    /// Those of the two.
    pub async fn write_all<R: AsRef<[u8]>>(
        mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Checkpoint> {
        for record in records {
            self.add(record.as_ref()).await?;
        }
        self.finish().await
    }

    fn begin_block(&mut self) {
        self.block_at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        self.block_records = 0;
    }

    async fn write_block(&mut self, kind: Kind) -> Result<()> {
        let payload = &self.buffer[self.block_at + BLOCK_HEADER_BYTES..];
        let header = BlockHeader {
            kind,
            index: self.blocks,
            bytes: u32::try_from(payload.len()).expect("a block is bounded"),
            records: self.block_records,
            crc: self.key.crc(payload),
        };
        if kind == Kind::Chunk {
            self.totals.records += u64::from(self.block_records);
            self.totals.bytes += payload.len() as u64;
        }
        let header = header.encode(self.key);
        self.buffer[self.block_at..self.block_at + BLOCK_HEADER_BYTES].copy_from_slice(&header);
        let written = self.write_buffer().await;
        self.outcome(written).await?;
        self.blocks += 1;
        self.begin_block();
        Ok(())
    }

    async fn write_buffer(&mut self) -> Result<()> {
        self.latch.check()?;
        if self.written == 0 {
            remove_if_present(&self.disk, &self.file).await?;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let buffer = self.disk.write_sync(&self.file, self.written, buffer).await;
        self.buffer = buffer.map_err(WalError::io("write", &self.file))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    async fn publish(&self) -> Result<()> {
        let name = names::checkpoint(self.through);
        self.disk
            .rename(&self.file, &name)
            .await
            .map_err(WalError::io("rename", &self.file))?;
        self.disk
            .sync_dir()
            .await
            .map_err(WalError::io("sync the directory of", &name))?;
        let listed = self
            .disk
            .list()
            .await
            .map_err(WalError::io("list the directory of", &name))?;
        let present = Listing::of(listed).checkpoints;
        // Not synced: one that comes back after a crash does no harm, and truncation goes by the oldest present.
        for through in present.iter().rev().skip(KEPT_CHECKPOINTS) {
            remove_if_present(&self.disk, &names::checkpoint(*through)).await?;
        }
        Ok(())
    }

    /// A full disk gets back what the checkpoint took, and what retired segments take, for the next one; anything else is final for the log as well.
    async fn outcome(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(full @ WalError::OutOfSpace { .. }) => {
                remove_if_present(&self.disk, &self.file).await?;
                retired::free(&self.disk).await?;
                Err(full)
            }
            Err(error) => Err(self.latch.set(error)),
            Ok(()) => Ok(()),
        }
    }
}
