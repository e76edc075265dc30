use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};

use super::{KEPT_VOTES, RecentVotes};
use crate::resource::{BranchKey, Refusal, Vote};

fn branch(number: u32) -> BranchKey {
    BranchKey {
        log: LogId(7),
        transaction: TransactionId::new(u64::from(number / 3), Partition(0), Epoch(1), number % 3),
        branch: BranchId(number % 2),
    }
}

#[test]
fn the_last_word_on_a_branch_is_said_again() {
    let mut votes = RecentVotes::default();
    assert_eq!(votes.get(&branch(1)), None);
    votes.keep(branch(1), Vote::ReadOnly);
    votes.keep(branch(2), Vote::ReadOnly);
    votes.fence(branch(1), "decided");
    let fence = Vote::Refused(Refusal::permanent("FENCED", "decided"));
    assert_eq!(votes.get(&branch(1)), Some(fence));
    assert_eq!(votes.get(&branch(2)), Some(Vote::ReadOnly));
    votes.clear();
    assert_eq!(votes.get(&branch(2)), None);
}

#[test]
fn only_the_newest_are_kept() {
    let mut votes = RecentVotes::default();
    let count = KEPT_VOTES as u32 + 10;
    (0..count).for_each(|number| votes.fence(branch(number), "decided"));
    assert_eq!(votes.get(&branch(9)), None);
    assert!((10..count).all(|number| votes.get(&branch(number)).is_some()));
    assert_eq!((votes.votes.len(), votes.order.len()), (KEPT_VOTES, KEPT_VOTES));
}
