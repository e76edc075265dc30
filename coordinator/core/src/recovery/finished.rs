//! What a replay keeps of the transactions that have ended, for the index of outcomes.

use handfast_ids::{IdempotencyKey, TransactionId};

use super::Recovery;
use crate::branch::Branch;
use crate::few::Few;
use crate::{FinishedTransaction, Outcome};

/// An ended transaction, with its resources by their places.
#[derive(Debug)]
pub(super) struct Finished {
    pub transaction: TransactionId,
    pub outcome: Outcome,
    pub key: Option<IdempotencyKey>,
    pub branches: Few<Branch>,
}

impl Recovery {
    /// What the index keeps of the newest that have ended, oldest end first. Aborts that left no record are not found again.
    pub fn take_finished(&mut self) -> Vec<FinishedTransaction> {
        let finished = std::mem::take(&mut self.finished);
        finished
            .into_iter()
            .map(|finished| FinishedTransaction {
                transaction: finished.transaction,
                outcome: finished.outcome,
                key: finished.key,
                branches: finished
                    .branches
                    .iter()
                    .map(|branch| self.resources.record(branch))
                    .collect(),
            })
            .collect()
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        if self.finished.len() >= self.limits.history {
            self.finished.pop_front();
        }
        self.finished.push_back(finished);
    }
}
