//! What takes part in a measurement. The first byte of an operation says how to vote; the rest is payload.
//!
//! - [`Journaled`]: an operation that comes with the prepare, kept in the SDK's journal.
//! - [`Worked`]: an operation that was done before, in an interactive transaction, kept in a log of its own.
//! - [`Standing`]: never votes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use handfast_ids::{Generation, StoreId};
use handfast_participant::{
    BranchKey, Completion, Decision, Refusal, Reservation, Resource, ResourceError, ScanLine, ScanPhase,
    SeenLog, Staged, StoreIdentity, Vote, Work,
};

use super::appender::Appender;
use crate::runtime;

/// The operation changes something.
pub const CHANGE: u8 = 0;
/// The operation is refused.
pub const REFUSE: u8 = 1;
/// The operation changes nothing.
pub const READ_ONLY: u8 = 2;

fn refused() -> Refusal {
    Refusal::permanent("ASKED_TO_REFUSE", "the operation asks to be refused")
}

/// Counts what was applied.
#[derive(Default)]
pub struct Journaled {
    operations: u64,
}

impl Staged for Journaled {
    fn reserve(&mut self, _branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        match operation.first() {
            Some(&REFUSE) => Err(refused()),
            Some(&READ_ONLY) => Ok(Reservation::Nothing),
            _ => Ok(Reservation::Reserved),
        }
    }

    fn apply(&mut self, _position: u64, _branch: BranchKey, _operation: &[u8]) {
        self.operations += 1;
    }

    fn release(&mut self, _branch: BranchKey, _operation: &[u8]) {}

    fn snapshot(&self) -> Vec<Bytes> {
        vec![Bytes::copy_from_slice(&self.operations.to_le_bytes())]
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let bytes = record.try_into().map_err(|_| {
            ResourceError::permanent(
                "the snapshot is not a count of operations; start with an empty directory",
            )
        })?;
        self.operations = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Operations that were done in interactive transactions. Promises and outcomes are forced into a log.
pub struct Worked {
    store: StoreId,
    log: Appender,
    branches: Mutex<BTreeMap<BranchKey, Branch>>,
}

struct Branch {
    operation: Bytes,
    is_prepared: bool,
}

/// What a record of [`Worked`] is about; its first byte.
#[derive(Clone, Copy)]
enum Mark {
    Prepared = 1,
    Committed = 2,
    Aborted = 3,
}

impl Worked {
    /// A store that appends here.
    pub fn new(log: Appender) -> Self {
        Worked {
            store: StoreId(runtime::random_u128()),
            log,
            branches: Mutex::default(),
        }
    }

    /// Does the work of an enlisted branch, unless `is_doomed` says that it can only end in rollback.
    pub fn work(&self, branch: BranchKey, operation: Bytes, is_doomed: impl FnOnce() -> bool) {
        let mut branches = self.branches();
        if !is_doomed() {
            let is_prepared = false;
            branches.insert(
                branch,
                Branch {
                    operation,
                    is_prepared,
                },
            );
        }
    }

    /// Nothing panics while it is held.
    fn branches(&self) -> MutexGuard<'_, BTreeMap<BranchKey, Branch>> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn note(&self, mark: Mark, branch: BranchKey, operation: &[u8]) -> Result<(), ResourceError> {
        let mut record = vec![mark as u8];
        record.extend_from_slice(&branch.transaction.to_bytes());
        record.extend_from_slice(&branch.branch.0.to_le_bytes());
        record.extend_from_slice(operation);
        let appended = self.log.append(record).await;
        appended.map_err(|error| ResourceError::permanent(error.to_string()))
    }
}

impl Resource for Worked {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        self.branches().retain(|_, branch| branch.is_prepared);
        Ok(identity(self.store))
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        Ok(Vec::new())
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        _work: Work,
        _seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        let operation = self.branches().get(&branch).map(|work| work.operation.clone());
        let Some(operation) = operation else {
            return Ok(Vote::Refused(Refusal::permanent(
                "NO_WORK",
                "no work was done in this branch",
            )));
        };
        let vote = match operation.first() {
            Some(&REFUSE) => Vote::Refused(refused()),
            Some(&READ_ONLY) => Vote::ReadOnly,
            _ => {
                self.note(Mark::Prepared, branch, &operation).await?;
                Vote::Prepared { prepared_for: None }
            }
        };
        let mut branches = self.branches();
        match (&vote, branches.get_mut(&branch)) {
            (Vote::Prepared { .. }, Some(branch)) => branch.is_prepared = true,
            _ => {
                branches.remove(&branch);
            }
        }
        Ok(vote)
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        let is_prepared = self.branches().get(&branch).is_some_and(|work| work.is_prepared);
        match decision {
            Decision::Commit => self.note(Mark::Committed, branch, &[]).await?,
            Decision::Abort if is_prepared => self.note(Mark::Aborted, branch, &[]).await?,
            Decision::Abort => {}
        }
        self.branches().remove(&branch);
        Ok(Completion::Done)
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let branches = self.branches();
        let prepared = branches.iter().filter(|(_, work)| work.is_prepared);
        let line = |(branch, _): (&BranchKey, &Branch)| ScanLine {
            branch: *branch,
            phase: ScanPhase::Prepared,
        };
        Ok(prepared.map(line).collect())
    }

    async fn forget(&self, _branches: &[BranchKey]) -> Result<(), ResourceError> {
        Ok(())
    }
}

/// Dials in, and never votes.
pub struct Standing {
    store: StoreId,
}

impl Standing {
    /// A store of its own.
    pub fn new() -> Self {
        Standing {
            store: StoreId(runtime::random_u128()),
        }
    }
}

impl Resource for Standing {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        Ok(identity(self.store))
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        Ok(Vec::new())
    }

    async fn prepare(
        &self,
        _branch: BranchKey,
        _work: Work,
        _seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        std::future::pending().await
    }

    async fn finish(&self, _branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        match decision {
            Decision::Abort => Ok(Completion::Done),
            Decision::Commit => Ok(Completion::Hazard("this participant never votes".to_owned())),
        }
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        Ok(Vec::new())
    }

    async fn forget(&self, _branches: &[BranchKey]) -> Result<(), ResourceError> {
        Ok(())
    }
}

fn identity(store: StoreId) -> StoreIdentity {
    StoreIdentity {
        store,
        generation: Generation(1),
        attached: true,
    }
}
