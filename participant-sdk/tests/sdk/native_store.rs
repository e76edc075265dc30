//! A resource in memory that does as its operations say, and that a test can hold up, break or exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use handfast_participant::ids::{Generation, StoreId};
use handfast_participant::{
    BranchKey, Completion, Decision, EnlistedBranch, Refusal, Resource, ResourceError, ScanLine, ScanPhase,
    SeenLog, StoreIdentity, Vote, Work,
};

/// A database in memory. `hang` never returns; `later` waits until the test lets it go.
#[derive(Default)]
pub struct Store {
    pub prepared: Mutex<BTreeSet<BranchKey>>,
    pub ended: Mutex<BTreeMap<BranchKey, Decision>>,
    pub interactive: Mutex<BTreeMap<BranchKey, u64>>,
    pub running: AtomicUsize,
    pub most_running: AtomicUsize,
    pub prepares: AtomicUsize,
    pub opened: AtomicUsize,
    pub fails_to_finish: AtomicUsize,
    pub is_another_store: AtomicBool,
    /// No scan is answered.
    pub is_away: AtomicBool,
    pub forget_calls: AtomicUsize,
    pub later: tokio::sync::Notify,
    /// Held by a test: no decision gets further.
    pub gate: tokio::sync::Mutex<()>,
    pub at_the_gate: AtomicUsize,
}

impl Store {
    /// What a service does with open work: hands it over, unless its branch is doomed.
    pub fn hand_over(&self, enlisted: &EnlistedBranch, operations: u64) -> bool {
        let mut interactive = self.interactive.lock().unwrap();
        if enlisted.is_doomed() {
            return false;
        }
        interactive.insert(enlisted.branch(), operations);
        true
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Resource for Store {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        self.interactive.lock().unwrap().clear();
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.is_another_store.store(false, Ordering::SeqCst);
        Ok(StoreIdentity {
            store: StoreId(1),
            generation: Generation(1),
            attached: false,
        })
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        Ok(Vec::new())
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        _seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        self.prepares.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let _running = Running(&self.running);
        match work {
            Work::Operation(operation) if operation == "hang" => std::future::pending().await,
            Work::Operation(operation) if operation == "unknown" => {
                self.prepared.lock().unwrap().insert(branch);
                return Err(ResourceError::transient("the answer was lost"));
            }
            Work::Operation(operation) if operation == "later" => self.later.notified().await,
            Work::Operation(_) => {}
            Work::Interactive { operations } => {
                if self.interactive.lock().unwrap().remove(&branch) != Some(operations) {
                    return Ok(Vote::Refused(Refusal::permanent(
                        "OPERATIONS_DIFFER",
                        "lost or other work",
                    )));
                }
            }
        }
        self.prepared.lock().unwrap().insert(branch);
        Ok(Vote::Prepared { prepared_for: None })
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        if self.is_another_store.load(Ordering::SeqCst) {
            return Err(ResourceError::reopen("this is another store"));
        }
        if self.fails_to_finish.load(Ordering::SeqCst) > 0 {
            self.fails_to_finish.fetch_sub(1, Ordering::SeqCst);
            return Err(ResourceError::transient("the database is away"));
        }
        self.at_the_gate.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().await);
        let was_prepared = self.prepared.lock().unwrap().remove(&branch);
        let mut ended = self.ended.lock().unwrap();
        match (ended.get(&branch), was_prepared, decision) {
            (Some(before), _, _) if *before == decision => Ok(Completion::Done),
            (Some(_), _, _) => Ok(Completion::Contrary("a marker says otherwise".into())),
            (None, false, Decision::Commit) => Ok(Completion::Hazard("no marker".into())),
            (None, _, decision) => {
                ended.insert(branch, decision);
                Ok(Completion::Done)
            }
        }
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(ResourceError::transient("the database is away"));
        }
        let line = |branch: &BranchKey| ScanLine {
            branch: *branch,
            phase: ScanPhase::Prepared,
        };
        Ok(self.prepared.lock().unwrap().iter().map(line).collect())
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        self.forget_calls.fetch_add(1, Ordering::SeqCst);
        let mut ended = self.ended.lock().unwrap();
        ended.retain(|branch, _| !branches.contains(branch));
        Ok(())
    }
}
