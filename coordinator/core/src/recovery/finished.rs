//! What a replay keeps of the transactions that have ended, for the index of outcomes.

use handfast_ids::{IdempotencyKey, TransactionId};

use super::Recovery;
use crate::branch::Branch;
use crate::few::Few;
use crate::{BranchList, FinishedTransaction, Outcome};

/// An ended transaction, with its resources by their places. Nearly all are plain commits and soon pushed out by others,
/// so that one of those takes no memory of its own.
#[derive(Debug)]
pub(super) enum Finished {
    Commit {
        transaction: TransactionId,
        list: BranchList,
    },
    Other(Box<Other>),
}

#[derive(Debug)]
pub(super) struct Other {
    pub transaction: TransactionId,
    pub outcome: Outcome,
    pub key: Option<IdempotencyKey>,
    pub branches: Few<Branch>,
}

impl Recovery {
    /// What the index keeps of the newest that have ended, oldest end first. Aborts that left no record are not found again.
    pub fn take_finished(&mut self) -> Vec<FinishedTransaction> {
        let records = |branches: &Few<Branch>| {
            branches
                .iter()
                .map(|branch| self.resources.record(branch))
                .collect()
        };
        let all = self.finished.iter().map(|finished| match finished {
            Finished::Commit { transaction, list } => FinishedTransaction {
                transaction: *transaction,
                outcome: Outcome::Committed,
                key: None,
                branches: records(self.list(*list)),
            },
            Finished::Other(other) => FinishedTransaction {
                transaction: other.transaction,
                outcome: other.outcome.clone(),
                key: other.key.clone(),
                branches: records(&other.branches),
            },
        });
        let all = all.collect();
        self.finished.clear();
        all
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        if self.finished.len() >= self.limits.history {
            self.finished.pop_front();
        }
        self.finished.push_back(finished);
    }
}
