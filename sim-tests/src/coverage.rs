//! What a run has tried: faults, and edges (state × event) of a branch's life as it goes over the wire, and of transactions and
//! branches as the coordinator's core sees them ([`core`]).
//!
//! What is never hit is never tested, whatever the number of seeds. `sim-tests/edges.txt` lists what a run must hit.

pub mod core;
mod list;

use std::collections::BTreeMap;

use handfast_ids::BranchId;

pub use list::{name, required};

use crate::digest::{Set, Table};
use crate::intent::{Finish, Intent, Part, Style, Work};
use crate::plan::{Fault, Plan};
use crate::trace::{AckKind, Decision, Event, Message, Node, Told, Transaction, VoteKind};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($word:ident)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs)] // the words of the protocol
        pub enum $name { $($word),* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$word),*];

            /// By its name.
            pub fn named(name: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|word| format!("{word:?}") == name)
            }
        }
    };
}

words! {
    /// Who sees an edge.
    Layer: Wire Transaction Branch Coordinator
}

words! {
    /// Where a branch, a transaction or a coordinator stands.
    State: Unknown Enlisted Preparing Prepared ReadOnly Refused Committing Aborting Committed Aborted Deviated
        Active Heuristic Ended NoEffects Forgotten NotMine Hazard Contrary Delegated
        Serving Draining ShortOfSpace
}

words! {
    /// What happens to it.
    Trigger: Enlisted Prepare VotePrepared VoteReadOnly VoteRefused Commit Abort Done Hazard Contrary ScanPrepared
        ScanPreparing ScanMarker AnswerWait AnswerFinished AnswerForgotten AnswerNotMine Forget SessionOver
        SameKey Watch Enlist DoneCommit DoneAbort SessionUp Durable Tick VoteCommitted ScanCommitted Resolve
        Execute Begin CallGone Drain SpaceLow SpaceAmple
}

/// A state, and what happens in it.
pub type Edge = (Layer, State, Trigger);

/// How often each was hit.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Faults.
    pub faults: BTreeMap<Fault, u64>,
    /// Edges.
    pub edges: Table<Edge, u64>,
    /// How intents came out, in one word.
    pub outcomes: BTreeMap<String, u64>,
    branches: Table<(Transaction, BranchId), State>,
    /// Branches that are not finished, by participant.
    unfinished: Table<Node, Set<(Transaction, BranchId)>>,
}

impl Coverage {
    /// Something happened.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Injected(fault, _) => *self.faults.entry(*fault).or_default() += 1,
            Event::Message(node, _, message) => {
                if let Some((branch, trigger)) = trigger(message) {
                    self.hit(*node, branch, trigger);
                }
            }
            Event::Told(_, _, told) => {
                let word = match told {
                    Told::Committed(_) => "committed",
                    Told::Aborted(..) => "aborted",
                    Told::Unknown(_) => "unknown",
                    Told::Heuristic(_) => "heuristic",
                    Told::Rejected(_) => "rejected",
                };
                *self.outcomes.entry(word.to_owned()).or_default() += 1;
            }
            Event::SessionOver(node, _) => {
                for branch in self.unfinished.get(node).cloned().unwrap_or_default() {
                    let is_open = self
                        .branches
                        .get(&branch)
                        .is_some_and(|state| !is_finished(*state));
                    // Otherwise another instance has finished it.
                    if is_open {
                        self.hit(*node, branch, Trigger::SessionOver);
                    }
                }
            }
            _ => {}
        }
    }

    /// What stores and applications do by themselves counts by the intents that ask for it.
    pub fn take_intents(&mut self, plan: &Plan, intents: &[Intent]) {
        let mut hit = |fault, is_hit| *self.faults.entry(fault).or_default() += u64::from(is_hit);
        for intent in intents {
            let any = |is_so: fn(&Part) -> bool| intent.parts.iter().any(is_so);
            hit(Fault::VotesNo, any(|part| part.work == Work::Refuse));
            hit(Fault::ReadsOnly, any(|part| part.work == Work::Read));
            hit(Fault::SlowPrepare, any(|part| part.slow_ms > 0));
            hit(
                Fault::LateWork,
                plan.has(Fault::LateWork) && any(|part| part.slow_ms > 0),
            );
            hit(Fault::PromiseExpires, any(|part| part.promise_ms > 0));
            hit(
                Fault::Miscounts,
                intent.style == Style::Interactive(Finish::Miscount),
            );
            hit(
                Fault::CommitAndAbort,
                intent.style == Style::Interactive(Finish::CommitAndAbort),
            );
            hit(
                Fault::SameKeyAtOnce,
                matches!(intent.style, Style::Keyed { at_once: 2.., .. }),
            );
            hit(Fault::KeyExpired, intent.is_expired());
            hit(
                Fault::KeyReused,
                intent
                    .key()
                    .is_some_and(|key| key != Intent::key_of(intent.number)),
            );
        }
        self.faults.retain(|_, count| *count > 0);
    }

    /// Adds what another run has tried.
    pub fn add(&mut self, other: &Coverage) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        for (edge, count) in &other.edges {
            *self.edges.entry(*edge).or_default() += count;
        }
    }

    /// The core has taken an edge.
    pub fn take_edge(&mut self, edge: Edge) {
        *self.edges.entry(edge).or_default() += 1;
    }

    fn hit(&mut self, node: Node, branch: (Transaction, BranchId), trigger: Trigger) {
        let state = self.branches.entry(branch).or_insert(State::Unknown);
        *self.edges.entry((Layer::Wire, *state, trigger)).or_default() += 1;
        *state = next(*state, trigger);
        let unfinished = self.unfinished.entry(node).or_default();
        if is_finished(*state) {
            unfinished.remove(&branch);
        } else {
            unfinished.insert(branch);
        }
    }
}

