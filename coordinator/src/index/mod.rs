//! The index: what is remembered of ended transactions, by id and by key. Never the truth: it is built again from the
//! log whenever it is missing, damaged, of another log, or ahead of the log.
//!
//! It is bounded by `limits.history`; beyond it the oldest go. What must never live here: anything that a decision
//! depends on.

mod memory;
mod sled;

pub use memory::MemoryIndex;
pub use sled::SledIndex;

use handfast_core::{FinishedTransaction, Lsn};
use handfast_ids::{IdempotencyKey, TransactionId};

/// What is remembered of ended transactions. Calls never wait for a disk.
pub trait Index: Send + 'static {
    /// Remembers an ended transaction; the same id again replaces it, except that an end without branches takes none away from
    /// the same outcome.
    fn insert(&mut self, finished: FinishedTransaction);

    /// Keys have expired: they find nothing from now on.
    fn forget_keys(&mut self, keys: &[IdempotencyKey]);

    /// Called from time to time: what was inserted so far follows from the log through `applied`, which is durable.
    fn flush(&mut self, applied: Lsn);

    /// What is remembered of a transaction.
    fn get(&self, transaction: TransactionId) -> Option<&FinishedTransaction>;

    /// The transaction that ended under a key.
    fn by_key(&self, key: &IdempotencyKey) -> Option<TransactionId>;

    /// Up to `limit` transactions with ids above `after`, in order.
    fn page(&self, after: Option<TransactionId>, limit: usize) -> Vec<&FinishedTransaction>;
}

#[cfg(test)]
mod tests;
