//! The journal for a resource that has calls to make between its records, and so cannot be a [`Staged`] service: the same
//! records, the same fold, one record at a time.
//!
//! Nothing else gates what is said of a branch, so a record counts here only when it is durable. Once the log has failed, what
//! is on the disk is not known, and nothing is answered any more: the next start finds out.

use bytes::Bytes;
use handfast_wal::{Disk, Space};

use super::branches::BranchState;
use super::checkpoint::Replay;
use super::record::Record;
use super::{Journal, JournalError, JournalOptions};
use crate::resource::{
    BranchKey, Refusal, Reservation, ResourceError, ScanLine, SeenLog, Staged, StoreIdentity,
};

/// There is no state beside the branches.
#[derive(Debug)]
struct Stateless;

impl Staged for Stateless {
    fn reserve(&mut self, _: BranchKey, _: &[u8]) -> Result<Reservation, Refusal> {
        Ok(Reservation::Reserved)
    }

    fn apply(&mut self, _: u64, _: BranchKey, _: &[u8]) {}

    fn release(&mut self, _: BranchKey, _: &[u8]) {}

    fn snapshot(&self) -> Vec<Bytes> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), ResourceError> {
        Err(ResourceError::permanent(
            "this journal is that of a service with a state of its own",
        ))
    }
}

/// What was begun, and how it ended.
pub(crate) struct Promises<D: Disk>(Journal<Stateless, D>);

impl<D: Disk> Promises<D> {
    /// Opens the journal on this disk, or makes one.
    pub async fn open(disk: D, options: JournalOptions) -> Result<Self, JournalError> {
        let replay = Replay::new(Stateless).carried_out_elsewhere();
        Ok(Promises(Journal::replayed(replay, disk, options).await?))
    }

    /// The first error of the disk is final.
    fn sound(&self) -> Result<(), JournalError> {
        match self.0.log.failure() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    pub fn identity(&self) -> Result<StoreIdentity, JournalError> {
        self.sound()?;
        Ok(self.0.identity)
    }

    pub fn seen(&self) -> Result<Vec<SeenLog>, JournalError> {
        self.sound()?;
        Ok(self.0.state.seen.values().copied().collect())
    }

    pub fn find(&self, branch: BranchKey) -> Result<Option<&BranchState>, JournalError> {
        self.sound()?;
        Ok(self.0.state.branches.get(&branch))
    }

    /// What there is, and with each look another try to reserve the space that was not there.
    pub async fn lines(&mut self) -> Result<Vec<ScanLine>, JournalError> {
        self.sound()?;
        if self.0.log.space() == Space::Low {
            self.0.log.replenished().await?;
        }
        Ok(self.0.state.lines())
    }

    /// Whether one more branch may begin.
    pub fn has_room(&self) -> Result<(), Refusal> {
        if self.0.state.branches.len() >= self.0.options.branches {
            let message = "as many branches are unfinished as the journal holds";
            return Err(Refusal::retryable("BACKLOG", message));
        }
        if self.0.log.space() == Space::Low {
            let message = "the disk of the journal is full; decisions still fit";
            return Err(Refusal::retryable("STORE_FULL", message));
        }
        Ok(())
    }

    /// Writes a record down, and returns once it is durable; `false` if it does not fit what became of the branch meanwhile, and
    /// nothing was written. To be run to its end: a record that was handed over and not waited for is on the disk and not here.
    pub async fn note(&mut self, record: Record) -> Result<bool, JournalError> {
        let fits = match &record {
            Record::Prepared { branch, .. } => self.find(*branch)?.is_none(),
            Record::Committed { branch, .. } | Record::Deviated { branch, .. } => {
                matches!(self.find(*branch)?, Some(BranchState::Prepared { .. }))
            }
            Record::Aborted { branch, .. } => {
                matches!(self.find(*branch)?, Some(BranchState::Prepared { .. }) | None)
            }
            // What is outside of this journal cannot be promised and kept in one record.
            Record::CommittedAtOnce { .. } => false,
            Record::Store { .. } | Record::Seen(_) | Record::State(_) | Record::Forgotten { .. } => false,
        };
        if !fits {
            return Ok(false);
        }
        let lsn = self.0.append(&record)?;
        self.0.log.flush().await?;
        let folded = self.0.state.fold(lsn.0, record);
        folded.map_err(|message| JournalError::Damaged { at: lsn.0, message })?;
        self.checkpoint_if_due().await?;
        Ok(true)
    }

    /// Markers, fences and evidence go; lost with a crash, the next scan brings the question again.
    pub fn forget(&mut self, branch: BranchKey) -> Result<(), JournalError> {
        if matches!(self.find(branch)?, Some(BranchState::Prepared { .. }) | None) {
            return Ok(());
        }
        self.0.append(&Record::Forgotten { branch })?;
        self.0.state.branches.remove(&branch);
        Ok(())
    }

    async fn checkpoint_if_due(&mut self) -> Result<(), JournalError> {
        let Journal {
            state,
            log,
            options,
            checkpointing,
            ..
        } = &mut self.0;
        checkpointing.begin_if_due(log, options, || state.snapshot());
        if checkpointing.is_writing() {
            checkpointing.written().await?;
        }
        Ok(())
    }
}
