//! What is still known of transactions that have ended, and where knowledge ends.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use handfast_ids::TransactionId;

use crate::hash::IdHash;
use crate::{Lsn, Outcome};

/// The outcomes of ended transactions, oldest end first, and the horizon below which they are forgotten.
///
/// An ended commit must not be taken for one that never happened. So whatever is dropped raises the horizon over its id,
/// and an unknown id at or below the horizon is answered "forgotten", never "abort". Nothing here needs a record of its
/// own: a restart rebuilds it from the log, and a checkpoint carries the horizon before segments go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct History {
    limit: usize,
    /// Each with the record that must be durable before it may be told.
    outcomes: HashMap<TransactionId, (Outcome, Lsn), IdHash>,
    by_end: VecDeque<TransactionId>,
    horizon: TransactionId,
}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.horizon.hash(state);
        for transaction in &self.by_end {
            (transaction, self.outcomes.get(transaction)).hash(state);
        }
    }
}

impl History {
    pub fn new(limit: usize) -> Self {
        History {
            limit,
            outcomes: HashMap::default(),
            by_end: VecDeque::new(),
            horizon: TransactionId::ZERO,
        }
    }

    pub fn outcome(&self, transaction: TransactionId) -> Option<(&Outcome, Lsn)> {
        self.outcomes
            .get(&transaction)
            .map(|(outcome, told_after)| (outcome, *told_after))
    }

    pub fn horizon(&self) -> TransactionId {
        self.horizon
    }

    pub fn raise_horizon(&mut self, to: TransactionId) {
        self.horizon = self.horizon.max(to);
    }

    pub fn insert(&mut self, transaction: TransactionId, outcome: Outcome, told_after: Lsn) {
        if self.outcomes.insert(transaction, (outcome, told_after)).is_none() {
            self.by_end.push_back(transaction);
        }
        while self.by_end.len() > self.limit {
            if let Some(oldest) = self.by_end.pop_front() {
                self.outcomes.remove(&oldest);
                self.raise_horizon(oldest);
            }
        }
    }

    /// Ended commits, oldest end first: what a checkpoint must carry.
    pub fn commits(&self) -> impl Iterator<Item = TransactionId> {
        self.by_end.iter().copied().filter(|id| {
            matches!(
                self.outcomes.get(id),
                Some((Outcome::Committed | Outcome::Heuristic { .. }, _))
            )
        })
    }
}

#[cfg(test)]
mod tests;
