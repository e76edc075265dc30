//! The rules themselves: each case breaks one by hand, and the rule must notice.

use handfast_core::{DecisionRecord, Outcome, Record};
use handfast_ids::{BranchId, Epoch, Partition, TransactionId};

use super::*;
use crate::model::world::WORLDS;

fn id() -> TransactionId {
    TransactionId::new(9, Partition(0), Epoch(1), 0)
}

fn broken(world: &World, break_it: impl FnOnce(&mut State)) -> Option<Rule> {
    let mut state = State::first(world);
    state.memory.transactions.insert(id());
    assert_eq!(state.memory.breach, None, "a world begins in order");
    break_it(&mut state);
    state.memory.breach.map(|breach| breach.rule)
}

#[test]
fn a_commit_without_votes_is_noticed() {
    let record = Record::Decided {
        transaction: id(),
        decision: DecisionRecord::Commit,
        branches: Vec::new(),
        key: None,
    };
    let rule = broken(&WORLDS[0], |state| state.check_append(&WORLDS[0], &record));
    assert_eq!(rule, Some(Rule::AllVoted));
}

#[test]
fn a_commit_that_nobody_decided_is_noticed() {
    let rule = broken(&WORLDS[0], |state| {
        state.check_decision((id(), BranchId(0)), true)
    });
    assert_eq!(rule, Some(Rule::Stable));
}

#[test]
fn an_outcome_that_the_log_does_not_hold_is_noticed() {
    let rule = broken(&WORLDS[0], |state| {
        state.memory.prepared.insert((id(), BranchId(0)));
        state.check_outcome_is_durable(id(), &Outcome::Committed, "a client");
    });
    assert_eq!(rule, Some(Rule::Durable));
}

#[test]
fn two_halves_are_noticed() {
    let rule = broken(&WORLDS[0], |state| {
        state.came_out(Fate::Committed((id(), BranchId(0))));
        state.came_out(Fate::RolledBack((id(), BranchId(1))));
        state.check_state();
    });
    assert_eq!(rule, Some(Rule::Atomic));
}

#[test]
fn an_effect_that_happens_twice_is_noticed() {
    let rule = broken(&WORLDS[0], |state| {
        state.came_out(Fate::Committed((id(), BranchId(0))));
        state.came_out(Fate::Committed((id(), BranchId(0))));
    });
    assert_eq!(rule, Some(Rule::Once));
}

#[test]
fn a_second_answer_under_one_key_is_noticed() {
    let other = TransactionId::new(9, Partition(0), Epoch(2), 0);
    let rule = broken(&WORLDS[0], |state| {
        state
            .memory
            .answers
            .extend([(id(), Told::Committed), (other, Told::Committed)]);
        state.check_state();
    });
    assert_eq!(rule, Some(Rule::OneKey));
}
