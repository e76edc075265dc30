//! What a returned resource is sent: the decisions that were open when it came, a bounded number at a time.
//!
//! ```text
//!  ids   ─────────────────────►│◄──────────────────►│
//!             sent: some of them under way     to be sent    newer: sent when they are decided
//!                            after                 until
//! ```
//!
//! A participant that comes back to a hundred thousand decisions would put new work behind all of them, if they were sent
//! at once. So the next step waits until half of a step is acknowledged, or until nothing of it was for a while: what hangs
//! holds up the rest no longer than that.
//!
//! A participant that comes and goes goes on where it was. What it was sent in vain has a timer, and its next scan shows it.

use handfast_ids::TransactionId;

use crate::branch::BranchState;
use crate::coordinator::Coordinator;
use crate::resources::ResourceIndex;
use crate::{Decision, Effect, Limits, Message, Moment};

/// How far a returned resource is in what was open when it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Redelivery {
    /// What there was up to here has been sent.
    after: TransactionId,
    /// The last that may have been open.
    until: TransactionId,
    /// Messages of this walk that wait for an answer.
    under_way: usize,
    /// When one of them was sent or answered last.
    moved: Moment,
}

impl Redelivery {
    /// Whether the open decisions of a transaction are still to be sent.
    pub fn comes_to(&self, transaction: TransactionId) -> bool {
        self.after < transaction && transaction <= self.until
    }

    /// When the next step may be taken, unless there are answers before.
    pub fn next_step(&self, limits: &Limits) -> Moment {
        match self.under_way <= limits.redelivery_step / 2 {
            true => self.moved,
            false => Moment(self.moved.0 + limits.redelivery_min_ms),
        }
    }

    /// A branch of this transaction has answered.
    pub fn answered(&mut self, transaction: TransactionId, now: Moment) {
        if transaction <= self.after {
            self.under_way = self.under_way.saturating_sub(1);
            self.moved = now;
        }
    }
}

impl Coordinator {
    /// A resource has come back: it is sent what is open, from the oldest transaction on, or from where it was.
    pub(crate) fn begin_redelivery(&mut self, index: ResourceIndex, effects: &mut Vec<Effect>) {
        let (now, until) = (self.now, self.mint.last());
        let resource = self.resources.get_mut(index);
        let is_first = resource.sessions().len() == 1;
        let redelivery = resource.redelivery.get_or_insert(Redelivery {
            after: TransactionId::ZERO,
            until,
            under_way: 0,
            moved: now,
        });
        redelivery.until = until;
        if is_first {
            redelivery.under_way = 0;
        }
        self.redeliver_step(index, effects);
    }

    /// Sends a returned resource its open decisions, and asks it how it has decided what was left to it: of a bounded number of
    /// transactions, if it is time.
    pub(crate) fn redeliver_step(&mut self, index: ResourceIndex, effects: &mut Vec<Effect>) {
        let resource = self.resources.get(index);
        let is_time = resource
            .next_redelivery(&self.limits)
            .is_some_and(|at| at <= self.now);
        let Some(mut redelivery) = resource.redelivery.filter(|_| is_time) else {
            return;
        };
        let mut has_more = false;
        let mut due = Vec::new();
        let mut asked = Vec::new();
        let ahead = self.table.after(Some(redelivery.after));
        for (looked_at, (transaction, entry)) in ahead.enumerate() {
            if transaction > redelivery.until {
                break;
            }
            if looked_at.max(due.len() + asked.len()) >= self.limits.redelivery_step {
                has_more = true;
                break;
            }
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
        // What got no answer for so long that this step is taken all the same is waited for no longer.
        let still_awaited = match redelivery.under_way <= self.limits.redelivery_step / 2 {
            true => redelivery.under_way,
            false => 0,
        };
        redelivery.under_way = still_awaited + due.len() + asked.len();
        redelivery.moved = self.now;
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
            if self
                .table
                .get(transaction)
                .is_some_and(|entry| entry.timer.is_none())
            {
                let at = Moment(self.now.0 + self.limits.redelivery_min_ms);
                self.set_timer(transaction, Some(at));
            }
        }
    }
}
