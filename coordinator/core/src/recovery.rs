//! Recovery: the fold of the log into the state of a coordinator.
//!
//! | the log's last word on a transaction | what it becomes |
//! |---|---|
//! | nothing | unknown; an inquiry is answered "abort" |
//! | `Registered` | aborting; its branches are told without being asked |
//! | `Delegated` | in doubt: its store is asked, and until it says, the outcome is unknown |
//! | `Decided(commit)` | committing; every branch that voted prepared is told until it acknowledges |
//! | `Decided(abort)` | aborting, and the answer under its key is bound |
//! | `Decided` without branches | ended |
//! | `Deviated` after `Decided` | stays, for the operator |
//! | `Ended` | history, if it was a commit |

mod branches;
mod finished;
mod unended;

use std::collections::VecDeque;

use handfast_ids::{Epoch, LogId, Partition, TransactionId};

use crate::branch::{Branch, BranchEvent, BranchState, Step};
use crate::epochs::EpochEnds;
use crate::few::Few;
use crate::history::History;
use crate::keys::Keys;
use crate::resources::{ResourceIndex, Resources};
use crate::table::Table;
use crate::transaction::{State, Transaction};
use crate::{
    AbortReason, BranchRecord, BranchRef, Decision, DecisionRecord, Deviation, KeyRecord, KnownRecord,
    Limits, Lsn, Moment, Outcome, Record, ReplayedRecord,
};
use finished::{Finished, Other};
use unended::UnendedTable;

/// Whose log it is and which part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: Partition,
}

/// The fold. Feed it the checkpoint's records, then the log's, in order; then [`Coordinator::start`](crate::Coordinator::start).
#[derive(Debug)]
pub struct Recovery {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) epoch: Epoch,
    pub(crate) epoch_ends: EpochEnds,
    pub(crate) floor_ms: u64,
    /// The same by the time by which keys expire.
    pub(crate) key_floor_ms: u64,
    /// Both at the start of the last epoch, or at the checkpoint.
    epoch_began_ms: (u64, u64),
    pub(crate) last_lsn: Lsn,
    /// Those that the log has more to say of than that they began, committed and ended. The others join them at its end.
    pub(crate) table: Table,
    unended: UnendedTable,
    /// Lists of branches by their places, still to be told of a commit.
    lists: Vec<Few<Branch>>,
    pub(crate) resources: Resources,
    pub(crate) keys: Keys,
    pub(crate) history: History,
    /// The newest that have ended, oldest end first; as many as the history keeps.
    finished: VecDeque<Finished>,
    /// Resources by the hashes of their names.
    recent: Vec<Option<ResourceIndex>>,
}

/// A record that cannot follow the ones before it: the log is not what this build wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryError {
    /// Where.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub message: String,
}

impl Recovery {
    /// The state of an empty log.
    pub fn new(identity: Identity, limits: Limits) -> Self {
        let history = History::replayed(limits.history);
        Recovery {
            identity,
            limits,
            epoch: Epoch(0),
            epoch_ends: EpochEnds::default(),
            floor_ms: 0,
            key_floor_ms: 0,
            epoch_began_ms: (0, 0),
            last_lsn: Lsn::ZERO,
            table: Table::default(),
            unended: UnendedTable::default(),
            lists: Vec::new(),
            resources: Resources::default(),
            keys: Keys::default(),
            history,
            finished: VecDeque::new(),
            recent: branches::none_met(),
        }
    }

