//! Which promises hold for a while only, and which of them may be over: the only loss that a store may report by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_ids::BranchId;

use crate::intent::Intent;
use crate::plan::Plan;
use crate::trace::{Event, Message, Node, Transaction};

/// Branches are numbered in the order of an intent's parts; a transaction in which they are not does not commit, because its
/// counts do not match.
#[derive(Clone, Debug)]
pub(super) struct Promises {
    /// By intent and part: whose promise it is, and for how long it holds.
    lasting: BTreeMap<(u32, u32), (u8, Duration)>,
    /// Which participant a node speaks for.
    participants: BTreeMap<Node, u8>,
    /// Which intent a transaction stands for, as far as a promise of it may expire.
    intents: BTreeMap<Transaction, u32>,
    /// When a branch was first asked to prepare: no promise of it is older.
    asked: BTreeMap<(Transaction, BranchId), Duration>,
}

impl Promises {
    /// Before anything has happened.
    pub fn new(plan: &Plan, intents: &[Intent]) -> Promises {
        let mut lasting = BTreeMap::new();
        for intent in intents {
            for (number, part) in (0..).zip(&intent.parts).filter(|(_, part)| part.promise_ms > 0) {
                let holds_for = Duration::from_millis(part.promise_ms.into());
                lasting.insert((intent.number, number), (part.participant, holds_for));
            }
        }
        let nodes = 0..plan.participant_nodes();
        Promises {
            lasting,
            participants: nodes
                .map(|node| (Node::Participant(node), plan.participant_of(node)))
                .collect(),
            intents: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Something happened.
    pub fn take(&mut self, at: Duration, event: &Event) {
        if self.lasting.is_empty() {
            return;
        }
        if let Some((transaction, intent)) = event.names()
            && self
                .lasting
                .range((intent, 0)..=(intent, u32::MAX))
                .next()
                .is_some()
        {
            self.intents.insert(transaction, intent);
        }
        if let Event::Message(
            _,
            _,
            Message::Prepare {
                transaction, branch, ..
            },
        ) = event
            && self.intents.contains_key(transaction)
        {
            self.asked.entry((*transaction, *branch)).or_insert(at);
        }
    }

    /// Whether the promise of this branch at this node may be over: it was made for a while, and that while has passed since
    /// the branch was first asked to prepare.
    pub fn may_be_over(&self, at: Duration, node: Node, transaction: Transaction, branch: BranchId) -> bool {
        let lasting = self
            .intents
            .get(&transaction)
            .and_then(|intent| self.lasting.get(&(*intent, branch.0)));
        let Some((participant, holds_for)) = lasting else {
            return false;
        };
        let asked = self.asked.get(&(transaction, branch));
        self.participants.get(&node) == Some(participant)
            && asked.is_some_and(|asked| *asked + *holds_for <= at)
    }
}

#[cfg(test)]
mod tests;
