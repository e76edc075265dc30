//! Checkpoints keep a restart short: when the log has grown by enough, the core's state is written beside the commits.
//!
//! ```text
//!   Idle ──grown──► Waiting (for the log to be durable) ──► Working: write, then truncate ──► Idle
//! ```

use std::future::Future;
use std::pin::Pin;

use handfast_core::Lsn;
use handfast_core::view::Snapshot;
use handfast_wal::{CheckpointWriter, Disk, GroupCommit, Result, WalError};

use super::codec;
use crate::failpoint::{self, Point};

type Work = Pin<Box<dyn Future<Output = Result<Lsn>> + Send>>;

enum State {
    Idle,
    Waiting(Snapshot),
    Working(Work),
}

/// When and how checkpoints are written. One at a time.
pub struct Checkpoints {
    every_bytes: u64,
    /// Bytes that the log had written when the last one was begun.
    begun_at: u64,
    /// Bytes behind the newest one that earlier processes had written.
    replayed: u64,
    state: State,
}

impl Checkpoints {
    /// One each time that the log has grown by `every_bytes`, of which `replayed` are there already.
    pub fn new(every_bytes: u64, replayed: u64) -> Self {
        Checkpoints {
            every_bytes,
            begun_at: 0,
            replayed,
            state: State::Idle,
        }
    }

    /// Whether it is time to take a snapshot, now that the log has written `bytes`.
    pub fn is_due(&self, bytes: u64) -> bool {
        let grown = bytes.saturating_sub(self.begun_at).saturating_add(self.replayed);
        matches!(self.state, State::Idle) && grown >= self.every_bytes
    }

    /// Takes a snapshot; it is written once the log is durable to where it ends.
    pub fn begin(&mut self, snapshot: Snapshot, bytes: u64) {
        self.begun_at = bytes;
        self.replayed = 0;
        self.state = State::Waiting(snapshot);
    }

    /// Goes on once the log has become durable enough.
    pub fn advance<D: Disk>(&mut self, log: &GroupCommit<D>) {
        if !matches!(&self.state, State::Waiting(snapshot) if snapshot.through.0 <= log.durable().0) {
            return;
        }
        if let State::Waiting(snapshot) = std::mem::replace(&mut self.state, State::Idle) {
            let through = handfast_wal::Lsn(snapshot.through.0);
            let writer = log.checkpoint(through);
            let truncation = log.truncate(through.next());
            self.state = State::Working(Box::pin(work(snapshot, writer, truncation)));
        }
    }

    /// Drives the work; completes when there was some and it is done. Cancel-safe.
    pub async fn done(&mut self) -> Result<()> {
        let State::Working(work) = &mut self.state else {
            return std::future::pending().await;
        };
        let result = work.await;
        self.state = State::Idle;
        match result {
            Ok(through) => {
                tracing::info!(through = through.0, "checkpoint written");
                Ok(())
            }
            Err(WalError::OutOfSpace { file }) => {
                tracing::error!(
                    file,
                    "no space for a checkpoint: the log goes on growing; free some space"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

async fn work<D: Disk>(
    snapshot: Snapshot,
    mut writer: CheckpointWriter<D>,
    truncation: impl Future<Output = Result<handfast_wal::Truncated>>,
) -> Result<Lsn> {
    let mut bytes = Vec::new();
    for record in &snapshot.records {
        bytes.clear();
        codec::encode(record, &mut bytes);
        writer.add(&bytes).await?;
        failpoint::hit(Point::DuringCheckpoint);
    }
    writer.finish().await?;
    failpoint::hit(Point::AfterCheckpointBeforeTruncate);
    let truncated = truncation.await?;
    tracing::debug!(
        segments = truncated.segments,
        first = truncated.first.0,
        "log truncated"
    );
    Ok(snapshot.through)
}
