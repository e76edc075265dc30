//! Vouchers: each is worth something, and is drawn from in transactions. A [`Resource`] that keeps its promises itself.
//!
//! ```text
//!   disk:  vouchers      the whole state as lines of text, then `end`
//!          vouchers.new  the next state, until it is synced and gets the name of the first
//! ```
//!
//! The state is written as a whole before anybody is told of it, which is simple and slow: a service with more than some
//! hundred vouchers is better off with [`Staged`](handfast_participant::Staged) and the SDK's journal.

mod state;

use std::sync::{Mutex as ShortMutex, MutexGuard};
use std::time::Duration;

use futures_util::lock::Mutex;
use handfast_participant::ids::{Generation, StoreId};
use handfast_participant::runtime::random_bits;
use handfast_participant::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, ScanPhase, SeenLog,
    StoreIdentity, Vote, Work,
};
use handfast_wal::Disk;

pub use state::{Draw, Phase, State};

const FILE: &str = "vouchers";
const NEXT_FILE: &str = "vouchers.new";

/// What can be wrong with a resource. Each is a mistake that people make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A commit that is repeated is applied again.
    AppliesTwice,
    /// The vote is given before the promise is on the disk.
    ForgetsToJournal,
}

/// The service.
pub struct Vouchers<D: Disk> {
    disk: D,
    mistake: Option<Mistake>,
    /// Held while something is written: one change after the other. The directory's lock, once it is open.
    writing: Mutex<Option<D::Lock>>,
    state: ShortMutex<State>,
}

impl<D: Disk> Vouchers<D> {
    /// A service whose file is on this disk. It is read when the resource is opened.
    pub fn new(disk: D, mistake: Option<Mistake>) -> Self {
        Vouchers {
            disk,
            mistake,
            writing: Mutex::default(),
            state: ShortMutex::default(),
        }
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Makes a change durable, and then known. If it fails, or is dropped, the change may be on the disk or not, and
    /// nobody was told: the next one writes the state anew.
    async fn change<T>(&self, change: impl FnOnce(&mut State) -> T + Send) -> Result<T, ResourceError> {
        let _writing = self.writing.lock().await;
        let (next, answer) = {
            let mut next = self.state().clone();
            let answer = change(&mut next);
            (next, answer)
        };
        self.write(&next).await?;
        *self.state() = next;
        Ok(answer)
    }

    async fn write(&self, state: &State) -> Result<(), ResourceError> {
        let text = state.to_text().into_bytes();
        let written = async {
            self.disk.write_sync(NEXT_FILE, 0, text).await?;
            self.disk.rename(NEXT_FILE, FILE).await?;
            self.disk.sync_dir().await
        };
        written.await.map_err(unreadable)
    }

    async fn read(&self) -> Result<Option<State>, ResourceError> {
        let files = self.disk.list().await.map_err(unreadable)?;
        if files.iter().any(|name| name == NEXT_FILE) {
            // It was never finished, and the next one must not be written over it: it may be longer.
            self.disk.remove(NEXT_FILE).await.map_err(unreadable)?;
            self.disk.sync_dir().await.map_err(unreadable)?;
        }
        if !files.iter().any(|name| name == FILE) {
            return Ok(None);
        }
        let length = self.disk.len(FILE).await.map_err(unreadable)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let text = self.disk.read(FILE, 0, length).await.map_err(unreadable)?;
        let state = State::from_text(&text)
            .ok_or_else(|| ResourceError::permanent(format!("{FILE} is damaged; put a copy of it back")))?;
        Ok(Some(state))
    }
}

fn unreadable(error: std::io::Error) -> ResourceError {
    ResourceError::transient(format!("the disk of the vouchers: {error}"))
}

impl<D: Disk> Resource for Vouchers<D> {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        {
            let lock = &mut *self.writing.lock().await;
            if lock.is_none() {
                *lock = Some(self.disk.lock().await.map_err(unreadable)?);
                let state = self.read().await;
                match state {
                    Ok(state) => *self.state() = state.unwrap_or_default(),
                    Err(error) => {
                        *lock = None;
                        return Err(error);
                    }
                }
            }
        }
        let known = self.state().store;
        let store = match known {
            Some(store) => store,
            None => {
                let store = StoreId(random_bits());
                self.change(|state| state.store = Some(store)).await?;
                store
            }
        };
        Ok(StoreIdentity {
            store,
            generation: Generation(0),
            attached: true,
        })
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        Ok(self.state().seen.clone())
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        let malformed = || Refusal::permanent("MALFORMED", "an operation is VOUCHER AMOUNT REFERENCE");
        let draw = match &work {
            Work::Operation(operation) => Draw::parse(operation),
            Work::Interactive { .. } => None,
        };
        let Some(draw) = draw else {
            return Ok(Vote::Refused(malformed()));
        };
        let voted = match self.mistake {
            Some(Mistake::ForgetsToJournal) => Ok(self.state().promise(branch, draw, seen)),
            _ => self.change(|state| state.promise(branch, draw, seen)).await,
        };
        // After an error of the disk the promise may be there or not: no vote, and the coordinator aborts.
        Ok(match voted? {
            Ok(()) => Vote::Prepared { prepared_for: None },
            Err(refusal) => Vote::Refused(refusal),
        })
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        if self.mistake == Some(Mistake::AppliesTwice) && decision == Decision::Commit {
            self.change(|state| state.repeat(branch)).await?;
        }
        self.change(|state| state.finish(branch, decision)).await
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let line = |(branch, phase): (&BranchKey, &Phase)| ScanLine {
            branch: *branch,
            phase: match phase {
                Phase::Promised(_) => ScanPhase::Prepared,
                Phase::Committed(_) | Phase::Aborted => ScanPhase::Marker,
            },
        };
        Ok(self.state().branches.iter().map(line).collect())
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        self.change(|state| {
            for branch in branches {
                if !matches!(state.branches.get(branch), Some(Phase::Promised(_))) {
                    state.branches.remove(branch);
                }
            }
        })
        .await
    }
}
