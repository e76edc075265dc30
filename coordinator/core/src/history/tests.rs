use handfast_ids::{Epoch, Partition, TransactionId};

use super::History;
use crate::{AbortReason, Lsn, Outcome};

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
    history.insert(id(2), Outcome::Heuristic { evidence: Vec::new() }, Lsn(3));
    assert_eq!(history.commits().collect::<Vec<_>>(), [id(3), id(2)]);
}

#[test]
fn the_horizon_only_rises() {
    let mut history = History::new(4);
    history.raise_horizon(id(5));
    history.raise_horizon(id(2));
    assert_eq!(history.horizon(), id(5));
}
