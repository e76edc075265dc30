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
use super::{Recovery, decided, decided_twice};
use crate::branch::Branch;
use crate::few::Few;
use crate::id_index::IdIndex;
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
    slots: Vec<Slot>,
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
        self.get(transaction).is_some()
    }

    fn get(&self, transaction: TransactionId) -> Option<Unended> {
        let slot = self.index.find(transaction, id_in(&self.slots))?;
        self.slots[slot as usize].unended
    }

    /// Enters one, or the later word on it, and gives the word before.
    fn put(&mut self, transaction: TransactionId, unended: Unended) -> Option<Unended> {
        let entry = Slot {
            transaction,
            unended: Some(unended),
        };
        if let Some(slot) = self.index.find(transaction, id_in(&self.slots)) {
            return std::mem::replace(&mut self.slots[slot as usize], entry).unended;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = entry;
        self.index.insert(slot, id_in(&self.slots));
        None
    }

    fn remove(&mut self, transaction: TransactionId) -> Option<Unended> {
        let slot = self.index.remove(transaction, id_in(&self.slots))?;
        self.free.push(slot);
        self.slots[slot as usize].unended.take()
    }

    /// All that are left, in the order of their ids.
    fn into_sorted(self) -> impl Iterator<Item = (TransactionId, Unended)> {
        let mut slots = self.slots;
        slots.retain(|slot| slot.unended.is_some());
        slots.sort_unstable_by_key(|slot| slot.transaction);
        slots
            .into_iter()
            .filter_map(|slot| Some((slot.transaction, slot.unended?)))
    }
}

fn id_in(slots: &[Slot]) -> impl Fn(u32) -> TransactionId {
    |slot| slots[slot as usize].transaction
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
        if self.contains(transaction) {
            return Err(format!("transaction {transaction} is registered twice"));
        }
        let word = Word::Registered;
        self.unended.put(transaction, Unended { word, lsn, list });
        Ok(())
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
            self.enter_unended(transaction, unended);
        }
    }

    /// The log is read: what has not ended is live.
    pub(crate) fn settle_all(&mut self) {
        for (transaction, unended) in std::mem::take(&mut self.unended).into_sorted() {
            self.enter_unended(transaction, unended);
        }
    }

    fn enter_unended(&mut self, transaction: TransactionId, unended: Unended) {
        let list = self.list(unended.list).clone();
        let decision = match unended.word {
            Word::Registered => DecisionRecord::Abort(AbortReason::Presumed),
            Word::Committed => DecisionRecord::Commit,
        };
        let entry = decided(unended.lsn, decision, list, None);
        self.table.insert(transaction, entry);
    }
}
