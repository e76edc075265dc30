//! The state of a journal: a fold of its records, live as after a restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use handfast_proto::ids::{Generation, LogId, StoreId};

use super::record::{Deviation, Record};
use crate::resource::{BranchKey, Refusal, Reservation, ScanLine, ScanPhase, SeenLog, Staged};

/// What is known of a branch; `at` is the record that says so, 0 if it came with a checkpoint.
///
/// ```text
///   (unknown) ── Prepared ──► Prepared ── Committed ──► Committed ── Forgotten ──► (unknown)
///       │                        └─────── Aborted ────► Aborted ──── Forgotten ──► (unknown)
///       │                        └─────── Deviated ───► Deviated ─── Forgotten ──► (unknown)
///       ├───────── Aborted ────────────────────────────────▲
///       └───────── CommittedAtOnce ──► Committed
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BranchState {
    /// Promised, and waiting for a decision.
    Prepared {
        /// What was promised.
        operation: Bytes,
        /// The record.
        at: u64,
        /// Which of the promises that this process has noted: their order, also for those out of a checkpoint.
        number: u64,
    },
    /// Done. The marker.
    Committed {
        /// The record.
        at: u64,
    },
    /// Let go, or never promised. The fence.
    Aborted {
        /// The record.
        at: u64,
    },
    /// Ended, and not as was decided. The evidence.
    Deviated {
        /// The record.
        at: u64,
        /// How it ended.
        deviation: Deviation,
        /// What the store said.
        evidence: String,
    },
}

/// The service and everything that the journal knows beside it.
#[derive(Debug)]
pub(crate) struct State<S> {
    pub staged: S,
    pub branches: BTreeMap<BranchKey, BranchState>,
    pub seen: BTreeMap<LogId, SeenLog>,
    pub store: Option<(StoreId, Generation)>,
    /// Whether branches are carried out outside of the journal, and so can end otherwise than it says.
    pub carried_out_elsewhere: bool,
    prepared: usize,
    /// Promises noted so far.
    promises: u64,
}

impl<S: Staged> State<S> {
    pub fn new(staged: S) -> Self {
        State {
            staged,
            branches: BTreeMap::new(),
            seen: BTreeMap::new(),
            store: None,
            carried_out_elsewhere: false,
            prepared: 0,
            promises: 0,
        }
    }

    /// Takes a record at its place in the order. An error says what does not fit.
    pub fn fold(&mut self, at: u64, record: Record) -> Result<(), String> {
        match record {
            Record::Store { store, generation } => self.store = Some((store, generation)),
            Record::Seen(seen) => self.witness(seen),
            Record::State(state) => self.staged.restore(&state).map_err(|error| error.message)?,
            Record::Prepared {
                branch,
                seen,
                operation,
            } => {
                self.reserve_again(branch, &operation)?;
                self.prepared(at, branch, seen, operation);
            }
            Record::CommittedAtOnce {
                branch,
                seen,
                operation,
            } => {
                if let Some(found) = self.branches.get(&branch) {
                    return Err(format!("{branch} was committed at once and was {found:?}"));
                }
                self.reserve_again(branch, &operation)?;
                self.committed_at_once(at, branch, seen, &operation);
            }
            Record::Committed { branch, seen } => {
                self.witness(seen);
                match self.branches.insert(branch, BranchState::Committed { at }) {
                    Some(BranchState::Prepared { operation, .. }) => {
                        self.prepared -= 1;
                        self.staged.apply(at, branch, &operation);
                    }
                    // A marker out of a checkpoint: its effect is part of the snapshot.
                    None if at == 0 => {}
                    found => return Err(format!("{branch} was committed and was {found:?}")),
                }
            }
            Record::Aborted { branch, seen } => {
                self.witness(seen);
                match self.branches.insert(branch, BranchState::Aborted { at }) {
                    Some(BranchState::Prepared { operation, .. }) => {
                        self.prepared -= 1;
                        self.staged.release(branch, &operation);
                    }
                    None => {}
                    found => return Err(format!("{branch} was aborted and was {found:?}")),
                }
            }
            Record::Deviated { branch, .. } if !self.carried_out_elsewhere => {
                return Err(format!(
                    "{branch} ended otherwise than was decided, which it cannot where the journal is all there is"
                ));
            }
            Record::Deviated {
                branch,
                seen,
                deviation,
                evidence,
            } => {
                self.witness(seen);
                let deviated = BranchState::Deviated {
                    at,
                    deviation,
                    evidence,
                };
                match self.branches.insert(branch, deviated) {
                    Some(BranchState::Prepared { operation, .. }) => {
                        self.prepared -= 1;
                        self.staged.release(branch, &operation);
                    }
                    None if at == 0 => {}
                    found => return Err(format!("{branch} deviated and was {found:?}")),
                }
            }
            Record::Forgotten { branch } => {
                if let Some(BranchState::Prepared { .. }) = self.branches.remove(&branch) {
                    return Err(format!("{branch} was forgotten and was prepared"));
                }
            }
        }
        Ok(())
    }

