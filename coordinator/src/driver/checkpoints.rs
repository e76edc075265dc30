//! Checkpoints keep a restart short: when the log has grown by enough, the core's state is written beside the commits. One
//! more is written while the disk is full and segments could go. What found no room is tried again, more and more rarely.
//!
//! ```text
//!   Idle ──grown──► Waiting (for the log to be durable) ──► Working: write, then truncate ──► Idle
//! ```

use std::future::Future;
use std::pin::Pin;

use handfast_core::view::Snapshot;
use handfast_core::{Lsn, Moment};
use handfast_wal::{CheckpointWriter, Disk, GroupCommit, Result, Truncated, WalError};

use super::codec;
use super::pace::Pace;
use crate::failpoint::{self, Point};

/// How long a checkpoint that found no room, or gave none, waits for the next one.
const RETRY_FIRST_MS: u64 = 1000;
const RETRY_LONGEST_MS: u64 = 8000;

type Work = Pin<Box<dyn Future<Output = Result<(Lsn, Truncated)>> + Send>>;

enum State {
    Idle,
    Waiting(Snapshot),
    Working(Work),
}

/// How a checkpoint ended that ended well enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is durable.
    Whole {
        /// How many segments left the log.
        segments: u64,
    },
    /// The disk was full.
    NoRoom,
}

/// When and how checkpoints are written. One at a time.
pub struct Checkpoints {
    every_bytes: u64,
    /// Bytes that the log had written when the last one that was written was begun.
    covered: u64,
    /// The same of the one that is being written.
    begun_at: u64,
    /// Bytes behind the newest one that earlier processes had written.
    replayed: u64,
    /// Where the log begins, once a truncation has looked.
    first: Option<handfast_wal::Lsn>,
    pace: Pace,
    state: State,
}

impl Checkpoints {
    /// One each time that the log has grown by `every_bytes`, of which `replayed` are there already.
    pub fn new(every_bytes: u64, replayed: u64) -> Self {
        Checkpoints {
            every_bytes,
            covered: 0,
            begun_at: 0,
            replayed,
            first: None,
            pace: Pace::new(RETRY_FIRST_MS, RETRY_LONGEST_MS),
            state: State::Idle,
        }
    }

    /// Whether it is time to take a snapshot, now that the log has written `bytes`.
    pub fn is_due(&self, now: Moment, bytes: u64) -> bool {
        let grown = bytes.saturating_sub(self.covered).saturating_add(self.replayed);
        self.is_free(now) && grown >= self.every_bytes
    }

    /// Whether there may be segments that go once one more checkpoint covers them, and none was tried just now.
    pub fn may_give_room<D: Disk>(&self, now: Moment, log: &GroupCommit<D>) -> bool {
        self.is_free(now) && self.first.is_none_or(|first| first < log.segment())
    }

    fn is_free(&self, now: Moment) -> bool {
        matches!(self.state, State::Idle) && self.pace.is_due(now)
    }

    /// Takes a snapshot; it is written once the log is durable to where it ends.
    pub fn begin(&mut self, now: Moment, snapshot: Snapshot, bytes: u64) {
        self.pace.tried(now);
        self.begun_at = bytes;
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
    pub async fn done(&mut self) -> Result<Written> {
        let State::Working(work) = &mut self.state else {
            return std::future::pending().await;
        };
        let result = work.await;
        self.state = State::Idle;
        match result {
            Ok((through, truncated)) => {
                let segments = truncated.segments;
                tracing::info!(through = through.0, segments, "checkpoint written");
                let grown = self
                    .begun_at
                    .saturating_sub(self.covered)
                    .saturating_add(self.replayed);
                // One that was due by growth, or that gave room: the next one need not wait.
                if segments > 0 || grown >= self.every_bytes {
                    self.pace.reset();
                }
                (self.covered, self.replayed) = (self.begun_at, 0);
                self.first = Some(truncated.first);
                Ok(Written::Whole { segments })
            }
            Err(WalError::OutOfSpace { file }) => {
                tracing::error!(
                    file,
                    "no space for a checkpoint: the log goes on growing, and it will be tried again; free some space"
                );
                Ok(Written::NoRoom)
            }
            Err(error) => Err(error),
        }
    }
}

async fn work<D: Disk>(
    snapshot: Snapshot,
    mut writer: CheckpointWriter<D>,
    truncation: impl Future<Output = Result<Truncated>>,
) -> Result<(Lsn, Truncated)> {
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
    Ok((snapshot.through, truncated))
}
