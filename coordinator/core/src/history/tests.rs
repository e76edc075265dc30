use std::collections::VecDeque;

use handfast_ids::{Epoch, Partition, TransactionId};

use super::History;
use crate::{AbortReason, Decision, Lsn, Outcome};

fn id(sequence: u32) -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), sequence)
}

fn aborted() -> Outcome {
    let reason = AbortReason::Requested;
    Outcome::Aborted { reason }
}

#[test]
fn what_is_dropped_raises_the_horizon_over_its_id() {
    let mut history = History::new(2);
    history.insert(id(5), Outcome::Committed, Lsn(1));
    history.insert(id(3), Outcome::Committed, Lsn(2));
    assert_eq!(history.horizon(), TransactionId::ZERO);
    history.insert(id(9), aborted(), Lsn(3));
    assert_eq!(history.outcome(id(5)), None);
    assert_eq!(history.horizon(), id(5));
    history.insert(id(10), aborted(), Lsn(4));
    assert_eq!(history.outcome(id(3)), None);
    assert_eq!(history.horizon(), id(5), "an older id does not lower it");
}

#[test]
fn an_outcome_is_told_after_its_record() {
    let mut history = History::new(2);
    history.insert(id(1), Outcome::Committed, Lsn(7));
    assert_eq!(history.outcome(id(1)), Some((&Outcome::Committed, Lsn(7))));
}

#[test]
fn the_same_id_again_takes_no_more_room() {
    let mut history = History::new(2);
    history.insert(id(1), Outcome::Committed, Lsn(1));
    history.insert(id(1), Outcome::Committed, Lsn(2));
    history.insert(id(2), Outcome::Committed, Lsn(3));
    assert!(history.outcome(id(1)).is_some());
}

#[test]
fn no_history_is_all_horizon() {
    let mut history = History::new(0);
    history.insert(id(4), Outcome::Committed, Lsn(1));
    assert_eq!((history.outcome(id(4)), history.horizon()), (None, id(4)));
}

#[test]
fn a_checkpoint_carries_the_commits_in_the_order_of_their_ends() {
    let mut history = History::new(4);
    history.insert(id(3), Outcome::Committed, Lsn(1));
    history.insert(id(1), aborted(), Lsn(2));
    history.insert(
        id(2),
        Outcome::Heuristic {
            decision: Decision::Commit,
            evidence: Vec::new(),
        },
        Lsn(3),
    );
    assert_eq!(history.commits().collect::<Vec<_>>(), [id(3), id(2)]);
}

#[test]
fn the_horizon_only_rises() {
    let mut history = History::new(4);
    history.raise_horizon(id(5));
    history.raise_horizon(id(2));
    assert_eq!(history.horizon(), id(5));
}

/// Ids in a random order, some of them again, against a queue that drops its oldest; live, and as a replay that is complete.
#[test]
fn it_behaves_as_a_queue_that_is_searched() {
    const LIMIT: usize = 50;
    let mut seed = 3_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let (mut live, mut queue) = (
        History::new(LIMIT),
        VecDeque::<(TransactionId, Outcome, Lsn)>::new(),
    );
    let mut replayed = History::replayed(LIMIT);
    for step in 0..5_000 {
        let id = id(step + random(40) * 7);
        let outcome = if random(2) == 0 {
            Outcome::Committed
        } else {
            aborted()
        };
        let lsn = Lsn(u64::from(step));
        live.insert(id, outcome.clone(), lsn);
        match queue.iter_mut().find(|(known, ..)| *known == id) {
            Some(known) => *known = (id, outcome, lsn),
            None => {
                replayed.insert(id, outcome.clone(), lsn);
                queue.push_back((id, outcome, lsn));
                if queue.len() > LIMIT {
                    queue.pop_front();
                }
            }
        }
    }
    replayed.complete();
    assert_eq!(replayed.horizon(), live.horizon());
    for sequence in 0..6_000 {
        let expected = queue.iter().find(|(known, ..)| *known == id(sequence));
        let expected = expected.map(|(_, outcome, lsn)| (outcome, *lsn));
        assert_eq!(live.outcome(id(sequence)), expected);
        assert_eq!(replayed.outcome(id(sequence)).is_some(), expected.is_some());
    }
    // What was dropped has left the index too, or it would fill up.
    assert_eq!(live.index.as_ref().map(|index| index.len()), Some(LIMIT));
    assert_eq!(replayed.index.as_ref().map(|index| index.len()), Some(LIMIT));
}
