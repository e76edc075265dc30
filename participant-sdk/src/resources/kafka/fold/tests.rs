use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};

use super::*;

const LOG: LogId = LogId(7);

fn branch() -> BranchKey {
    BranchKey {
        log: LOG,
        transaction: TransactionId::new(1_000, Partition(0), Epoch(2), 9),
        branch: BranchId(0),
    }
}

fn transaction(epoch: i16) -> KafkaTransaction {
    KafkaTransaction {
        transactional_id: "id".to_owned(),
        producer: 4,
        epoch,
    }
}

fn promise() -> Record {
    Record::Promise {
        branch: branch(),
        promise: Promise {
            seen: seen(2, 8),
            transaction: transaction(1),
            places: String::new(),
        },
    }
}

fn seen(epoch: u32, lsn: u64) -> SeenLog {
    SeenLog {
        log: LOG,
        epoch: Epoch(epoch),
        lsn,
    }
}

fn fence(nonce: u128) -> Record {
    Record::Fence {
        branch: branch(),
        nonce,
    }
}

fn end(end: End) -> Record {
    Record::End {
        branch: branch(),
        end,
    }
}

/// A fold of these records, one behind the other, and the transactions that came free.
async fn fold(records: &[Record]) -> (Fold, Vec<KafkaTransaction>) {
    let mut fold = Fold::default();
    let freed = (0..)
        .zip(records)
        .filter_map(|(offset, record)| fold.take(offset, record.clone(), Instant::now()))
        .collect();
    (fold, freed)
}

#[tokio::test]
async fn the_first_of_promise_and_fence_wins() {
    let (promised, _) = fold(&[promise(), fence(1)]).await;
    assert!(matches!(promised.branch(branch()), Some(Branch::Promised(noted)) if noted.offset == 0));
    let (fenced, _) = fold(&[fence(1), promise()]).await;
    assert!(matches!(fenced.branch(branch()), Some(Branch::Fenced)));
    assert_eq!(fenced.void().len(), 1, "its transaction is still to be aborted");
    assert_eq!(fenced.promised().count(), 0);
}

/// Compaction keeps the last record of each key, in the order of the offsets.
#[tokio::test]
async fn compaction_does_not_turn_a_fence_into_a_promise() {
    let records = [fence(1), promise(), fence(2)];
    let mut kept: Vec<Record> = Vec::new();
    for record in &records {
        kept.retain(|earlier| earlier.key() != record.key());
        kept.push(record.clone());
    }
    for records in [&records[..], &kept] {
        let (fold, _) = fold(records).await;
        assert!(matches!(fold.branch(branch()), Some(Branch::Fenced)));
    }
}

#[tokio::test]
async fn an_end_frees_its_transaction_once() {
    let (ended, freed) = fold(&[promise(), end(End::Committed), end(End::Lost("late".to_owned()))]).await;
    assert_eq!(freed, [transaction(1)]);
    assert!(matches!(
        ended.branch(branch()),
        Some(Branch::Ended {
            end: End::Committed,
            promise: Some(_)
        })
    ));
    let (_, freed) = fold(&[end(End::Committed)]).await;
    assert_eq!(freed, []);
}

#[tokio::test]
async fn what_was_reaped_cannot_be_promised_any_more() {
    let reap = |epoch| Record::Reap {
        nonce: 5,
        transaction: transaction(epoch),
    };
    let (other, _) = fold(&[reap(0), promise()]).await;
    assert!(
        matches!(other.branch(branch()), Some(Branch::Promised(_))),
        "of another epoch"
    );
    let (reaped, _) = fold(&[reap(1), promise()]).await;
    assert!(reaped.branch(branch()).is_none());
    assert_eq!(reaped.void().len(), 1);
    let (too_late, _) = fold(&[promise(), reap(1)]).await;
    assert!(matches!(too_late.branch(branch()), Some(Branch::Promised(_))));
    let now = Instant::now();
    assert_eq!(reaped.reaped(Duration::from_secs(60), now), []);
    assert_eq!(reaped.reaped(Duration::ZERO, now), [Key::Reap(5)]);
}

#[tokio::test]
async fn a_branch_is_taken_out_by_its_keys_and_only_when_it_is_over() {
    let never = Duration::from_secs(3_600);
    let keys = |fold: &Fold, age| fold.keys_to_forget(branch(), age, Instant::now());
    let (promised, _) = fold(&[promise(), fence(1)]).await;
    assert_eq!(keys(&promised, Duration::ZERO), []);
    let (fenced, _) = fold(&[fence(1), fence(2)]).await;
    assert_eq!(keys(&fenced, never), [], "late work may still come");
    let (ended, _) = fold(&[promise(), fence(1), end(End::Aborted)]).await;
    for (records, fold_now, age) in [
        (vec![fence(1), fence(2)], fenced, Duration::ZERO),
        (vec![promise(), fence(1), end(End::Aborted)], ended, never),
    ] {
        let gone = keys(&fold_now, age).into_iter().map(Record::Gone);
        let records: Vec<Record> = records.into_iter().chain(gone).collect();
        let (empty, _) = fold(&records).await;
        assert_eq!((empty.len(), empty.void().len()), (0, 0));
    }
}

#[tokio::test]
async fn the_highest_that_was_seen_of_a_log_counts() {
    let (fold_now, _) = fold(&[promise(), Record::Seen(seen(1, 99)), Record::Seen(seen(2, 9))]).await;
    assert_eq!(fold_now.seen(), [seen(2, 9)]);
}

#[tokio::test]
async fn the_first_identity_counts() {
    let store = |id, cluster: &str| Record::Store {
        store: StoreId(id),
        layout: 1,
        cluster: cluster.to_owned(),
    };
    let (fold_now, _) = fold(&[store(1, "a"), store(2, "b")]).await;
    assert_eq!(fold_now.store(), Some((StoreId(1), 1, "a")));
}
