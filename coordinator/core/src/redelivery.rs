//! What a returned resource is sent: the decisions that were open when it came, a bounded number at a time.
//!
//! ```text
//!  ids   ─────────────────────►│◄──────────────────►│
//!             sent: some of them under way     to be sent    newer: sent when they are decided
//!                            after                 until
//! ```
//!
//! A participant that comes back to a hundred thousand decisions would put new work behind all of them, if they were sent
//! at once. So the next step waits until half of a step is acknowledged, or due again.

use handfast_ids::TransactionId;

use crate::branch::BranchState;
use crate::coordinator::Coordinator;
use crate::resources::ResourceIndex;
use crate::{Decision, Effect, Limits, Message};

/// How far a returned resource is in what was open when it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Redelivery {
    /// What there was up to here has been sent.
    after: TransactionId,
    /// The last that may have been open.
    until: TransactionId,
    /// Messages that wait for an answer. A message whose time has come again counts no more.
    under_way: usize,
}

impl Redelivery {
    /// Whether the open decisions of a transaction are still to be sent.
    pub fn comes_to(&self, transaction: TransactionId) -> bool {
        self.after < transaction && transaction <= self.until
    }

    /// Whether the next step may be taken.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.under_way <= limits.redelivery_step / 2
    }

    /// A message about this transaction no longer waits for an answer.
    pub fn answered(&mut self, transaction: TransactionId) {
        if transaction <= self.after {
            self.under_way = self.under_way.saturating_sub(1);
        }
    }
}

impl Coordinator {
    /// A resource has come back: it is sent what is open, from the oldest transaction on.
    pub(crate) fn begin_redelivery(&mut self, index: ResourceIndex, effects: &mut Vec<Effect>) {
        let redelivery = Redelivery {
            after: TransactionId::ZERO,
            until: self.mint.last(),
            under_way: 0,
        };
        self.resources.get_mut(index).redelivery = Some(redelivery);
        self.redeliver_step(index, effects);
    }

    /// Sends a returned resource its open decisions, and asks it how it has decided what was left to it: of a bounded number of
    /// transactions, if there is room.
    pub(crate) fn redeliver_step(&mut self, index: ResourceIndex, effects: &mut Vec<Effect>) {
        let Some(mut redelivery) = self.resources.get(index).redelivery else {
            return;
        };
        if !redelivery.has_room(&self.limits) {
            return;
        }
        let mut looked_at = 0;
        let mut due = Vec::new();
        let mut asked = Vec::new();
        let ahead = self.table.after(Some(redelivery.after));
        for (transaction, entry) in ahead
            .take_while(|(transaction, _)| *transaction <= redelivery.until)
            .take(self.limits.redelivery_step)
        {
            looked_at += 1;
            redelivery.after = transaction;
            for branch in entry.branches.iter().filter(|branch| branch.resource == index) {
                if let BranchState::Delivering(decision) = branch.state {
                    let told_after = match decision {
                        Decision::Commit => entry.state.told_after(),
                        Decision::Abort => None,
                    };
                    due.push((transaction, branch.id, decision, told_after));
                } else if branch.state == BranchState::Asked {
                    asked.push((transaction, branch.id));
                }
            }
        }
        redelivery.under_way += due.len() + asked.len();
        let has_more = looked_at == self.limits.redelivery_step;
        self.resources.get_mut(index).redelivery = has_more.then_some(redelivery);
        for (transaction, branch) in asked {
            if let Some(session) = self.resources.get_mut(index).next_session() {
                let question = Message::Resolve { transaction, branch };
                self.send(session, question, None, effects);
            }
            self.answer_in_time(transaction);
        }
        for (transaction, branch, decision, told_after) in due {
            if let Some(session) = self.resources.get_mut(index).next_session() {
                self.send_decision(session, transaction, branch, decision, told_after, effects);
            }
            // One that gets no answer comes again soon, however long the resource was away: else it would hold up what follows.
            self.hasten(transaction);
        }
    }
}
