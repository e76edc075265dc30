//! Places by transaction id: open addressing with linear probing, at most three quarters full.
//!
//! The ids stand in the places, so a cell takes 4 bytes; in a map of the standard library it would take 33. Whoever owns
//! the places says which id stands where.

use handfast_ids::TransactionId;

use crate::hash;

/// No place.
const EMPTY: u32 = u32::MAX;

/// The fewest cells.
const SMALLEST: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct IdIndex {
    cells: Vec<u32>,
    used: usize,
}

impl IdIndex {
    /// How many are entered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Where this id stands.
    pub fn find(&self, transaction: TransactionId, id_at: impl Fn(u32) -> TransactionId) -> Option<u32> {
        self.cell_of(transaction, id_at).map(|cell| self.cells[cell])
    }

    fn cell_of(&self, transaction: TransactionId, id_at: impl Fn(u32) -> TransactionId) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let mut cell = self.home(transaction);
        loop {
            match self.cells[cell] {
                EMPTY => return None,
                place if id_at(place) == transaction => return Some(cell),
                _ => cell = self.next(cell),
            }
        }
    }

    /// Enters the id that stands at this place, and is not entered yet.
    pub fn insert(&mut self, place: u32, id_at: impl Fn(u32) -> TransactionId) {
        self.reserve(1, &id_at);
        self.put(place, &id_at);
        self.used += 1;
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize, id_at: impl Fn(u32) -> TransactionId) {
        let wanted = (self.used + more) * 4;
        if wanted <= self.cells.len() * 3 {
            return;
        }
        let cells = wanted.div_ceil(3).next_power_of_two().max(SMALLEST);
        let old = std::mem::replace(&mut self.cells, vec![EMPTY; cells]);
        for place in old.into_iter().filter(|place| *place != EMPTY) {
            self.put(place, &id_at);
        }
    }

    fn put(&mut self, place: u32, id_at: &impl Fn(u32) -> TransactionId) {
        let mut cell = self.home(id_at(place));
        while self.cells[cell] != EMPTY {
            cell = self.next(cell);
        }
        self.cells[cell] = place;
    }

    /// Empties the cell of an id, and closes the gap: whoever probed past it moves back.
    pub fn remove(
        &mut self,
        transaction: TransactionId,
        id_at: impl Fn(u32) -> TransactionId,
    ) -> Option<u32> {
        let mut gap = self.cell_of(transaction, &id_at)?;
        let removed = self.cells[gap];
        let mut cell = self.next(gap);
        while self.cells[cell] != EMPTY {
            let home = self.home(id_at(self.cells[cell]));
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
