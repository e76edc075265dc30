//! "A decision never changes", and "an inquiry answered 'abort' is never followed by commit": whoever hears of a
//! decision, by whatever way and however late, hears the same.
//!
//! A transaction in which nobody promised anything has no effects either way, and without a key no record: it may read as
//! committed to its client, and as aborted after a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::trace::{Decision, Event, Message, Told, Transaction, VoteKind};

#[derive(Default)]
pub(super) struct DecisionNeverChanges {
    decided: BTreeMap<Transaction, Decision>,
    promised: BTreeSet<Transaction>,
}

impl Invariant for DecisionNeverChanges {
    fn name(&self) -> &'static str {
        "a decision never changes"
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        let (transaction, told) = match event {
            Event::Message(
                _,
                _,
                Message::Decision {
                    transaction,
                    decision,
                    ..
                },
            ) => (*transaction, *decision),
            Event::Told(_, _, Told::Committed(transaction)) => (*transaction, Decision::Commit),
            Event::Told(_, _, Told::Aborted(Some(transaction), _)) => (*transaction, Decision::Abort),
            Event::Message(
                _,
                _,
                Message::Vote {
                    transaction,
                    vote: VoteKind::Prepared,
                    ..
                },
            ) => {
                self.promised.insert(*transaction);
                return Ok(());
            }
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
