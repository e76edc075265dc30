//! A store that keeps promises by itself and outlives the process that speaks for it, as PostgreSQL does.
//!
//! Faults that it injects, and why the system should survive them:
//!
//! - *work that goes on after its session is lost*: every session fences the ones of its own instance before it, and an abort
//!   that finds nothing leaves a fence, whichever instance is told of it, so late work can only end in rollback.
//! - *two instances*: each finishes what the other has prepared, and shows it in its scans.
//! - *a promise that expires*: the coordinator decides no commit near its end; after it, the store says hazard.
//! - *slow work, slow decisions, votes against, nothing to do*: as the operation says.

mod hands;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handfast_ids::{Generation, LogId, StoreId};
use handfast_participant::{
    BranchKey, Completion, Decision, EnlistedBranch, Refusal, Resource, ResourceError, ScanLine, ScanPhase,
    SeenLog, StoreIdentity, Vote, Work,
};
use handfast_proto::alarm::once::sleep;
use madsim::runtime::NodeHandle;
use madsim::time::Instant;

use super::Accounts;
use crate::intent::Operation;

pub use hands::{Hand, Hindrance};

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Database {
    store: StoreId,
    state: Arc<Mutex<State>>,
    /// Where its own work runs.
    server: NodeHandle,
}

#[derive(Debug, Default)]
struct State {
    accounts: Accounts,
    branches: BTreeMap<BranchKey, Branch>,
    seen: BTreeMap<LogId, SeenLog>,
    /// The newest session of each speaker, and how many there were.
    sessions: BTreeMap<Voice, u64>,
    /// How much work of a branch runs.
    running: BTreeMap<BranchKey, u32>,
    /// Interactive work of the newest sessions.
    open: BTreeMap<BranchKey, OpenWork>,
    hindrance: Hindrance,
    /// What the right store knows of the branches that a copy in its place shows as prepared.
    restored: BTreeMap<BranchKey, Option<Branch>>,
}

#[derive(Clone, Debug)]
enum Branch {
    Prepared {
        operation: Operation,
        expires: Option<Instant>,
    },
    Committed,
    /// A fence.
    Aborted,
}

/// Who speaks for a database, and to whom: opening one of these ends the work of its own older sessions, and nobody else's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Voice {
    /// The node whose processes it is.
    pub node: u8,
    /// At which coordinator.
    pub coordinator: u8,
}

#[derive(Clone, Copy, Debug)]
struct OpenWork {
    speaker: Voice,
    operation: Operation,
    operations: u64,
}

/// By how much quicker a decision is carried out than its work was prepared.
const PREPARED_TO_FINISHED: u64 = 20;

impl Database {
    /// An empty store.
    pub fn new(store: StoreId, server: NodeHandle) -> Self {
        Database {
            store,
            state: Arc::default(),
            server,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self
            .state
            .lock()
            .expect("nothing panics while it holds this lock");
        state.expire();
        state
    }

    /// A process that speaks for it at one coordinator.
    pub fn speaker(&self, voice: Voice, work_survives: bool) -> Speaker {
        Speaker {
            database: self.clone(),
            voice,
            work_survives,
            session: Arc::default(),
        }
    }

    /// How long a decision on a branch takes: as slow work is prepared slowly, so it is finished slowly.
    fn slowness(&self, branch: BranchKey) -> Option<Duration> {
        let Some(Branch::Prepared { operation, .. }) = self.state().branches.get(&branch).cloned() else {
            return None;
        };
        let pause = Duration::from_millis(u64::from(operation.slow_ms) / PREPARED_TO_FINISHED);
        (!pause.is_zero()).then_some(pause)
    }

    /// How many branches are prepared.
    pub fn prepared(&self) -> usize {
        let is_prepared = |branch: &&Branch| matches!(branch, Branch::Prepared { .. });
        self.state().branches.values().filter(is_prepared).count()
    }

    /// Whether a copy is in its place that shows as prepared what it has committed.
    pub fn is_restored(&self) -> bool {
        !self.state().restored.is_empty()
    }

    /// How many markers and fences are left.
    pub fn markers(&self) -> usize {
        let state = self.state();
        state
            .branches
            .values()
            .filter(|branch| !matches!(branch, Branch::Prepared { .. }))
            .count()
    }

    /// What was done.
    pub fn accounts(&self) -> Accounts {
        self.state().accounts.clone()
    }
}

/// Speaks for a database at one coordinator.
#[derive(Clone)]
pub struct Speaker {
    database: Database,
    voice: Voice,
    work_survives: bool,
    /// The number of its newest session.
    session: Arc<Mutex<u64>>,
}

impl Speaker {
    /// Does one operation more of an interactive branch. False if the branch can only end in rollback.
    pub fn work(&self, branch: &EnlistedBranch, operation: Operation) -> bool {
        let mut state = self.database.state();
        // Looked at under the lock: whoever dooms it comes to this lock afterwards and finds the work.
        if branch.is_doomed() || operation.refuses() {
            return false;
        }
        let work = OpenWork {
            speaker: self.voice,
            operation,
            operations: 0,
        };
        state.open.entry(branch.branch()).or_insert(work).operations += 1;
        true
    }