fn is_finished(state: State) -> bool {
    use State as S;
    matches!(
        state,
        S::Unknown | S::ReadOnly | S::Refused | S::Committed | S::Aborted | S::Deviated
    )
}

fn trigger(message: &Message) -> Option<((Transaction, BranchId), Trigger)> {
    Some(match *message {
        Message::Enlisted {
            transaction,
            branch,
            is_refused: false,
        } => ((transaction, branch), Trigger::Enlisted),
        Message::Prepare {
            transaction, branch, ..
        } => ((transaction, branch), Trigger::Prepare),
        Message::Vote {
            transaction,
            branch,
            vote,
        } => {
            let trigger = match vote {
                VoteKind::Prepared => Trigger::VotePrepared,
                VoteKind::ReadOnly => Trigger::VoteReadOnly,
                VoteKind::Committed => Trigger::VoteCommitted,
                VoteKind::Refused => Trigger::VoteRefused,
            };
            ((transaction, branch), trigger)
        }
        Message::Decision {
            transaction,
            branch,
            decision,
        } => {
            let trigger = match decision {
                Decision::Commit => Trigger::Commit,
                Decision::Abort => Trigger::Abort,
            };
            ((transaction, branch), trigger)
        }
        Message::Resolve { transaction, branch } => ((transaction, branch), Trigger::Resolve),
        Message::Ack {
            transaction,
            branch,
            ack,
            ..
        } => {
            let trigger = match ack {
                AckKind::Done => Trigger::Done,
                AckKind::Hazard => Trigger::Hazard,
                AckKind::Contrary => Trigger::Contrary,
            };
            ((transaction, branch), trigger)
        }
        Message::InDoubt {
            transaction,
            branch,
            phase,
        } => {
            let trigger = match phase {
                1 => Trigger::ScanPrepared,
                2 => Trigger::ScanPreparing,
                4 => Trigger::ScanCommitted,
                _ => Trigger::ScanMarker,
            };
            ((transaction, branch), trigger)
        }
        Message::Answer {
            transaction,
            branch,
            answer,
        } => {
            let trigger = match answer {
                1 => Trigger::AnswerWait,
                2 => Trigger::AnswerFinished,
                3 => Trigger::AnswerForgotten,
                _ => Trigger::AnswerNotMine,
            };
            ((transaction, branch), trigger)
        }
        Message::Forget { transaction, branch } => ((transaction, branch), Trigger::Forget),
        _ => return None,
    })
}

fn next(state: State, trigger: Trigger) -> State {
    use {State as S, Trigger as T};
    match (state, trigger) {
        (S::Unknown, T::Enlisted) => S::Enlisted,
        (S::Unknown | S::Enlisted, T::Prepare) => S::Preparing,
        (S::Preparing, T::VotePrepared | T::ScanPrepared) => S::Prepared,
        (S::Preparing, T::VoteReadOnly) => S::ReadOnly,
        (S::Preparing, T::VoteRefused) => S::Refused,
        (S::Preparing | S::Delegated, T::VoteCommitted | T::ScanCommitted) => S::Committed,
        (S::Preparing, T::Resolve) => S::Delegated,
        // How it came out is in the acknowledgement; here it only counts that it did.
        (S::Delegated, T::Done) => S::Committed,
        (S::Committed | S::Aborted | S::Deviated, _) => state,
        (_, T::Commit) => S::Committing,
        (_, T::Abort) => S::Aborting,
        (S::Committing, T::Done) => S::Committed,
        (S::Aborting, T::Done) => S::Aborted,
        (_, T::Hazard | T::Contrary) => S::Deviated,
        _ => state,
    }
}
