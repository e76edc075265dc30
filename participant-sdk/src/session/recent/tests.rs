use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};

use super::{KEPT_VOTES, RecentVotes};
use crate::resource::{BranchKey, Vote};

fn branch(number: u32) -> BranchKey {
    BranchKey {
        log: LogId(1),
        transaction: TransactionId::new(1, Partition(0), Epoch(1), number),
        branch: BranchId(0),
    }
}

#[test]
fn what_may_be_a_repeat_without_its_vote_is_told_apart_from_what_is_new() {
    let kept = u32::try_from(KEPT_VOTES).unwrap();
    let mut recent = RecentVotes::default();
    for number in 0..kept {
        recent.keep(branch(number), Vote::ReadOnly);
    }
    assert!(!recent.may_have_dropped(&branch(0)), "nothing was dropped yet");
    recent.keep(branch(kept), Vote::ReadOnly);
    assert_eq!(recent.get(&branch(0)), None);
    assert!(recent.may_have_dropped(&branch(0)));
    assert!(!recent.may_have_dropped(&branch(1)), "its vote is kept");
    assert!(!recent.may_have_dropped(&branch(kept + 1)), "it is new");
    recent.clear();
    assert!(
        !recent.may_have_dropped(&branch(0)),
        "another session asks nothing again"
    );
}