    /// What a record says was reserved can be reserved again.
    fn reserve_again(&mut self, branch: BranchKey, operation: &[u8]) -> Result<(), String> {
        match self.staged.reserve(branch, operation) {
            Ok(Reservation::Reserved) => Ok(()),
            Ok(Reservation::Nothing) => Err(format!("{branch} was promised and changes nothing")),
            Err(refusal) => Err(format!(
                "{branch} was promised and is refused: {}",
                refusal.message
            )),
        }
    }

    /// Notes and keeps a promise in one step; its reservation was made.
    pub fn committed_at_once(&mut self, at: u64, branch: BranchKey, seen: SeenLog, operation: &[u8]) {
        self.witness(seen);
        let before = self.branches.insert(branch, BranchState::Committed { at });
        assert!(before.is_none(), "{branch} is committed once, and was {before:?}");
        self.staged.apply(at, branch, operation);
    }

    /// Checks and reserves; nothing is promised before its record is appended.
    pub fn reserve(&mut self, branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        self.staged.reserve(branch, operation)
    }

    /// Notes a promise whose reservation was made.
    pub fn prepared(&mut self, at: u64, branch: BranchKey, seen: SeenLog, operation: Bytes) {
        self.witness(seen);
        self.promises += 1;
        let number = self.promises;
        let promise = BranchState::Prepared {
            operation,
            at,
            number,
        };
        let before = self.branches.insert(branch, promise);
        assert!(before.is_none(), "{branch} is promised once, and was {before:?}");
        self.prepared += 1;
    }

    /// What a scan may show while the log is durable to here. A commit at once is a fact for the coordinator, which tells it to
    /// its client: one whose sync is under way must wait for the next scan.
    pub fn lines_through(&self, durable: u64) -> Vec<ScanLine> {
        let is_no_fact_yet = |branch: &BranchKey| matches!(self.branches.get(branch), Some(BranchState::Committed { at }) if *at > durable);
        let mut lines = self.lines();
        lines.retain(|line| !is_no_fact_yet(&line.branch));
        lines
    }

    pub fn lines(&self) -> Vec<ScanLine> {
        let phase = |state: &BranchState| match state {
            BranchState::Prepared { .. } => ScanPhase::Prepared,
            BranchState::Committed { .. } => ScanPhase::Committed,
            BranchState::Aborted { .. } | BranchState::Deviated { .. } => ScanPhase::Marker,
        };
        self.branches
            .iter()
            .map(|(branch, state)| ScanLine {
                branch: *branch,
                phase: phase(state),
            })
            .collect()
    }

    /// The state as the records of a checkpoint. Promises come last, in the order in which they were made.
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::with_capacity(self.branches.len() + 16);
        let store = self
            .store
            .map(|(store, generation)| Record::Store { store, generation });
        records.extend(store.iter().map(Record::encode));
        records.extend(self.seen.values().map(|seen| Record::Seen(*seen).encode()));
        records.extend(
            self.staged
                .snapshot()
                .into_iter()
                .map(|state| Record::State(state).encode()),
        );
        let mut promises = Vec::with_capacity(self.prepared);
        for (branch, state) in &self.branches {
            let (branch, seen) = (*branch, self.seen_of(branch.log));
            match state {
                BranchState::Prepared {
                    operation, number, ..
                } => {
                    promises.push((
                        *number,
                        Record::Prepared {
                            branch,
                            seen,
                            operation: operation.clone(),
                        },
                    ));
                }
                BranchState::Committed { .. } => records.push(Record::Committed { branch, seen }.encode()),
                BranchState::Aborted { .. } => records.push(Record::Aborted { branch, seen }.encode()),
                BranchState::Deviated {
                    deviation, evidence, ..
                } => {
                    let (deviation, evidence) = (*deviation, evidence.clone());
                    records.push(
                        Record::Deviated {
                            branch,
                            seen,
                            deviation,
                            evidence,
                        }
                        .encode(),
                    );
                }
            }
        }
        promises.sort_by_key(|(number, _)| *number);
        records.extend(promises.iter().map(|(_, promise)| promise.encode()));
        records
    }

    fn witness(&mut self, seen: SeenLog) {
        let known = self.seen.entry(seen.log).or_insert(seen);
        known.epoch = known.epoch.max(seen.epoch);
        known.lsn = known.lsn.max(seen.lsn);
    }

    fn seen_of(&self, log: LogId) -> SeenLog {
        self.seen
            .get(&log)
            .copied()
            .expect("a branch is noted with what was seen of its log")
    }
}
