use std::path::Path;

use handfast_core::{AbortReason, BranchRecord, FinishedTransaction, Lsn, Outcome};
use handfast_ids::{BranchId, Epoch, IdempotencyKey, LogId, Partition, ResourceName, StoreId, TransactionId};

use super::{Index, MemoryIndex, SledIndex};

const LOG: LogId = LogId(7);
const CAPACITY: usize = 100;

fn id(sequence: u32) -> TransactionId {
    TransactionId::new(1000, Partition(0), Epoch(1), sequence)
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn branch() -> BranchRecord {
    BranchRecord {
        branch: BranchId(0),
        resource: ResourceName::new("orders-db").unwrap(),
        store: StoreId(1),
    }
}

fn finished(sequence: u32) -> FinishedTransaction {
    FinishedTransaction {
        transaction: id(sequence),
        outcome: Outcome::Committed,
        key: Some(key(&format!("key-{sequence}"))),
        branches: vec![branch()],
    }
}

fn ids(index: &impl Index) -> Vec<TransactionId> {
    index
        .page(None, 1000)
        .into_iter()
        .map(|finished| finished.transaction)
        .collect()
}

/// Opens the index, does something, and waits until it is on disk.
fn with_index(path: &Path, last: u64, work: impl FnOnce(&mut SledIndex)) -> Vec<TransactionId> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let mut index = SledIndex::open(path, LOG, Lsn(last), CAPACITY);
        work(&mut index);
        index.flush(Lsn(last));
        ids(&index)
    });
    // Dropping the runtime waits for the blocking writer, and so for the lock of the database.
    drop(runtime);
    found
}

#[test]
fn the_oldest_go_first_and_take_their_keys_along() {
    let mut index = MemoryIndex::new(2);
    (1..=3).for_each(|sequence| index.insert(finished(sequence)));
    assert_eq!(ids(&index), [id(2), id(3)]);
    assert_eq!(index.by_key(&key("key-1")), None);
    assert_eq!(index.by_key(&key("key-3")), Some(id(3)));
    assert_eq!(index.page(Some(id(2)), 10).len(), 1);
    index.forget_keys(&[key("key-3")]);
    assert_eq!(index.by_key(&key("key-3")), None);
    assert!(index.get(id(3)).is_some());
}

#[test]
fn what_was_flushed_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let before = with_index(&path, 10, |index| {
        (1..=5).for_each(|sequence| index.insert(finished(sequence)))
    });
    let after = with_index(&path, 10, |index| {
        assert_eq!(index.get(id(3)), Some(&finished(3)));
        assert_eq!(index.by_key(&key("key-3")), Some(id(3)));
    });
    assert_eq!(before, after);
}

/// What a checkpoint carries of an end.
fn without_branches(sequence: u32) -> FinishedTransaction {
    FinishedTransaction {
        branches: Vec::new(),
        ..finished(sequence)
    }
}

#[test]
fn an_end_without_branches_takes_none_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    with_index(&path, 10, |index| index.insert(finished(1)));
    with_index(&path, 10, |index| {
        index.insert(without_branches(1));
        assert_eq!(index.get(id(1)), Some(&finished(1)));
    });
    with_index(&path, 10, |index| {
        assert_eq!(index.get(id(1)), Some(&finished(1)))
    });
    let mut index = MemoryIndex::new(CAPACITY);
    index.insert(finished(1));
    index.insert(without_branches(1));
    assert_eq!(index.get(id(1)), Some(&finished(1)));
}

#[test]
fn another_outcome_replaces_what_was_remembered() {
    let mut index = MemoryIndex::new(CAPACITY);
    index.insert(finished(1));
    let other = FinishedTransaction {
        outcome: Outcome::Aborted {
            reason: AbortReason::Deadline,
        },
        ..without_branches(1)
    };
    index.insert(other.clone());
    assert_eq!(index.get(id(1)), Some(&other));
}

#[test]
fn what_has_no_key_costs_no_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let unkeyed = FinishedTransaction {
        key: None,
        ..finished(2)
    };
    let before = with_index(&path, 10, |index| {
        index.insert(finished(1));
        index.insert(unkeyed);
    });
    assert_eq!(before, [id(1), id(2)]);
    assert_eq!(with_index(&path, 10, |_| ()), [id(1)]);
}

#[test]
fn a_key_that_has_expired_is_not_found_again_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    with_index(&path, 10, |index| {
        (1..=2).for_each(|sequence| index.insert(finished(sequence)))
    });
    with_index(&path, 10, |index| index.forget_keys(&[key("key-1")]));
    with_index(&path, 10, |index| {
        assert_eq!(index.by_key(&key("key-1")), None);
        assert_eq!(index.by_key(&key("key-2")), Some(id(2)));
    });
}

#[test]
fn an_index_ahead_of_its_log_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    with_index(&path, 10, |index| index.insert(finished(1)));
    assert_eq!(with_index(&path, 9, |_| ()), []);
    assert!(directory.path().join("index.unusable").exists());
}

#[test]
fn an_index_of_another_log_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    with_index(&path, 10, |index| index.insert(finished(1)));
    let index = SledIndex::open(&path, LogId(8), Lsn(10), CAPACITY);
    assert_eq!(ids(&index), []);
}

#[test]
fn a_damaged_index_is_moved_aside_and_serves_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    with_index(&path, 10, |index| {
        (1..=50).for_each(|sequence| index.insert(finished(sequence)))
    });
    for file in ["conf", "db"] {
        std::fs::write(path.join(file), b"\xff garbage \x00 garbage").unwrap();
    }
    with_index(&path, 10, |index| index.insert(finished(2)));
    assert_eq!(with_index(&path, 10, |_| ()), [id(2)]);
}

#[test]
fn an_index_that_cannot_be_on_disk_serves_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    std::fs::write(&path, b"a file").unwrap();
    std::fs::create_dir(directory.path().join("index.unusable")).unwrap();
    let found = with_index(&path, 10, |index| index.insert(finished(1)));
    assert_eq!(found, [id(1)]);
}
