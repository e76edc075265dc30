//! The index in memory: all of it under simulation, and what the index on disk answers from.

use std::collections::BTreeMap;
use std::ops::Bound;

use handfast_core::{FinishedTransaction, Lsn};
use handfast_ids::{IdempotencyKey, TransactionId};

use super::Index;

/// Ended transactions by id and by key, the newest `capacity` of them.
#[derive(Debug)]
pub struct MemoryIndex {
    capacity: usize,
    by_id: BTreeMap<TransactionId, FinishedTransaction>,
    by_key: BTreeMap<IdempotencyKey, TransactionId>,
}

impl MemoryIndex {
    /// Remembers at most `capacity` transactions.
    pub fn new(capacity: usize) -> Self {
        MemoryIndex {
            capacity,
            by_id: BTreeMap::new(),
            by_key: BTreeMap::new(),
        }
    }

    /// Drops the oldest beyond the capacity, and gives it away.
    pub(super) fn evict(&mut self) -> Option<FinishedTransaction> {
        if self.by_id.len() <= self.capacity {
            return None;
        }
        let (transaction, finished) = self.by_id.pop_first()?;
        if let Some(key) = &finished.key
            && self.by_key.get(key) == Some(&transaction)
        {
            self.by_key.remove(key);
        }
        Some(finished)
    }

    /// What there is to remember now. A checkpoint carries the outcome under a key and not the branches: the branches that are
    /// remembered of the same end stay.
    pub(super) fn completed(&self, mut finished: FinishedTransaction) -> FinishedTransaction {
        if finished.branches.is_empty()
            && let Some(known) = self.by_id.get(&finished.transaction)
            && known.outcome == finished.outcome
        {
            finished.branches.clone_from(&known.branches);
        }
        finished
    }

    /// Enters without dropping the oldest.
    pub(super) fn enter(&mut self, finished: FinishedTransaction) {
        if let Some(key) = &finished.key {
            self.by_key.insert(key.clone(), finished.transaction);
        }
        self.by_id.insert(finished.transaction, finished);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Index for MemoryIndex {
    fn insert(&mut self, finished: FinishedTransaction) {
        self.enter(self.completed(finished));
        while self.evict().is_some() {}
    }

    fn forget_keys(&mut self, keys: &[IdempotencyKey]) {
        for key in keys {
            self.by_key.remove(key);
        }
    }

    fn flush(&mut self, _applied: Lsn) {}

    fn get(&self, transaction: TransactionId) -> Option<&FinishedTransaction> {
        self.by_id.get(&transaction)
    }

    fn by_key(&self, key: &IdempotencyKey) -> Option<TransactionId> {
        self.by_key.get(key).copied()
    }

    fn page(&self, after: Option<TransactionId>, limit: usize) -> Vec<&FinishedTransaction> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, finished)| finished)
            .collect()
    }
}
