use super::{BranchEvent, BranchState, Stay, Step, VoteEvent};
use crate::{Decision, DeviationKind, EnlistmentId, Moment, SessionId};

const MINE: SessionId = SessionId(1);
const OTHER: SessionId = SessionId(2);
const SENT: Moment = Moment(10);
const ENLISTED: BranchState = BranchState::Enlisted {
    session: MINE,
    enlistment: EnlistmentId(7),
};
const PREPARING: BranchState = BranchState::Preparing {
    session: MINE,
    sent: SENT,
};
const DELEGATED: BranchState = BranchState::Delegated {
    session: MINE,
    sent: SENT,
};
const ASKED: BranchState = BranchState::Asked;
const PREPARED: BranchState = BranchState::Prepared { expires: None };
const EXPIRING: BranchState = BranchState::Prepared {
    expires: Some(Moment(15)),
};
const COMMITTING: BranchState = BranchState::Delivering(Decision::Commit);
const ABORTING: BranchState = BranchState::Delivering(Decision::Abort);
const COMMITTED: BranchState = BranchState::Finished(Decision::Commit);
const ABORTED: BranchState = BranchState::Finished(Decision::Abort);
const HAZARD: BranchState = BranchState::Deviated(DeviationKind::Hazard);
const MIXED: BranchState = BranchState::Deviated(DeviationKind::Mixed);

fn events() -> Vec<(&'static str, BranchEvent)> {
    let vote = |session, vote| BranchEvent::Vote { session, vote };
    let promise = VoteEvent::Prepared {
        prepared_for_ms: None,
    };
    let expiring = VoteEvent::Prepared {
        prepared_for_ms: Some(5),
    };
    vec![
        ("prepare", BranchEvent::Prepare { sent: SENT }),
        ("delegate", BranchEvent::Delegate { sent: SENT }),
        ("doubt", BranchEvent::Doubt),
        ("yes", vote(MINE, promise)),
        ("yes for a time", vote(MINE, expiring)),
        ("read-only", vote(MINE, VoteEvent::ReadOnly)),
        ("no", vote(MINE, VoteEvent::Refused)),
        ("yes of another", vote(OTHER, promise)),
        ("read-only of another", vote(OTHER, VoteEvent::ReadOnly)),
        ("no of another", vote(OTHER, VoteEvent::Refused)),
        ("decide commit", BranchEvent::Decide(Decision::Commit)),
        ("decide abort", BranchEvent::Decide(Decision::Abort)),
        ("ack commit", BranchEvent::Ack(Decision::Commit)),
        ("ack abort", BranchEvent::Ack(Decision::Abort)),
        (
            "hazard of commit",
            BranchEvent::Deviate(Decision::Commit, DeviationKind::Hazard),
        ),
        (
            "hazard of abort",
            BranchEvent::Deviate(Decision::Abort, DeviationKind::Hazard),
        ),
        (
            "mixed for commit",
            BranchEvent::Deviate(Decision::Commit, DeviationKind::Mixed),
        ),
        (
            "mixed for abort",
            BranchEvent::Deviate(Decision::Abort, DeviationKind::Mixed),
        ),
    ]
}