    /// Takes the next record. Those of a checkpoint all carry the LSN that the checkpoint covers.
    pub fn apply(&mut self, lsn: Lsn, record: Record) -> Result<(), RecoveryError> {
        let known = match &record {
            Record::Registered {
                transaction,
                branches,
            } => {
                let list = self.learn_branches(lsn, references(branches))?;
                list.map(|list| KnownRecord::Registered {
                    transaction: *transaction,
                    list,
                })
            }
            Record::Decided {
                transaction,
                decision: DecisionRecord::Commit,
                branches,
                key: None,
            } => {
                let list = self.learn_branches(lsn, references(branches))?;
                list.map(|list| KnownRecord::Committed {
                    transaction: *transaction,
                    list,
                })
            }
            _ => None,
        };
        match known {
            Some(known) => self.replay_known(lsn, known),
            None => self.replay(lsn, ReplayedRecord::<std::iter::Empty<_>>::Other(record)),
        }
    }

    /// [`Recovery::apply`] for a record that was read without copies.
    pub fn replay<'a, B>(&mut self, lsn: Lsn, record: ReplayedRecord<B>) -> Result<(), RecoveryError>
    where
        B: Iterator<Item = BranchRef<'a>>,
    {
        self.follow(lsn)?;
        let folded = match record {
            ReplayedRecord::Registered {
                transaction,
                branches,
            } => self.registered(lsn, transaction, branches),
            ReplayedRecord::Committed {
                transaction,
                branches,
            } => {
                let branches = self.read_branches(branches);
                branches.and_then(|branches| {
                    self.decide(lsn, transaction, DecisionRecord::Commit, branches, None)
                })
            }
            ReplayedRecord::Other(record) => self.fold(lsn, record),
        };
        folded.map_err(|message| RecoveryError { lsn, message })
    }

    fn follow(&mut self, lsn: Lsn) -> Result<(), RecoveryError> {
        if lsn < self.last_lsn {
            return Err(RecoveryError {
                lsn,
                message: format!("follows record {}", self.last_lsn.0),
            });
        }
        self.last_lsn = lsn;
        Ok(())
    }

