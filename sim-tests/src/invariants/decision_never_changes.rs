//! "A decision never changes", and "an inquiry answered 'abort' is never followed by commit": whoever hears of a
//! decision, by whatever way and however late, hears the same.
//!
//! What was left to a participant was decided by what it said: by its vote, or in answer to the question how it came out.
//!
//! A transaction in which nobody promised anything has no effects either way, and without a key no record: it may read as
//! committed to its client, and as aborted after a restart. In the same way a branch that had nothing to do may be told to
//! abort when an old line of a scan still shows it: it holds nothing that a commit could need.

use handfast_ids::BranchId;

use super::Invariant;
use crate::digest::{Set, Table};
use crate::oracle::Knowledge;
use crate::trace::{AckKind, Decision, Event, Message, Told, Transaction, VoteKind};

#[derive(Default)]
pub(super) struct DecisionNeverChanges {
    decided: Table<Transaction, Decision>,
    promised: Set<Transaction>,
    read_only: Set<(Transaction, BranchId)>,
    /// Branches whose participants were asked how they came out.
    asked: Set<(Transaction, BranchId)>,
}

impl DecisionNeverChanges {
    fn told_by(&mut self, message: &Message) -> Option<(Transaction, Decision)> {
        match *message {
            Message::Decision {
                transaction,
                branch,
                decision,
            } if !self.read_only.contains(&(transaction, branch)) => Some((transaction, decision)),
            Message::Vote {
                transaction,
                branch,
                vote,
            } => {
                match vote {
                    VoteKind::Committed => {
                        self.promised.insert(transaction);
                        return Some((transaction, Decision::Commit));
                    }
                    VoteKind::Prepared => drop(self.promised.insert(transaction)),
                    VoteKind::ReadOnly => drop(self.read_only.insert((transaction, branch))),
                    VoteKind::Refused => {}
                }
                None
            }
            Message::Resolve { transaction, branch } => {
                self.asked.insert((transaction, branch));
                None
            }
            Message::Ack {
                transaction,
                branch,
                decision,
                ack: AckKind::Done,
            } if self.asked.contains(&(transaction, branch)) => {
                if decision == Decision::Commit {
                    self.promised.insert(transaction);
                }
                Some((transaction, decision))
            }
            _ => None,
        }
    }
}

impl Invariant for DecisionNeverChanges {
    fn name(&self) -> &'static str {
        "a decision never changes"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let (transaction, told) = match event {
            Event::Message(_, _, message) => match self.told_by(message) {
                Some(told) => told,
                None => return Ok(()),
            },
            Event::Read(_, transaction, decision) => (*transaction, *decision),
            Event::Told(_, _, Told::Committed(transaction)) => (*transaction, Decision::Commit),
            Event::Told(_, _, Told::Aborted(Some(transaction), _)) => (*transaction, Decision::Abort),
            _ => return Ok(()),
        };
        let decided = *self.decided.entry(transaction).or_insert(told);
        if decided == told || !self.promised.contains(&transaction) {
            Ok(())
        } else {
            Err(format!("{transaction} was {decided:?} and is {told:?}"))
        }
    }
}
