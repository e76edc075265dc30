//! What people and machines do to a store behind the protocol's back, and why the system should survive it:
//!
//! - *a failover that loses prepared branches*, *an operator who finishes them by hand*: reported as a hazard or as mixed,
//!   never taken for done.
//! - *a restored copy that shows a finished branch as prepared*: held for an operator, who may put the right store back; never
//!   presumed.
//! - *branches of somebody else*: left alone.
//! - *no room for promises*: a vote against, that may be tried again.
//! - *a scan that fails*: no consequence.
//! - *another store, or an older life, behind the name*: refused at the handshake.

use handfast_ids::{BranchId, LogId, TransactionId};
use handfast_participant::BranchKey;

use super::{Branch, Database, State};
use crate::intent::Operation;

/// What is done to the branches of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // as the module tells
pub enum Hand {
    LosePrepared,
    RollBack,
    Commit,
    Resurrect,
    PutRight,
    Foreign,
    DropForeign,
}

/// What hinders a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hindrance {
    /// It takes no further promises.
    pub has_no_slots: bool,
    /// It cannot be scanned.
    pub scan_fails: bool,
    /// Another store answers behind the name.
    pub is_another: bool,
    /// It is an older life of itself.
    pub is_older: bool,
}

/// A branch that no coordinator has minted.
const FOREIGN: BranchKey = BranchKey {
    log: LogId(0xf0e1),
    transaction: TransactionId::ZERO,
    branch: BranchId(0),
};

impl Database {
    /// Does this to all branches that it concerns.
    pub fn by_hand(&self, hand: Hand) {
        self.state().by_hand(hand);
    }

    /// Hinders the store, or does so no longer.
    pub fn hinder(&self, change: impl FnOnce(&mut Hindrance)) {
        change(&mut self.state().hindrance);
    }
}

impl State {
    fn by_hand(&mut self, hand: Hand) {
        match hand {
            Hand::Foreign => self.show_as_prepared(FOREIGN, Operation::READ),
            Hand::DropForeign => {
                self.branches.remove(&FOREIGN);
            }
            Hand::Resurrect => {
                for (branch, operation) in self.accounts.undo() {
                    let known = self.branches.get(&branch).cloned();
                    self.restored.insert(branch, known);
                    self.show_as_prepared(branch, operation);
                }
            }
            Hand::PutRight => self.put_right(),
            Hand::LosePrepared | Hand::RollBack | Hand::Commit => self.finish_by_hand(hand),
        }
    }

    fn show_as_prepared(&mut self, branch: BranchKey, operation: Operation) {
        let prepared = Branch::Prepared {
            operation,
            expires: None,
        };
        self.branches.insert(branch, prepared);
    }

    /// The right store comes back, with everything that the copy has done meanwhile: what the copy has finished stays so, and
    /// what it has only shown as prepared is as it was.
    fn put_right(&mut self) {
        for (branch, known) in std::mem::take(&mut self.restored) {
            let Some(Branch::Prepared { operation, .. }) = self.branches.get(&branch).cloned() else {
                continue;
            };
            self.accounts.apply(branch, operation);
            match known {
                Some(marker) => self.branches.insert(branch, marker),
                None => self.branches.remove(&branch),
            };
        }
    }

    fn finish_by_hand(&mut self, hand: Hand) {
        let is_prepared = |branch: &Branch| matches!(branch, Branch::Prepared { .. });
        let keys = self.branches.iter().filter(|(_, branch)| is_prepared(branch));
        let keys: Vec<BranchKey> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(Branch::Prepared { operation, .. }) = self.branches.remove(&key) else {
                continue;
            };
            match hand {
                Hand::Commit => {
                    self.accounts.apply(key, operation);
                    self.branches.insert(key, Branch::Committed);
                }
                Hand::RollBack => {
                    self.accounts.release(&operation);
                    self.branches.insert(key, Branch::Aborted);
                }
                _ => self.accounts.release(&operation),
            }
        }
    }
}
