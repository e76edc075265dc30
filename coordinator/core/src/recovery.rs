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

use std::collections::BTreeMap;

use handfast_ids::{Epoch, LogId, Partition, TransactionId};

use crate::branch::{Branch, BranchEvent, BranchState, Step};
use crate::coordinator::{Coordinator, Cursors, Totals};
use crate::history::History;
use crate::keys::Keys;
use crate::mint::Mint;
use crate::resources::Resources;
use crate::table::Table;
use crate::timer::Timers;
use crate::transaction::{State, Transaction};
use crate::{
    AbortReason, BranchRecord, Decision, DecisionRecord, Deviation, Effect, KeyRecord, Limits, LogSpace, Lsn,
    Moment, Outcome, Record,
};

/// Whose log it is and which part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: Partition,
}

/// The fold. Feed it the checkpoint's records, then the log's, in order; then [`Coordinator::start`].
#[derive(Debug)]
pub struct Recovery {
    identity: Identity,
    limits: Limits,
    epoch: Epoch,
    floor_ms: u64,
    last_lsn: Lsn,
    table: Table,
    resources: Resources,
    keys: Keys,
    history: History,
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
        let history = History::new(limits.history);
        Recovery {
            identity,
            limits,
            epoch: Epoch(0),
            floor_ms: 0,
            last_lsn: Lsn::ZERO,
            table: Table::default(),
            resources: Resources::default(),
            keys: Keys::default(),
            history,
        }
    }

    /// Takes the next record. Those of a checkpoint all carry the LSN that the checkpoint covers.
    pub fn apply(&mut self, lsn: Lsn, record: Record) -> Result<(), RecoveryError> {
        if lsn < self.last_lsn {
            return Err(RecoveryError {
                lsn,
                message: format!("follows record {}", self.last_lsn.0),
            });
        }
        self.last_lsn = lsn;
        self.fold(lsn, record)
            .map_err(|message| RecoveryError { lsn, message })
    }

    fn fold(&mut self, lsn: Lsn, record: Record) -> Result<(), String> {
        match record {
            Record::EpochStarted {
                log, epoch, wall_ms, ..
            } => self.epoch_started(log, epoch, wall_ms),
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
            } => {
                self.learn_id(transaction)?;
                if self.table.contains(transaction) {
                    return Err(format!("transaction {transaction} is registered twice"));
                }
                let decision = DecisionRecord::Abort(AbortReason::Presumed);
                let entry = self.decided(lsn, decision, branches, None);
                self.table.insert(transaction, entry);
                Ok(())
            }
            Record::Delegated {
                transaction,
                branch,
                key,
            } => {
                self.learn_id(transaction)?;
                if self.table.contains(transaction) {
                    return Err(format!("transaction {transaction} is delegated twice"));
                }
                let entry = self.delegated(transaction, branch, key);
                self.table.insert(transaction, entry);
                Ok(())
            }
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                self.learn_id(transaction)?;
                if self
                    .table
                    .get(transaction)
                    .is_some_and(|known| !is_undecided(known))
                {
                    return Err(format!("transaction {transaction} is decided twice"));
                }
                if let Some(key) = &key {
                    self.keys.bind(key.clone(), transaction);
                }
                let entry = self.decided(lsn, decision, branches, key);
                self.enter(transaction, entry, lsn);
                Ok(())
            }
            Record::Deviated {
                transaction,
                deviation,
            } => self.deviated(transaction, deviation, lsn),
            Record::Ended { transaction } => {
                let entry = self
                    .table
                    .remove(transaction)
                    .ok_or_else(|| format!("transaction {transaction} ends without having begun"));
                // A read-only one leaves no decision, and one with nothing to deliver ended with it.
                match entry {
                    Ok(entry) => self.ended(transaction, entry, lsn),
                    Err(_) if self.history.outcome(transaction).is_some() => {}
                    Err(_) if transaction <= self.history.horizon() => {}
                    Err(message) => return Err(message),
                }
                Ok(())
            }
            Record::Horizon { transaction, key_ms } => {
                self.floor_ms = self.floor_ms.max(transaction.milliseconds());
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
                self.keys.answer(&key.key, transaction, outcome, lsn);
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

    fn epoch_started(&mut self, log: LogId, epoch: Epoch, wall_ms: u64) -> Result<(), String> {
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
        Ok(())
    }

    fn learn_id(&mut self, transaction: TransactionId) -> Result<(), String> {
        if transaction.partition() != self.identity.partition || transaction.epoch() > self.epoch {
            return Err(format!(
                "transaction {transaction} was not minted by this log up to epoch {}",
                self.epoch
            ));
        }
        self.floor_ms = self.floor_ms.max(transaction.milliseconds());
        Ok(())
    }

    /// A transaction that was left to its participant and whose answer may be lost. Under a key it has one answer for ever;
    /// without one it may have been read-only and answered "committed", so that its abort is only presumed.
    fn delegated(
        &mut self,
        transaction: TransactionId,
        branch: BranchRecord,
        key: Option<KeyRecord>,
    ) -> Transaction {
        let doubt = Some(match &key {
            Some(_) => AbortReason::SessionLost {
                resource: branch.resource.clone(),
            },
            None => AbortReason::Presumed,
        });
        let state = State::Delegated {
            deadline: Moment(0),
            doubt,
            attempts: 0,
        };
        let branch = self.branch(branch, BranchState::Asked);
        let mut entry = Transaction::new(state, vec![branch]);
        if let Some(key) = &key {
            self.keys.bind(key.clone(), transaction);
        }
        entry.key = key.map(Box::new);
        entry.logged = true;
        entry
    }

    fn branch(&mut self, record: BranchRecord, state: BranchState) -> Branch {
        Branch {
            id: record.branch,
            resource: self.resources.find(&record.resource).unwrap_or_else(|| {
                self.resources
                    .learn(record.resource, record.store, handfast_ids::Generation(0))
            }),
            store: record.store,
            state,
        }
    }

    /// A transaction in its decided state, every branch still to be told.
    fn decided(
        &mut self,
        lsn: Lsn,
        decision: DecisionRecord,
        branches: Vec<BranchRecord>,
        key: Option<KeyRecord>,
    ) -> Transaction {
        let unacked = branches.len();
        let (told, state) = match decision {
            DecisionRecord::Commit => (
                Decision::Commit,
                State::Committing {
                    decided: lsn,
                    unacked,
                    attempts: 0,
                },
            ),
            DecisionRecord::Abort(reason) => (
                Decision::Abort,
                State::Aborting {
                    reason,
                    decided: Some(lsn),
                    unacked,
                    attempts: 0,
                },
            ),
        };
        let mut branches: Vec<Branch> = branches
            .into_iter()
            .map(|record| self.branch(record, BranchState::Delivering(told)))
            .collect();
        branches.sort_by_key(|branch| branch.id);
        let mut entry = Transaction::new(state, branches);
        entry.key = key.map(Box::new);
        entry.logged = true;
        entry
    }

    fn enter(&mut self, transaction: TransactionId, entry: Transaction, lsn: Lsn) {
        if let (Some(key), Some(outcome)) = (&entry.key, entry.outcome()) {
            self.keys.answer(&key.key, transaction, outcome, lsn);
        }
        if entry.branches.is_empty() {
            self.table.remove(transaction);
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
            Some(outcome) => self.history.insert(transaction, outcome, lsn),
        }
    }

    fn deviated(&mut self, transaction: TransactionId, deviation: Deviation, lsn: Lsn) -> Result<(), String> {
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

impl Coordinator {
    /// Takes up a recovered log: `next_lsn` is the LSN that the next record gets, `wall_ms` Unix time at `now`.
    ///
    /// Appends the record of the new epoch, which must be durable before any session or client is accepted: ids of this
    /// epoch are told from then on.
    pub fn start(
        recovery: Recovery,
        next_lsn: Lsn,
        now: Moment,
        wall_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Coordinator {
        assert!(next_lsn > recovery.last_lsn, "the next record follows the last");
        let Recovery {
            identity,
            limits,
            epoch,
            floor_ms,
            table,
            mut resources,
            keys,
            history,
            ..
        } = recovery;
        let epoch = epoch.next();
        let mint = Mint::new(identity.partition, epoch, now, wall_ms, floor_ms);
        for branch in table.values().flat_map(|entry| &entry.branches) {
            if branch.state.is_unfinished() {
                resources.get_mut(branch.resource).unfinished += 1;
            }
        }
        let durable = Lsn(next_lsn.0 - 1);
        let mut coordinator = Coordinator {
            log: identity.log,
            limits,
            mint,
            now,
            cursors: Cursors {
                durable,
                next: next_lsn,
            },
            table,
            operation_bytes: 0,
            timers: Timers::default(),
            resources,
            keys,
            next_key_expiry: now,
            history,
            held: BTreeMap::new(),
            watchers: BTreeMap::new(),
            draining: false,
            space: LogSpace::Ample,
            stopped: None,
            totals: Totals::default(),
        };
        let record = Record::EpochStarted {
            log: identity.log,
            epoch,
            predecessor_end: durable,
            wall_ms: coordinator.mint.wall_ms(now),
        };
        coordinator.append(record, true, effects);
        coordinator
    }
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