    fn fold(&mut self, lsn: Lsn, record: Record) -> Result<(), String> {
        match record {
            Record::EpochStarted {
                log,
                epoch,
                predecessor_end,
                wall_ms,
                key_ms,
            } => {
                self.epoch_started(log, epoch, wall_ms, key_ms)?;
                self.epoch_ends.begins(epoch, predecessor_end);
                Ok(())
            }
            Record::Resource {
                name,
                store,
                generation,
            } => {
                self.resources.learn(name, store, generation);
                Ok(())
            }
            Record::Registered {
                transaction,
                branches,
            } => self.registered(lsn, transaction, references(&branches)),
            Record::Delegated {
                transaction,
                branch,
                key,
            } => self.delegated(transaction, &branch, key),
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                let branches = self.read_branches(references(&branches))?;
                self.decide(lsn, transaction, decision, branches, key)
            }
            Record::Deviated {
                transaction,
                deviation,
            } => self.deviated(transaction, deviation, lsn),
            Record::Ended { transaction } => self.end_known(lsn, transaction),
            Record::Horizon { transaction, key_ms } => {
                self.raise_floor(transaction);
                self.history.raise_horizon(transaction);
                self.keys.raise_horizon(key_ms);
                Ok(())
            }
            Record::KeyHeld {
                key,
                transaction,
                outcome,
            } => {
                self.learn_id(transaction)?;
                self.keys.bind(key.clone(), transaction);
                self.keys.answer(&key.key, transaction, outcome.clone(), lsn);
                self.finish(Finished::Other(Box::new(Other {
                    transaction,
                    outcome,
                    key: Some(key.key),
                    branches: Few::default(),
                })));
                Ok(())
            }
            Record::EndedCommits { transactions } => {
                for transaction in transactions {
                    self.learn_id(transaction)?;
                    self.history.insert(transaction, Outcome::Committed, lsn);
                }
                Ok(())
            }
        }
    }

    fn registered<'a>(
        &mut self,
        lsn: Lsn,
        transaction: TransactionId,
        branches: impl Iterator<Item = BranchRef<'a>>,
    ) -> Result<(), String> {
        self.learn_id(transaction)?;
        if self.contains(transaction) {
            return Err(registered_twice(transaction));
        }
        let decision = DecisionRecord::Abort(AbortReason::Presumed);
        let entry = decided(lsn, decision, self.read_branches(branches)?, None);
        self.table.insert(transaction, entry);
        Ok(())
    }

    fn decide(
        &mut self,
        lsn: Lsn,
        transaction: TransactionId,
        decision: DecisionRecord,
        branches: Few<Branch>,
        key: Option<Box<KeyRecord>>,
    ) -> Result<(), String> {
        self.learn_id(transaction)?;
        self.settle(transaction);
        if self
            .table
            .get(transaction)
            .is_some_and(|known| !is_undecided(known))
        {
            return Err(decided_twice(transaction));
        }
        if let Some(key) = key.as_deref() {
            self.keys.bind(key.clone(), transaction);
        }
        self.enter(transaction, decided(lsn, decision, branches, key), lsn);
        Ok(())
    }

    /// A read-only one leaves no decision, and one with nothing to deliver ended with it.
    fn end(&mut self, lsn: Lsn, transaction: TransactionId) -> Result<(), String> {
        match self.table.remove(transaction) {
            Some(entry) => self.ended(transaction, entry, lsn),
            None if transaction <= self.history.horizon() => {}
            None if self.history.outcome(transaction).is_some() => {}
            None => return Err(format!("transaction {transaction} ends without having begun")),
        }
        Ok(())
    }

    fn epoch_started(&mut self, log: LogId, epoch: Epoch, wall_ms: u64, key_ms: u64) -> Result<(), String> {
        if log != self.identity.log {
            return Err(format!(
                "belongs to log {log}, and this is log {}",
                self.identity.log
            ));
        }
        if epoch <= self.epoch {
            return Err(format!("epoch {epoch} follows epoch {}", self.epoch));
        }
        self.epoch = epoch;
        self.floor_ms = self.floor_ms.max(wall_ms);
        self.key_floor_ms = key_ms;
        self.epoch_began_ms = (wall_ms, key_ms);
        Ok(())
    }

    fn learn_id(&mut self, transaction: TransactionId) -> Result<(), String> {
        if transaction.partition() != self.identity.partition || transaction.epoch() > self.epoch {
            return Err(format!(
                "transaction {transaction} was not minted by this log up to epoch {}",
                self.epoch
            ));
        }
        self.raise_floor(transaction);
        Ok(())
    }

    /// An id tells the time at which it was minted, by the clock of its epoch.
    fn raise_floor(&mut self, transaction: TransactionId) {
        let minted_ms = transaction.milliseconds();
        self.floor_ms = self.floor_ms.max(minted_ms);
        if transaction.epoch() == self.epoch {
            let (wall_ms, key_ms) = self.epoch_began_ms;
            self.key_floor_ms = self.key_floor_ms.max(key_ms + minted_ms.saturating_sub(wall_ms));
        }
    }

    /// A transaction that was left to its participant and whose answer may be lost. Under a key it has one answer for ever;
    /// without one it may have been read-only and answered "committed", so that its abort is only presumed.
    fn delegated(
        &mut self,
        transaction: TransactionId,
        branch: &BranchRecord,
        key: Option<Box<KeyRecord>>,
    ) -> Result<(), String> {
        self.learn_id(transaction)?;
        if self.contains(transaction) {
            return Err(format!("transaction {transaction} is delegated twice"));
        }
        let doubt = match &key {
            Some(_) => AbortReason::SessionLost {
                resource: branch.resource.clone(),
            },
            None => AbortReason::Presumed,
        };
        let state = State::Delegated {
            deadline: Moment(0),
            doubt: Some(doubt),
            attempts: 0,
        };
        let asked = self.branch(BranchRef::from(branch), BranchState::Asked)?;
        let mut entry = Transaction::new(state, Few::One([asked]));
        if let Some(key) = key.as_deref() {
            self.keys.bind(key.clone(), transaction);
        }
        entry.key = key;
        entry.logged = true;
        self.table.insert(transaction, entry);
        Ok(())
    }

    fn enter(&mut self, transaction: TransactionId, mut entry: Transaction, lsn: Lsn) {
        if let (Some(key), Some(outcome)) = (&entry.key, entry.outcome()) {
            self.keys.answer(&key.key, transaction, outcome, lsn);
        }
        if entry.branches.is_empty() {
            // A commit that was its participant's names nobody who must be told: the branch is in what was delegated.
            if let Some(known) = self.table.remove(transaction)
                && matches!(
                    (&known.state, &entry.state),
                    (State::Delegated { .. }, State::Committing { .. })
                )
            {
                entry.branches = known.branches;
            }
            self.ended(transaction, entry, lsn);
        } else {
            self.table.insert(transaction, entry);
        }
    }

    fn ended(&mut self, transaction: TransactionId, entry: Transaction, lsn: Lsn) {
        match entry.outcome() {
            Some(Outcome::Aborted {
                reason: AbortReason::Presumed,
            })
            | None => {}
            Some(outcome) => {
                self.history.insert(transaction, outcome.clone(), lsn);
                self.finish(Finished::Other(Box::new(Other {
                    transaction,
                    outcome,
                    key: entry.key.map(|record| record.key),
                    branches: entry.branches,
                })));
            }
        }
    }

    fn deviated(&mut self, transaction: TransactionId, deviation: Deviation, lsn: Lsn) -> Result<(), String> {
        self.settle(transaction);
        let unknown = || format!("transaction {transaction} deviates without a decision");
        let entry = self.table.get_mut(transaction).ok_or_else(unknown)?;
        let told = match &entry.state {
            State::Committing { .. } => Decision::Commit,
            _ => Decision::Abort,
        };
        if let Some(branch) = entry.branch_mut(deviation.branch)
            && let Step::To(next) = branch.state.on(BranchEvent::Deviate(told, deviation.kind))
        {
            branch.state = next;
            if let Some(unacked) = entry.state.unacked() {
                *unacked -= 1;
            }
        }
        entry.deviations.push(deviation);
        if let (Some(key), Some(outcome)) = (entry.key.as_deref(), entry.outcome()) {
            self.keys.answer(&key.key, transaction, outcome, lsn);
        }
        Ok(())
    }
}

