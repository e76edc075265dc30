//! Transactions of which the log has not yet said that they ended.
//!
//! Nearly all of a log's transactions end in it, so that whatever is built of one is thrown away soon. Until the whole log
//! is read, one takes 32 bytes here: its id, the log's last word on it, and which of the lists of branches it names.
//!
//! ```text
//!   index: hash of id ──► slot      slots: id, registered or committed, record, list      lists: branches, branches, ...
//!                                                                               └───────────────▲
//! ```

use handfast_ids::TransactionId;

use super::finished::Finished;
use super::{Recovery, decided, decided_twice, registered_twice};
use crate::branch::Branch;
use crate::chunks::Chunks;
use crate::few::Few;
use crate::id_index::IdIndex;
use crate::transaction::Transaction;
use crate::{AbortReason, BranchList, BranchRef, DecisionRecord, KnownRecord, Lsn, Outcome, RecoveryError};

/// Lists of branches that are kept to be named by their places. Of a log that has more, the rest is read one by one.
const MOST_LISTS: usize = 1024;

/// The log's last word on one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Unended {
    word: Word,
    /// The record that says so.
    lsn: Lsn,
    list: BranchList,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Registered,
    Committed,
}

#[derive(Debug, Default)]
pub(super) struct UnendedTable {
    slots: Chunks<Slot>,
    free: Vec<u32>,
    index: IdIndex,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    transaction: TransactionId,
    /// `None`: the slot is free.
    unended: Option<Unended>,
}

impl UnendedTable {
    fn contains(&self, transaction: TransactionId) -> bool {
        self.index.find(transaction, id_in(&self.slots)).is_some()
    }

    /// Enters one, or the later word on it, and gives the word before.
    fn put(&mut self, transaction: TransactionId, unended: Unended) -> Option<Unended> {
        let entry = Slot {
            transaction,
            unended: Some(unended),
        };
        if let Some(slot) = self.index.find(transaction, id_in(&self.slots)) {
            return std::mem::replace(self.slots.get_mut(slot), entry).unended;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.slots.get_mut(slot) = entry;
                slot
            }
            None => self.slots.push(entry),
        };
        self.index.insert(slot, id_in(&self.slots));
        None
    }

    fn remove(&mut self, transaction: TransactionId) -> Option<Unended> {
        let slot = self.index.remove(transaction, id_in(&self.slots))?;
        self.free.push(slot);
        self.slots.get_mut(slot).unended.take()
    }
}

fn id_in(slots: &Chunks<Slot>) -> impl Fn(u32) -> TransactionId {
    |slot| slots.get(slot).transaction
}

impl Recovery {
    /// The place of a list of branches, so that records need only name it. `None` if too many were met already.
    ///
    /// # Errors
    /// A branch whose resource is no name; `lsn` is the record that holds it.
    pub fn learn_branches<'a>(
        &mut self,
        lsn: Lsn,
        branches: impl Iterator<Item = BranchRef<'a>>,
    ) -> Result<Option<BranchList>, RecoveryError> {
        let list = self
            .read_branches(branches)
            .map_err(|message| RecoveryError { lsn, message })?;
        let known = self.lists.iter().position(|known| *known == list);
        if known.is_none() && self.lists.len() == MOST_LISTS {
            return Ok(None);
        }
        let place = known.unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        });
        Ok(Some(BranchList(place as u32)))
    }

    /// [`Recovery::apply`] for a record of which nothing is new but the transaction.
    #[inline]
    pub fn replay_known(&mut self, lsn: Lsn, record: KnownRecord) -> Result<(), RecoveryError> {
        self.follow(lsn)?;
        let folded = match record {
            KnownRecord::Registered { transaction, list } => self.register_known(lsn, transaction, list),
            KnownRecord::Committed { transaction, list } => self.commit_known(lsn, transaction, list),
            KnownRecord::Ended { transaction } => self.end_known(lsn, transaction),
        };
        folded.map_err(|message| RecoveryError { lsn, message })
    }

    fn register_known(
        &mut self,
        lsn: Lsn,
        transaction: TransactionId,
        list: BranchList,
    ) -> Result<(), String> {
        self.learn_id(transaction)?;
        let word = Word::Registered;
        let before = self.unended.put(transaction, Unended { word, lsn, list });
        match before.is_some() || self.table.contains(transaction) {
            true => Err(registered_twice(transaction)),
            false => Ok(()),
        }
    }

    fn commit_known(&mut self, lsn: Lsn, transaction: TransactionId, list: BranchList) -> Result<(), String> {
        self.learn_id(transaction)?;
        // It ends with its decision, or follows a record that says more than a list can.
        if self.list(list).is_empty() || self.table.contains(transaction) {
            let branches = self.list(list).clone();
            return self.decide(lsn, transaction, DecisionRecord::Commit, branches, None);
        }
        let word = Word::Committed;
        let before = self.unended.put(transaction, Unended { word, lsn, list });
        match before.map(|before| before.word) {
            Some(Word::Committed) => Err(decided_twice(transaction)),
            Some(Word::Registered) | None => Ok(()),
        }
    }

    pub(super) fn end_known(&mut self, lsn: Lsn, transaction: TransactionId) -> Result<(), String> {
        let Some(unended) = self.unended.remove(transaction) else {
            return self.end(lsn, transaction);
        };
        match unended.word {
            Word::Committed => {
                let list = unended.list;
                self.history.insert(transaction, Outcome::Committed, lsn);
                self.finish(Finished::Commit { transaction, list });
            }
            // An abort that left no record is presumed.
            Word::Registered => {}
        }
        Ok(())
    }

    /// Whether the log has said that it began, and not that it ended.
    pub(super) fn contains(&self, transaction: TransactionId) -> bool {
        self.unended.contains(transaction) || self.table.contains(transaction)
    }

    pub(super) fn list(&self, list: BranchList) -> &Few<Branch> {
        &self.lists[list.0 as usize]
    }

    /// The log has more to say of this one than that it ended.
    pub(super) fn settle(&mut self, transaction: TransactionId) {
        if let Some(unended) = self.unended.remove(transaction) {
            let entry = unended.entry(&self.lists);
            self.table.insert(transaction, entry);
        }
    }

    /// The log is read: what has not ended is live.
    pub(crate) fn settle_all(&mut self) {
        let UnendedTable { slots, .. } = std::mem::take(&mut self.unended);
        let lists = &self.lists;
        let live = slots
            .into_iter()
            .filter_map(|slot| Some((slot.transaction, slot.unended?.entry(lists))));
        self.table.extend(live);
    }
}

impl Unended {
    /// What it is if no more is said of it.
    fn entry(self, lists: &[Few<Branch>]) -> Transaction {
        let branches = lists[self.list.0 as usize].clone();
        let decision = match self.word {
            Word::Registered => DecisionRecord::Abort(AbortReason::Presumed),
            Word::Committed => DecisionRecord::Commit,
        };
        decided(self.lsn, decision, branches, None)
    }
}
