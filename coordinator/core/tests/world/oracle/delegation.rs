//! What was left to a participant: who decided, who knew of it before, and who may say that it did not happen.

use handfast_core::{BranchRecord, Call, Lsn, SessionId};
use handfast_ids::TransactionId;

use super::{BranchKey, Oracle};

impl Oracle {
    /// Whether it was left to a participant, which may have committed by itself.
    pub fn was_delegated(&self, transaction: TransactionId) -> bool {
        self.delegated.contains_key(&transaction)
    }

    /// Whether its participant has said that it committed by itself.
    pub(super) fn was_committed_alone(&self, transaction: TransactionId) -> bool {
        self.delegated.get(&transaction).is_some_and(|delegated| {
            let BranchRecord {
                branch,
                resource,
                store,
            } = delegated.branch.clone();
            self.applied.contains(&((transaction, branch), resource, store))
        })
    }

    pub(super) fn applied_at(&mut self, session: SessionId, key: BranchKey) {
        if let Some((resource, store)) = self.sessions.get(&session) {
            self.applied.insert((key, resource.clone(), *store));
        }
    }

    /// What somebody may ask about later must be known to the log before a participant may commit it.
    pub(super) fn check_delegated(&mut self, session: SessionId, transaction: TransactionId, durable: Lsn) {
        if !self.one_phase.contains(&session) {
            self.violation(format!(
                "{transaction} is left to {session:?}, which cannot decide"
            ));
        }
        let Some(delegated) = self.delegated.get(&transaction).cloned() else {
            return self.violation(format!("{transaction} is left to a participant without a record"));
        };
        let is_known = delegated.is_recorded && delegated.lsn <= durable;
        if !is_known && (delegated.key.is_some() || !transaction.is_unrecorded()) {
            self.violation(format!(
                "{transaction} is left to a participant before its record is durable"
            ));
        }
    }

    /// What was left to a participant aborts because it says so, or because it gave the decision back; nobody guesses.
    pub(super) fn check_abort_has_a_proof(&mut self, call: Call, transaction: TransactionId) {
        let Some(delegated) = self.delegated.get(&transaction) else {
            return;
        };
        let key = (transaction, delegated.branch.branch);
        if !self.not_applied.contains(&key) && !self.yes.contains_key(&key) {
            self.violation(format!(
                "{call:?} is told that {transaction} aborted, and its participant has not said so"
            ));
        }
    }
}