/// A transaction in its decided state, every branch still to be told.
fn decided(
    lsn: Lsn,
    decision: DecisionRecord,
    mut branches: Few<Branch>,
    key: Option<Box<KeyRecord>>,
) -> Transaction {
    let (unacked, attempts) = (branches.len(), 0);
    let (told, state) = match decision {
        DecisionRecord::Commit => {
            let state = State::Committing {
                decided: lsn,
                unacked,
                attempts,
            };
            (Decision::Commit, state)
        }
        DecisionRecord::Abort(reason) => {
            let state = State::Aborting {
                reason,
                decided: Some(lsn),
                unacked,
                attempts,
            };
            (Decision::Abort, state)
        }
    };
    for branch in &mut branches {
        branch.state = BranchState::Delivering(told);
    }
    let mut entry = Transaction::new(state, branches);
    entry.key = key;
    entry.logged = true;
    entry
}

fn references(branches: &[BranchRecord]) -> impl Iterator<Item = BranchRef<'_>> {
    branches.iter().map(BranchRef::from)
}

fn registered_twice(transaction: TransactionId) -> String {
    format!("transaction {transaction} is registered twice")
}

fn decided_twice(transaction: TransactionId) -> String {
    format!("transaction {transaction} is decided twice")
}

fn is_undecided(entry: &Transaction) -> bool {
    matches!(
        &entry.state,
        State::Delegated { .. }
            | State::Aborting {
                reason: AbortReason::Presumed,
                ..
            }
    )
}

#[cfg(test)]
mod tests;
