//! The log's records as ended transactions: how the index is built again.

use std::collections::{BTreeMap, VecDeque};

use handfast_core::{BranchRecord, DecisionRecord, FinishedTransaction, Outcome, Record};
use handfast_ids::TransactionId;

/// Follows the records of a recovery and keeps the newest that have ended. Aborts that left no record are not found again.
#[derive(Debug)]
pub struct Fold {
    capacity: usize,
    open: BTreeMap<TransactionId, FinishedTransaction>,
    /// Left to their participants: a decision to commit without branches is one of these.
    delegated: BTreeMap<TransactionId, BranchRecord>,
    finished: VecDeque<FinishedTransaction>,
}

impl Fold {
    /// Keeps the newest `capacity`.
    pub fn new(capacity: usize) -> Self {
        Fold {
            capacity,
            open: BTreeMap::new(),
            delegated: BTreeMap::new(),
            finished: VecDeque::new(),
        }
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Delegated {
                transaction, branch, ..
            } => {
                self.delegated.insert(*transaction, branch.clone());
            }
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                let finished = FinishedTransaction {
                    transaction: *transaction,
                    outcome: match decision {
                        DecisionRecord::Commit => Outcome::Committed,
                        DecisionRecord::Abort(reason) => Outcome::Aborted {
                            reason: reason.clone(),
                        },
                    },
                    key: key.as_ref().map(|key| key.key.clone()),
                    branches: match self.delegated.remove(transaction) {
                        Some(branch) if branches.is_empty() && *decision == DecisionRecord::Commit => {
                            vec![branch]
                        }
                        _ => branches.clone(),
                    },
                };
                if branches.is_empty() {
                    self.finish(finished);
                } else {
                    self.open.insert(*transaction, finished);
                }
            }
            Record::Deviated {
                transaction,
                deviation,
            } => {
                if let Some(entry) = self.open.get_mut(transaction) {
                    match &mut entry.outcome {
                        Outcome::Heuristic { evidence } => evidence.push(deviation.clone()),
                        outcome => {
                            *outcome = Outcome::Heuristic {
                                evidence: vec![deviation.clone()],
                            }
                        }
                    }
                }
            }
            Record::Ended { transaction } => {
                self.delegated.remove(transaction);
                if let Some(entry) = self.open.remove(transaction) {
                    self.finish(entry);
                }
            }
            Record::KeyHeld {
                key,
                transaction,
                outcome,
            } => self.finish(FinishedTransaction {
                transaction: *transaction,
                outcome: outcome.clone(),
                key: Some(key.key.clone()),
                branches: Vec::new(),
            }),
            Record::EpochStarted { .. }
            | Record::Resource { .. }
            | Record::Registered { .. }
            | Record::Horizon { .. }
            | Record::EndedCommits { .. } => {}
        }
    }

    /// Those that have ended.
    pub fn into_finished(self) -> impl Iterator<Item = FinishedTransaction> {
        self.finished.into_iter()
    }

    fn finish(&mut self, finished: FinishedTransaction) {
        if self.finished.len() >= self.capacity {
            self.finished.pop_front();
        }
        self.finished.push_back(finished);
    }
}
