//! Checkpoints of a journal, and reading one back.

use std::future::Future;
use std::pin::Pin;

use handfast_proto::ids::{Generation, StoreId};
use handfast_wal::{Disk, Entry, GroupCommit, Lsn, WalError};

use super::branches::{BranchState, State};
use super::record::Record;
use super::{JournalError, JournalOptions};
use crate::resource::{BranchKey, Staged};

/// When the next checkpoint is due, and the one that is being written.
pub(super) struct Checkpointing {
    bytes_since: u64,
    stage: Stage,
}

enum Stage {
    Idle,
    /// The state is copied; the records that it is made of are not all durable yet.
    Copied {
        through: Lsn,
        records: Vec<Vec<u8>>,
    },
    Writing(Pin<Box<dyn Future<Output = Result<(), WalError>> + Send>>),
}

impl Checkpointing {
    pub fn new(bytes_since: u64) -> Self {
        Checkpointing {
            bytes_since,
            stage: Stage::Idle,
        }
    }

    pub fn appended(&mut self, bytes: usize) {
        self.bytes_since += bytes as u64;
    }

    /// 1. The state is copied between two turns: it is what the records through `accepted` make of it.
    /// 2. Those records become durable.
    /// 3. The copy is written beside the log, and then covers them.
    pub fn begin_if_due<D: Disk>(
        &mut self,
        log: &mut GroupCommit<D>,
        options: &JournalOptions,
        snapshot: impl FnOnce() -> Vec<Vec<u8>>,
    ) {
        if matches!(self.stage, Stage::Idle) && self.bytes_since >= options.checkpoint_bytes {
            self.bytes_since = 0;
            let through = log.accepted();
            log.force(through);
            self.stage = Stage::Copied {
                through,
                records: snapshot(),
            };
        }
        if let Stage::Copied { through, records } = &mut self.stage
            && *through <= log.durable()
        {
            let (through, records) = (*through, std::mem::take(records));
            let writer = log.checkpoint(through);
            let truncate = log.truncate(through.next());
            self.stage = Stage::Writing(Box::pin(async move {
                let written = writer.write_all(records).await?;
                let truncated = truncate.await?;
                tracing::info!(
                    through = written.through.0,
                    bytes = written.bytes,
                    segments = truncated.segments,
                    "checkpoint"
                );
                Ok(())
            }));
        }
    }

    /// Whether one is being written.
    #[cfg(feature = "tcc")]
    pub fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing(_))
    }

    /// Waits for the checkpoint that is being written; for ever if there is none. A full disk only puts it off.
    pub async fn written(&mut self) -> Result<(), WalError> {
        let Stage::Writing(writing) = &mut self.stage else {
            return std::future::pending().await;
        };
        let written = writing.as_mut().await;
        self.stage = Stage::Idle;
        match written {
            Err(error @ WalError::OutOfSpace { .. }) => {
                tracing::warn!(%error, "no checkpoint was written; the next one is tried when the log has grown as much");
                Ok(())
            }
            written => written,
        }
    }
}

/// Folds what a log hands out.
pub(super) struct Replay<S> {
    state: State<S>,
    /// The checkpoint replaces the log through this record.
    through: Lsn,
    bytes: u64,
    damage: Option<JournalError>,
}

impl<S: Staged> Replay<S> {
    pub fn new(staged: S) -> Self {
        Replay {
            state: State::new(staged),
            through: Lsn::ZERO,
            bytes: 0,
            damage: None,
        }
    }

    /// For a journal of branches that are carried out outside of it.
    #[cfg(feature = "tcc")]
    pub fn carried_out_elsewhere(mut self) -> Self {
        self.state.carried_out_elsewhere = true;
        self
    }

    pub fn take(&mut self, entry: Entry<'_>) {
        let (at, record) = match entry {
            Entry::Checkpoint { through, record } => {
                self.through = through;
                (0, record)
            }
            Entry::Record { lsn, .. } if lsn <= self.through => return,
            Entry::Record { lsn, record } => {
                self.bytes += record.len() as u64;
                (lsn.0, record)
            }
        };
        if self.damage.is_some() {
            return;
        }
        let folded = Record::decode(record).and_then(|record| self.state.fold(at, record));
        self.damage = folded.err().map(|message| JournalError::Damaged { at, message });
    }

    /// The state, and how many bytes of records were behind the checkpoint.
    pub fn finish(self) -> Result<(State<S>, u64), JournalError> {
        match self.damage {
            Some(damage) => Err(damage),
            None => Ok((self.state, self.bytes)),
        }
    }
}

/// What a journal holds, read without changing anything.
#[derive(Debug)]
pub struct Inspected<S> {
    /// The service, in the state that the journal tells.
    pub staged: S,
    /// Which store it is, unless it was never opened.
    pub store: Option<(StoreId, Generation)>,
    /// Branches that wait for a decision.
    pub prepared: Vec<BranchKey>,
    /// Markers of committed branches that are not forgotten.
    pub markers: Vec<BranchKey>,
    /// Fences of aborted branches that are not forgotten.
    pub fences: Vec<BranchKey>,
}

/// Reads the journal of a stopped participant: no lock is taken and nothing is changed. `staged` must be empty.
///
/// # Errors
/// The journal does not check out, or there is none.
pub async fn inspect<S: Staged, D: Disk>(staged: S, disk: &D) -> Result<Inspected<S>, JournalError> {
    let mut replay = Replay::new(staged);
    let report = handfast_wal::visit(disk, |entry| replay.take(entry)).await?;
    if let Some(problem) = report.problems.first() {
        return Err(WalError::Corrupt(problem.clone()).into());
    }
    let (state, _) = replay.finish()?;
    let mut inspected = Inspected {
        staged: state.staged,
        store: state.store,
        prepared: Vec::new(),
        markers: Vec::new(),
        fences: Vec::new(),
    };
    for (branch, known) in state.branches {
        match known {
            BranchState::Prepared { .. } => inspected.prepared.push(branch),
            BranchState::Committed { .. } => inspected.markers.push(branch),
            // The fold of a service whose state is the journal takes no deviation.
            BranchState::Aborted { .. } | BranchState::Deviated { .. } => inspected.fences.push(branch),
        }
    }
    Ok(inspected)
}
