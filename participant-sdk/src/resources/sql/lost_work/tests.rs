use handfast_proto::ids::{BranchId, Epoch, Partition};

use super::*;

fn branch(log: u128, sequence: u32) -> BranchKey {
    BranchKey {
        log: LogId(log),
        transaction: TransactionId::new(u64::from(sequence), Partition(0), Epoch(1), 1),
        branch: BranchId(0),
    }
}

#[test]
fn what_was_lost_is_known_until_it_has_ended() {
    let lost = LostWork::default();
    assert!(!lost.may_hold(branch(1, 5)));
    lost.add(branch(1, 5));
    lost.add(branch(1, 5));
    assert!(lost.may_hold(branch(1, 5)));
    assert!(!lost.may_hold(branch(1, 4)) && !lost.may_hold(branch(1, 6)) && !lost.may_hold(branch(2, 5)));
    lost.ended(branch(1, 5));
    assert!(!lost.may_hold(branch(1, 5)));
}

#[test]
fn beyond_the_bound_the_oldest_of_a_log_are_all_taken_for_lost() {
    let lost = LostWork::default();
    let first = 10;
    let last = first + u32::try_from(MAX_LOST).unwrap();
    (first..=last).for_each(|sequence| lost.add(branch(1, sequence)));
    assert!(
        lost.may_hold(branch(1, first)),
        "lost, and not known by name any more"
    );
    assert!(lost.may_hold(branch(1, first - 1)), "it may have been lost");
    assert!(lost.may_hold(branch(1, last)));
    assert!(!lost.may_hold(branch(1, last + 1)));
    lost.ended(branch(1, last));
    assert!(!lost.may_hold(branch(1, last)));
    assert!(
        !lost.may_hold(branch(2, first)),
        "another coordinator has a line of its own"
    );
}

#[test]
fn beyond_the_logs_those_that_are_not_known_are_taken_for_lost() {
    let lost = LostWork::default();
    let logs = MAX_LOGS as u128;
    (0..logs).for_each(|log| lost.add(branch(log, 5)));
    assert!(!lost.may_hold(branch(logs, 5)));
    lost.add(branch(logs, 5));
    assert!(lost.may_hold(branch(logs, 5)) && lost.may_hold(branch(logs + 1, 5)));
    assert!(!lost.may_hold(branch(0, 6)));
}
