//! "Absence after Abort is success once fenced" (section 5): whoever has acknowledged an abort keeps late work for that branch
//! out, until it is told to forget.
//!
//! Judged of journals, which do one thing after the other. A database's instances speak over streams of their own, so that a
//! vote that one of them had on its lips may come behind what the other one acknowledges.

use handfast_ids::BranchId;

use super::Invariant;
use crate::digest::Set;
use crate::oracle::Knowledge;
use crate::plan::Plan;
use crate::trace::{AckKind, Decision, Event, Message, Node, Transaction, VoteKind};

pub(super) struct FencesHold {
    ledgers: u8,
    fenced: Set<(u8, Transaction, BranchId)>,
    /// By session, because the network may repeat a vote.
    voted: Set<(u32, Transaction, BranchId)>,
}

impl FencesHold {
    pub fn new(plan: &Plan) -> Self {
        FencesHold {
            // A service in the ledgers' place may be a database.
            ledgers: if plan.own.is_some() { 0 } else { plan.ledgers },
            fenced: Set::default(),
            voted: Set::default(),
        }
    }
}

impl Invariant for FencesHold {
    fn name(&self) -> &'static str {
        "fences hold"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let Event::Message(Node::Participant(node), session, message) = event else {
            return Ok(());
        };
        if *node >= self.ledgers {
            return Ok(());
        }
        match *message {
            Message::Ack {
                transaction,
                branch,
                decision: Decision::Abort,
                ack: AckKind::Done,
            } => {
                self.fenced.insert((*node, transaction, branch));
            }
            Message::Forget { transaction, branch } => {
                self.fenced.remove(&(*node, transaction, branch));
            }
            Message::Vote {
                transaction,
                branch,
                vote: VoteKind::Prepared,
            } => {
                let is_first = self.voted.insert((*session, transaction, branch));
                if is_first && self.fenced.contains(&(*node, transaction, branch)) {
                    return Err(format!(
                        "p{node} promises branch {branch} of {transaction}, which it has aborted"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
