//! "Nothing is forgotten before all have acknowledged": a participant may let go of its marker only once every branch
//! that was told a decision has said that it is done.

use std::collections::BTreeSet;

use handfast_ids::BranchId;

use super::Invariant;
use crate::digest::{Set, Table};
use crate::oracle::Knowledge;
use crate::trace::{AckKind, Decision, Event, Message, Transaction, VoteKind};

#[derive(Default)]
pub(super) struct ForgottenAfterAllAcknowledged {
    /// Branches that promised and have not acknowledged.
    owed: Table<Transaction, BTreeSet<BranchId>>,
    committed: Set<Transaction>,
    acknowledged: Set<(Transaction, BranchId)>,
}

impl Invariant for ForgottenAfterAllAcknowledged {
    fn name(&self) -> &'static str {
        "nothing is forgotten before all have acknowledged"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let Event::Message(_, _, message) = event else {
            return Ok(());
        };
        match message {
            Message::Vote {
                transaction,
                branch,
                vote: VoteKind::Prepared,
            } if !self.acknowledged.contains(&(*transaction, *branch)) => {
                self.owed.entry(*transaction).or_default().insert(*branch);
            }
            Message::Decision {
                transaction,
                decision: Decision::Commit,
                ..
            } => {
                self.committed.insert(*transaction);
            }
            Message::Ack {
                transaction,
                branch,
                ack: AckKind::Done,
                ..
            } => {
                self.acknowledged.insert((*transaction, *branch));
                if let Some(owed) = self.owed.get_mut(transaction) {
                    owed.remove(branch);
                }
            }
            Message::Forget { transaction, .. } if self.committed.contains(transaction) => {
                if let Some(branch) = self.owed.get(transaction).and_then(|owed| owed.first()) {
                    return Err(format!(
                        "{transaction} is forgotten, and its branch {branch} has not acknowledged"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
