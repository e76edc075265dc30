use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};

use super::*;
use crate::resource::Refusal;

fn branch(number: u32) -> BranchKey {
    let transaction = TransactionId::new(1, Partition(0), Epoch(1), number);
    BranchKey {
        log: LogId(1),
        transaction,
        branch: BranchId(0),
    }
}

#[test]
fn frames_stay_within_their_bytes_and_nothing_is_lost_or_reordered() {
    let mut outbox = Outbox::default();
    let long = Vote::Refused(Refusal::permanent("R".repeat(10_000), "ü".repeat(10_000)));
    for number in 0..100 {
        outbox.vote(branch(number), &long);
        outbox.ack(branch(number), Decision::Commit, &Completion::Done);
    }
    let (mut votes, mut acks) = (Vec::new(), Vec::new());
    while !outbox.is_empty() {
        let frame = outbox.take_frame(20_000);
        let texts: usize = frame
            .votes
            .iter()
            .map(|vote| vote.reason.len() + vote.message.len())
            .sum();
        assert!(texts <= 20_000);
        votes.extend(frame.votes);
        acks.extend(frame.acks);
    }
    let in_order = |ids: Vec<bytes::Bytes>| ids.len() == 100 && ids.is_sorted();
    assert!(in_order(
        votes.into_iter().map(|vote| vote.transaction_id).collect()
    ));
    assert!(in_order(acks.into_iter().map(|ack| ack.transaction_id).collect()));
}

#[test]
fn an_empty_scan_is_complete_too() {
    let mut outbox = Outbox::default();
    outbox.scan(&[]);
    assert!(!outbox.is_empty());
    assert!(outbox.take_frame(4096).scan_complete);
    assert!(outbox.is_empty() && !outbox.take_frame(4096).scan_complete);
}

#[test]
fn a_promise_that_is_all_but_over_is_not_told_as_lasting_for_ever() {
    let mut outbox = Outbox::default();
    outbox.vote(
        branch(1),
        &Vote::Prepared {
            prepared_for: Some(std::time::Duration::from_nanos(1)),
        },
    );
    outbox.vote(branch(1), &Vote::Prepared { prepared_for: None });
    let votes = outbox.take_frame(4096).votes;
    assert_eq!((votes[0].prepared_for_ms, votes[1].prepared_for_ms), (1, 0));
}
