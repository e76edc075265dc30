//! The table of live transactions: one slot each, found by id in constant time and walked in the order of ids.
//!
//! ```text
//!   index: hash of id ──► slot            order: (id, slot), ascending; an entry whose slot holds
//!   slots: id, transaction, or free              another id by now is skipped, and swept away later
//! ```
//!
//! Ids are minted in ascending order, so `order` grows at its end. Slots lie in chunks that never move: a table that grows
//! copies nothing, and nobody waits for it. Two tables are equal if they hold the same transactions, however they came to
//! lie.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use handfast_ids::TransactionId;

use crate::chunks::Chunks;
use crate::id_index::IdIndex;
use crate::transaction::Transaction;

/// Entries of `order` that may be out of use before it is swept, beside as many as are in use.
const SLACK: usize = 1024;

type Slot = Option<(TransactionId, Transaction)>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    slots: Slots,
    free: Vec<u32>,
    index: IdIndex,
    order: VecDeque<InOrder>,
}

/// An id without the alignment of a number of 128 bits, which would cost twelve bytes more.
#[derive(Clone, Copy, Debug)]
struct InOrder {
    id: [u8; 16],
    slot: u32,
}

impl InOrder {
    fn new(transaction: TransactionId, slot: u32) -> Self {
        let id = transaction.as_u128().to_ne_bytes();
        InOrder { id, slot }
    }

    fn id(&self) -> u128 {
        u128::from_ne_bytes(self.id)
    }
}

impl Table {
    pub fn len(&self) -> usize {
        self.slots.0.len() - self.free.len()
    }

    pub fn get(&self, transaction: TransactionId) -> Option<&Transaction> {
        let slot = self.slot_of(transaction)?;
        self.slots.0.get(slot).as_ref().map(|(_, entry)| entry)
    }

    pub fn get_mut(&mut self, transaction: TransactionId) -> Option<&mut Transaction> {
        let slot = self.slot_of(transaction)?;
        self.slots.0.get_mut(slot).as_mut().map(|(_, entry)| entry)
    }

    pub fn contains(&self, transaction: TransactionId) -> bool {
        self.slot_of(transaction).is_some()
    }

    fn slot_of(&self, transaction: TransactionId) -> Option<u32> {
        self.index.find(transaction, |slot| self.slots.id_at(slot))
    }

    /// Enters a transaction, in place of one of the same id.
    pub fn insert(&mut self, transaction: TransactionId, entry: Transaction) {
        if let Some(known) = self.get_mut(transaction) {
            *known = entry;
            return;
        }
        let slot = self.place(transaction, entry);
        let id = transaction.as_u128();
        match self.order.back() {
            Some(last) if last.id() >= id => match self.order.binary_search_by_key(&id, InOrder::id) {
                Ok(at) => self.order[at].slot = slot,
                Err(at) => self.order.insert(at, InOrder::new(transaction, slot)),
            },
            _ => self.order.push_back(InOrder::new(transaction, slot)),
        }
    }

    /// Enters transactions that are not here yet, in whatever order they come.
    pub fn extend(&mut self, entries: impl Iterator<Item = (TransactionId, Transaction)>) {
        for (transaction, entry) in entries {
            let slot = self.place(transaction, entry);
            self.order.push_back(InOrder::new(transaction, slot));
        }
        self.order.make_contiguous().sort_unstable_by_key(InOrder::id);
    }

    /// Enters one into a slot, but not into `order`.
    fn place(&mut self, transaction: TransactionId, entry: Transaction) -> u32 {
        let used = Some((transaction, entry));
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.slots.0.get_mut(slot) = used;
                slot
            }
            None => self.slots.0.push(used),
        };
        let slots = &self.slots;
        self.index.insert(slot, |slot| slots.id_at(slot));
        slot
    }

    pub fn remove(&mut self, transaction: TransactionId) -> Option<Transaction> {
        let slots = &self.slots;
        let slot = self.index.remove(transaction, |slot| slots.id_at(slot))?;
        let (_, entry) = self.slots.0.get_mut(slot).take()?;
        self.free.push(slot);
        self.sweep();
        Some(entry)
    }

    /// The transactions with ids above `after`, in the order of their ids.
    pub fn after(&self, after: Option<TransactionId>) -> impl Iterator<Item = (TransactionId, &Transaction)> {
        let from = after.map_or(0, |after| {
            let after = after.as_u128();
            self.order.partition_point(|entry| entry.id() <= after)
        });
        self.order
            .range(from..)
            .filter_map(|entry| self.slots.holds(entry))
    }

    /// All transactions, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TransactionId, &Transaction)> {
        self.after(None)
    }

    pub fn values(&self) -> impl Iterator<Item = &Transaction> {
        let slots = self.slots.0.iter().flatten();
        slots.map(|(_, entry)| entry)
    }

    /// Takes out of `order` what has left the table: from its front at once, elsewhere once it is the larger part.
    fn sweep(&mut self) {
        while let Some(front) = self.order.front()
            && self.slots.holds(front).is_none()
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.len() + SLACK {
            let slots = &self.slots;
            self.order.retain(|entry| slots.holds(entry).is_some());
        }
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

/// The slots.
#[derive(Clone, Debug, Default)]
struct Slots(Chunks<Slot>);

impl Slots {
    fn id_at(&self, slot: u32) -> TransactionId {
        let (id, _) = self
            .0
            .get(slot)
            .as_ref()
            .expect("the index knows only slots in use");
        *id
    }

    fn holds(&self, entry: &InOrder) -> Option<(TransactionId, &Transaction)> {
        match self.0.get(entry.slot) {
            Some((id, held)) if id.as_u128() == entry.id() => Some((*id, held)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