    fn session(&self) -> u64 {
        *self
            .session
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    async fn promise(self, branch: BranchKey, operation: Operation, seen: SeenLog, began: Instant) -> Vote {
        let session = self.session();
        let running = Running::begin(&self.database, branch);
        if operation.slow_ms > 0 {
            sleep(Duration::from_millis(operation.slow_ms.into())).await;
        }
        drop(running);
        let mut state = self.database.state();
        if state.sessions.get(&self.voice) != Some(&session) {
            return Vote::Refused(Refusal::retryable("FENCED", "a newer session has begun"));
        }
        state.promise(branch, operation, seen, began)
    }
}

/// Work that runs, until it is done or its process is gone.
struct Running<'a> {
    database: &'a Database,
    branch: BranchKey,
}

impl<'a> Running<'a> {
    fn begin(database: &'a Database, branch: BranchKey) -> Self {
        *database.state().running.entry(branch).or_default() += 1;
        Running { database, branch }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.database.state();
        if let Some(count) = state.running.get_mut(&self.branch) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(&self.branch);
            }
        }
    }
}

impl State {
    fn promise(&mut self, branch: BranchKey, operation: Operation, seen: SeenLog, began: Instant) -> Vote {
        let promise = Duration::from_millis(operation.promise_ms.into());
        let prepared_for = (!promise.is_zero()).then_some(promise);
        match self.branches.get(&branch) {
            Some(Branch::Prepared { .. }) => return Vote::Prepared { prepared_for },
            Some(Branch::Committed | Branch::Aborted) => {
                return Vote::Refused(Refusal::permanent("FENCED", "the branch was decided already"));
            }
            None => {}
        }
        if operation.refuses() {
            return Vote::Refused(Refusal::permanent("ASKED_TO", "the operation asks to be refused"));
        }
        if !operation.adds() {
            return Vote::ReadOnly;
        }
        let expires = prepared_for.map(|promise| began + promise);
        if expires.is_some_and(|expires| expires <= now()) {
            return Vote::Refused(Refusal::retryable(
                "EXPIRED",
                "it took longer than the promise would have held",
            ));
        }
        if self.hindrance.has_no_slots {
            return Vote::Refused(Refusal::retryable(
                "NO_SLOTS",
                "there is no room for a further promise",
            ));
        }
        if !self.accounts.reserve(&operation) {
            return Vote::Refused(Refusal::retryable("INSUFFICIENT_FUNDS", "the account holds less"));
        }
        let known = self.seen.entry(seen.log).or_insert(seen);
        known.epoch = known.epoch.max(seen.epoch);
        known.lsn = known.lsn.max(seen.lsn);
        self.branches
            .insert(branch, Branch::Prepared { operation, expires });
        Vote::Prepared { prepared_for }
    }

