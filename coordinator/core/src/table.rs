//! The table of live transactions: one slot each, found by id in constant time and walked in the order of ids.
//!
//! ```text
//!   index: hash of id ──► slot            order: (id, slot), ascending; an entry whose slot holds
//!   slots: id, transaction, or free              another id by now is skipped, and swept away later
//! ```
//!
//! Ids are minted in ascending order, so `order` grows at its end. Two tables are equal if they hold the same
//! transactions, however they came to lie.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use handfast_ids::TransactionId;

use crate::hash;
use crate::transaction::Transaction;

/// Entries of `order` that may be out of use before it is swept, beside as many as are in use.
const SLACK: usize = 1024;

/// No slot.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<(TransactionId, Transaction)>>,
    free: Vec<u32>,
    index: Index,
    order: VecDeque<(TransactionId, u32)>,
}

impl Table {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn get(&self, transaction: TransactionId) -> Option<&Transaction> {
        let slot = self.index.find(transaction, &self.slots)?;
        self.slots[slot as usize].as_ref().map(|(_, entry)| entry)
    }

    pub fn get_mut(&mut self, transaction: TransactionId) -> Option<&mut Transaction> {
        let slot = self.index.find(transaction, &self.slots)?;
        self.slots[slot as usize].as_mut().map(|(_, entry)| entry)
    }

    pub fn contains(&self, transaction: TransactionId) -> bool {
        self.index.find(transaction, &self.slots).is_some()
    }

    /// Enters a transaction, in place of one of the same id.
    pub fn insert(&mut self, transaction: TransactionId, entry: Transaction) {
        if let Some(known) = self.get_mut(transaction) {
            *known = entry;
            return;
        }
        let entry = Some((transaction, entry));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                u32::try_from(self.slots.len() - 1).expect("the table is limited to far fewer")
            }
        };
        self.index.insert(slot, &self.slots);
        match self.order.back() {
            Some((last, _)) if *last >= transaction => {
                match self.order.binary_search_by_key(&transaction, |(id, _)| *id) {
                    Ok(at) => self.order[at].1 = slot,
                    Err(at) => self.order.insert(at, (transaction, slot)),
                }
            }
            _ => self.order.push_back((transaction, slot)),
        }
    }

    pub fn remove(&mut self, transaction: TransactionId) -> Option<Transaction> {
        let slot = self.index.remove(transaction, &self.slots)?;
        let (_, entry) = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.sweep();
        Some(entry)
    }

    /// The transactions with ids above `after`, in the order of their ids.
    pub fn after(&self, after: Option<TransactionId>) -> impl Iterator<Item = (TransactionId, &Transaction)> {
        let from = after.map_or(0, |after| self.order.partition_point(|(id, _)| *id <= after));
        self.order
            .range(from..)
            .filter_map(|&(id, slot)| self.at(id, slot))
    }

    /// All transactions, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TransactionId, &Transaction)> {
        self.after(None)
    }

    pub fn values(&self) -> impl Iterator<Item = &Transaction> {
        self.slots.iter().flatten().map(|(_, entry)| entry)
    }

    fn at(&self, transaction: TransactionId, slot: u32) -> Option<(TransactionId, &Transaction)> {
        match &self.slots[slot as usize] {
            Some((id, entry)) if *id == transaction => Some((transaction, entry)),
            _ => None,
        }
    }

    /// Takes out of `order` what has left the table: from its front at once, elsewhere once it is the larger part.
    fn sweep(&mut self) {
        while let Some(&(id, slot)) = self.order.front()
            && self.at(id, slot).is_none()
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.len() + SLACK {
            let slots = &self.slots;
            self.order
                .retain(|(id, slot)| matches!(&slots[*slot as usize], Some((held, _)) if held == id));
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

type Slots = [Option<(TransactionId, Transaction)>];

/// Slots by the hashes of their ids: open addressing with linear probing, at most three quarters full. The ids stand in the
/// slots, so a cell takes 4 bytes; in a map of the standard library it would take 33.
#[derive(Clone, Debug, Default)]
struct Index {
    cells: Vec<u32>,
    used: usize,
}

impl Index {
    fn find(&self, transaction: TransactionId, slots: &Slots) -> Option<u32> {
        self.cell_of(transaction, slots).map(|cell| self.cells[cell])
    }

    fn cell_of(&self, transaction: TransactionId, slots: &Slots) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let mut cell = self.home(transaction);
        loop {
            match self.cells[cell] {
                EMPTY => return None,
                slot if id_at(slot, slots) == transaction => return Some(cell),
                _ => cell = self.next(cell),
            }
        }
    }

    fn insert(&mut self, slot: u32, slots: &Slots) {
        if (self.used + 1) * 4 > self.cells.len() * 3 {
            let grown = vec![EMPTY; (self.cells.len() * 2).max(16)];
            let old = std::mem::replace(&mut self.cells, grown);
            for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
                self.put(slot, slots);
            }
        }
        self.put(slot, slots);
        self.used += 1;
    }

    fn put(&mut self, slot: u32, slots: &Slots) {
        let mut cell = self.home(id_at(slot, slots));
        while self.cells[cell] != EMPTY {
            cell = self.next(cell);
        }
        self.cells[cell] = slot;
    }

    /// Empties the cell of an id, and closes the gap: whoever probed past it moves back.
    fn remove(&mut self, transaction: TransactionId, slots: &Slots) -> Option<u32> {
        let mut gap = self.cell_of(transaction, slots)?;
        let removed = self.cells[gap];
        let mut cell = self.next(gap);
        while self.cells[cell] != EMPTY {
            let home = self.home(id_at(self.cells[cell], slots));
            let mask = self.cells.len() - 1;
            if cell.wrapping_sub(home) & mask >= cell.wrapping_sub(gap) & mask {
                self.cells[gap] = self.cells[cell];
                gap = cell;
            }
            cell = self.next(cell);
        }
        self.cells[gap] = EMPTY;
        self.used -= 1;
        Some(removed)
    }

    fn home(&self, transaction: TransactionId) -> usize {
        hash::of(transaction) as usize & (self.cells.len() - 1)
    }

    fn next(&self, cell: usize) -> usize {
        (cell + 1) & (self.cells.len() - 1)
    }
}

fn id_at(slot: u32, slots: &Slots) -> TransactionId {
    let (id, _) = slots[slot as usize]
        .as_ref()
        .expect("the index knows only slots in use");
    *id
}

#[cfg(test)]
mod tests;