/// The whole table: every state, and what each of the events above does to it, in their order. `None` cannot happen.
fn table() -> Vec<(BranchState, [Option<Step>; 18])> {
    use BranchState::{ReadOnly, Refused};
    let to = |state| Some(Step::To(state));
    let duplicate = Some(Step::Stay(Stay::Duplicate));
    let late = Some(Step::Stay(Stay::Late));
    let unasked = Some(Step::Stay(Stay::Unasked));
    let contradiction = Some(Step::Stay(Stay::Contradiction));
    let voted = |commit, abort| {
        [
            late, late, late, duplicate, duplicate, duplicate, duplicate, duplicate, duplicate, duplicate,
            commit, abort, unasked, unasked, unasked, unasked, unasked, unasked,
        ]
    };
    let out = [
        late, late, late, duplicate, duplicate, duplicate, duplicate, duplicate, duplicate, duplicate, late,
        late, late, late, late, late, late, late,
    ];
    let done = [
        late, late, late, late, late, late, late, late, late, late, late, late, duplicate, duplicate,
        duplicate, duplicate, duplicate, duplicate,
    ];
    vec![
        (
            ENLISTED,
            [
                to(PREPARING),
                to(DELEGATED),
                late,
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
                None,
                to(ABORTING),
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
            ],
        ),
        (
            PREPARING,
            [
                late,
                late,
                late,
                to(PREPARED),
                to(EXPIRING),
                to(ReadOnly),
                to(Refused),
                unasked,
                unasked,
                unasked,
                None,
                to(ABORTING),
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
            ],
        ),
        (
            DELEGATED,
            [
                late,
                late,
                to(ASKED),
                to(PREPARED),
                to(EXPIRING),
                to(ReadOnly),
                to(Refused),
                unasked,
                unasked,
                unasked,
                None,
                None,
                to(COMMITTED),
                unasked,
                unasked,
                unasked,
                unasked,
                unasked,
            ],
        ),
        (
            ASKED,
            [
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                None,
                None,
                to(COMMITTED),
                to(ABORTED),
                contradiction,
                contradiction,
                contradiction,
                contradiction,
            ],
        ),
        (PREPARED, voted(to(COMMITTING), to(ABORTING))),
        (EXPIRING, voted(to(COMMITTING), to(ABORTING))),
        (ReadOnly, out),
        (Refused, out),
        (
            COMMITTING,
            [
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                to(COMMITTED),
                contradiction,
                to(HAZARD),
                contradiction,
                to(MIXED),
                contradiction,
            ],
        ),
        (
            ABORTING,
            [
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                late,
                contradiction,
                to(ABORTED),
                contradiction,
                to(HAZARD),
                contradiction,
                to(MIXED),
            ],
        ),
        (COMMITTED, done),
        (ABORTED, done),
        (HAZARD, done),
        (MIXED, done),
    ]
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    for (state, row) in table() {
        for ((name, event), expected) in events().into_iter().zip(row) {
            let Some(expected) = expected else { continue };
            assert_eq!(state.on(event), expected, "{name} in {state:?}");
        }
    }
}

#[test]
fn a_commit_before_the_vote_is_a_bug_of_ours() {
    for state in [ENLISTED, PREPARING] {
        let decided = std::panic::catch_unwind(|| state.on(BranchEvent::Decide(Decision::Commit)));
        assert!(decided.is_err(), "{state:?}");
    }
}

#[test]
fn a_decision_over_a_participants_head_is_a_bug_of_ours() {
    for state in [DELEGATED, ASKED] {
        for decision in [Decision::Commit, Decision::Abort] {
            let decided = std::panic::catch_unwind(|| state.on(BranchEvent::Decide(decision)));
            assert!(decided.is_err(), "{decision:?} in {state:?}");
        }
    }
}

#[test]
fn a_promise_for_ever_so_long_does_not_overflow() {
    let vote = VoteEvent::Prepared {
        prepared_for_ms: Some(u64::MAX),
    };
    let step = PREPARING.on(BranchEvent::Vote { session: MINE, vote });
    let expires = Some(Moment(u64::MAX));
    assert_eq!(step, Step::To(BranchState::Prepared { expires }));
}

#[test]
fn only_what_has_not_voted_is_pinned_and_only_what_is_open_is_unfinished() {
    for (state, _) in table() {
        let unvoted = [ENLISTED, PREPARING, DELEGATED].contains(&state);
        let open = unvoted || [ASKED, PREPARED, EXPIRING, COMMITTING, ABORTING].contains(&state);
        let hears = ![BranchState::ReadOnly, BranchState::Refused].contains(&state);
        assert_eq!(state.pinned_to(), unvoted.then_some(MINE), "{state:?}");
        assert_eq!(state.is_unfinished(), open, "{state:?}");
        assert_eq!(state.hears_decision(), hears, "{state:?}");
    }
}

#[test]
fn a_decision_that_is_not_durable_reads_as_prepared() {
    let deviated = BranchState::Deviated(crate::DeviationKind::Hazard);
    for state in [
        COMMITTING,
        ABORTING,
        BranchState::Finished(Decision::Abort),
        deviated,
    ] {
        assert_eq!(state.view(false), crate::BranchStateView::Prepared);
        assert_ne!(state.view(true), crate::BranchStateView::Prepared);
    }
}