    fn finish(&mut self, branch: BranchKey, decision: Decision) -> Completion {
        self.open.remove(&branch);
        match (self.branches.get(&branch).cloned(), decision) {
            (Some(Branch::Prepared { operation, .. }), Decision::Commit) => {
                self.accounts.apply(branch, operation);
                self.branches.insert(branch, Branch::Committed);
                Completion::Done
            }
            (Some(Branch::Prepared { operation, .. }), Decision::Abort) => {
                self.accounts.release(&operation);
                self.branches.insert(branch, Branch::Aborted);
                Completion::Done
            }
            (None, Decision::Abort) => {
                self.branches.insert(branch, Branch::Aborted);
                Completion::Done
            }
            (Some(Branch::Committed), Decision::Commit) | (Some(Branch::Aborted), Decision::Abort) => {
                Completion::Done
            }
            (Some(Branch::Committed), Decision::Abort) => {
                Completion::Contrary("a marker says committed".to_owned())
            }
            (Some(Branch::Aborted), Decision::Commit) => {
                Completion::Contrary("a fence says aborted".to_owned())
            }
            (None, Decision::Commit) => Completion::Hazard("neither prepared nor marked".to_owned()),
        }
    }

    /// Promises that are over leave nothing behind.
    fn expire(&mut self) {
        let now = now();
        let accounts = &mut self.accounts;
        self.branches.retain(|_, branch| match branch {
            Branch::Prepared {
                operation,
                expires: Some(expires),
            } if *expires <= now => {
                accounts.release(operation);
                false
            }
            _ => true,
        });
    }
}

impl Resource for Speaker {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let mut state = self.database.state();
        let newest = state.sessions.entry(self.voice).or_default();
        *newest += 1;
        *self
            .session
            .lock()
            .expect("nothing panics while it holds this lock") = *newest;
        state.open.retain(|_, work| work.speaker != self.voice);
        let Hindrance {
            is_another, is_older, ..
        } = state.hindrance;
        Ok(StoreIdentity {
            store: StoreId(self.database.store.0 + u128::from(is_another) * 0x1_0000),
            generation: Generation(u64::from(!is_older)),
            attached: false,
        })
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        Ok(self.database.state().seen.values().copied().collect())
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        let operation = match work {
            Work::Operation(bytes) => Operation::decode(&bytes),
            Work::Interactive { operations } => {
                let open = self.database.state().open.remove(&branch);
                open.filter(|work| work.operations == operations)
                    .map(|work| work.operation)
            }
        };
        let Some(operation) = operation else {
            return Ok(Vote::Refused(Refusal::permanent(
                "NO_SUCH_WORK",
                "there is no such work here",
            )));
        };
        let promise = self.clone().promise(branch, operation, seen, now());
        if !self.work_survives {
            return Ok(promise.await);
        }
        self.database
            .server
            .spawn(promise)
            .await
            .map_err(|_| ResourceError::transient("the connection to the store was lost"))
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        if let Some(pause) = self.database.slowness(branch) {
            sleep(pause).await;
        }
        Ok(self.database.state().finish(branch, decision))
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let state = self.database.state();
        if state.hindrance.scan_fails {
            return Err(ResourceError::transient("the scan was interrupted"));
        }
        let running = state
            .running
            .keys()
            .filter(|branch| !state.branches.contains_key(branch));
        let running = running.map(|branch| ScanLine {
            branch: *branch,
            phase: ScanPhase::Preparing,
        });
        let known = state.branches.iter().map(|(branch, known)| {
            let phase = match known {
                Branch::Prepared { .. } => ScanPhase::Prepared,
                Branch::Committed | Branch::Aborted => ScanPhase::Marker,
            };
            ScanLine {
                branch: *branch,
                phase,
            }
        });
        Ok(known.chain(running).collect())
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let state = &mut *self.database.state();
        for branch in branches {
            let is_marker = matches!(
                state.branches.get(branch),
                Some(Branch::Committed | Branch::Aborted)
            );
            if is_marker && !state.running.contains_key(branch) {
                state.branches.remove(branch);
            }
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}
