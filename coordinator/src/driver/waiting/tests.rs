use std::sync::Arc;

use handfast_core::{Decision, Message};
use handfast_ids::{BranchId, Epoch, Partition, TransactionId};

use super::{SLACK_BYTES, Waiting};

const MEGABYTE: usize = 1 << 20;

fn id(sequence: u32) -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), sequence)
}

fn prepare(sequence: u32) -> Message {
    Message::Prepare {
        transaction: id(sequence),
        branch: BranchId(0),
        operation: Some(Arc::from(vec![0; MEGABYTE])),
        operations: 0,
        timeout_ms: 1,
        delegated: false,
    }
}

fn decision(sequence: u32, decision: Decision) -> Message {
    Message::Decision {
        transaction: id(sequence),
        branch: BranchId(0),
        decision,
    }
}

#[test]
fn what_was_given_up_does_not_pile_up() {
    let mut waiting = Waiting::default();
    let mut most = 0;
    for sequence in 0..1000 {
        assert!(waiting.push(prepare(sequence), usize::MAX));
        assert!(waiting.push(decision(sequence, Decision::Abort), usize::MAX));
        most = most.max(waiting.bytes);
    }
    // One that is wanted at the time of a look counts twice.
    assert!(most <= SLACK_BYTES + 3 * MEGABYTE, "{most} bytes waited");
    let aborts = (0..1000).map(|sequence| decision(sequence, Decision::Abort));
    let sent: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
    let kept = sent
        .iter()
        .filter(|message| matches!(message, Message::Decision { .. }));
    assert!(kept.eq(aborts.collect::<Vec<_>>().iter()), "every abort is told");
    assert_eq!((waiting.bytes, waiting.len()), (0, 0));
}

#[test]
fn what_is_wanted_stays_in_its_order() {
    let mut waiting = Waiting::default();
    for sequence in 0..100 {
        assert!(waiting.push(prepare(sequence), usize::MAX));
    }
    assert!(waiting.push(decision(7, Decision::Commit), usize::MAX));
    let resolve = Message::Resolve {
        transaction: id(8),
        branch: BranchId(0),
    };
    assert!(waiting.push(resolve, usize::MAX));
    waiting.sweep();
    let prepared: Vec<_> = std::iter::from_fn(|| waiting.pop())
        .filter_map(|message| match message {
            Message::Prepare { transaction, .. } => Some(transaction),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..100).filter(|sequence| *sequence != 8).map(id).collect();
    assert_eq!(prepared, expected);
}

/// The aborts went to another session of the same resource, so nothing here can be seen to be given up.
#[test]
fn what_cannot_be_dropped_is_too_much_at_its_bound() {
    let mut waiting = Waiting::default();
    let most = 64 * MEGABYTE;
    let taken = (0..1000)
        .take_while(|sequence| waiting.push(prepare(*sequence), most))
        .count();
    assert_eq!(taken, 64);
}
