//! Group commit on an executor that is barely one.

use std::task::Poll;

use handfast_wal::{Entry, GroupCommit, Log, Lsn, Options, WalError, visit};

use crate::mem_disk::MemDisk;
use crate::support::{append_next, block_on, create, poll_once, record, reopen, small};

fn durable(polled: Poll<handfast_wal::Result<Lsn>>) -> Lsn {
    match polled {
        Poll::Ready(done) => done.unwrap(),
        Poll::Pending => panic!("still in flight"),
    }
}

#[test]
fn what_gathers_during_a_sync_goes_into_the_next_one() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    let operations = disk.operations();
    disk.stall();
    let first = append_next(&mut log);
    log.force(first);
    log.start();
    assert!(poll_once(log.completed()).is_pending());
    for _ in 0..4 {
        let lsn = append_next(&mut log);
        log.force(lsn);
        log.start();
    }
    assert_eq!(
        (log.durable(), log.written(), log.accepted()),
        (Lsn(0), Lsn(1), Lsn(5))
    );
    disk.resume();
    assert_eq!(durable(poll_once(log.completed())), Lsn(1));
    log.start();
    assert_eq!(durable(poll_once(log.completed())), Lsn(5));
    assert_eq!(disk.operations() - operations, 2, "one write and sync each");
    let counters = log.counters();
    assert_eq!((counters.syncs, counters.batches, counters.records), (2, 2, 5));
    assert!(counters.bytes > (1..=5).map(|lsn| record(lsn).len() as u64).sum());
}

#[test]
fn records_without_demand_wait_and_ride_along() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    let operations = disk.operations();
    append_next(&mut log);
    let demanded = append_next(&mut log);
    append_next(&mut log);
    log.start();
    assert!(
        !log.in_flight() && disk.operations() == operations,
        "nobody asked"
    );
    log.force(demanded);
    log.start();
    assert_eq!(
        durable(poll_once(log.completed())),
        Lsn(3),
        "the lazy one rode along"
    );
    log.force(demanded);
    log.start();
    assert!(!log.in_flight(), "it is durable already");
}

#[test]
fn nothing_in_flight_pends_for_ever() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    append_next(&mut log);
    assert!(poll_once(log.completed()).is_pending());
}

#[test]
fn a_dropped_wait_loses_nothing() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    disk.stall();
    let lsn = append_next(&mut log);
    log.force(lsn);
    log.start();
    for _ in 0..5 {
        assert!(poll_once(log.completed()).is_pending());
        assert!(poll_once(log.flush()).is_pending());
    }
    disk.resume();
    assert_eq!(block_on(log.completed()).unwrap(), lsn);
    drop(log);
    assert_eq!(reopen(&disk.power_loss(|_| false)).1.lsns(), [1]);
}

#[test]
fn a_dropped_log_in_flight_leaves_what_a_crash_leaves() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    disk.stall();
    let lsn = append_next(&mut log);
    log.force(lsn);
    log.start();
    assert!(poll_once(log.completed()).is_pending());
    drop(log);
    disk.resume();
    let (log, replayed) = reopen(&disk);
    assert!(replayed.lsns().len() <= 1);
    assert_eq!(log.durable().0, replayed.lsns().len() as u64);
}

#[test]
fn the_buffer_is_bounded() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    assert!(log.has_room());
    let refused = loop {
        if let Err(error) = log.append(&[7; 500]) {
            break error;
        }
    };
    assert!(matches!(refused, WalError::Full { limit: 4096, .. }), "{refused}");
    assert!(!log.has_room());
    assert!(log.pending_bytes() <= small().buffer_bytes);
    let accepted = log.accepted();
    assert_eq!(block_on(log.flush()).unwrap(), accepted);
    assert!(log.has_room() && log.pending_bytes() == 0);
    assert_eq!(log.append(&[7; 500]).unwrap(), accepted.next());
}

#[test]
fn a_record_that_never_fits_is_refused_and_the_largest_one_is_taken() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    let limit = log.record_limit();
    assert!(limit > 3500, "{limit}");
    let refused = log.append(&vec![1; limit + 1]).unwrap_err();
    assert!(
        matches!(refused, WalError::RecordTooLarge { limit: named, .. } if named == limit),
        "{refused}"
    );
    assert_eq!((log.accepted(), log.pending_bytes()), (Lsn(0), 0));
    for _ in 0..3 {
        log.append(&vec![1; limit]).unwrap();
        block_on(log.flush()).unwrap();
    }
    drop(log);
    assert_eq!(reopen(&disk).1.records.len(), 3);
}

/// The open segment was made with smaller ones in mind, and holds nothing: no next one can take its place.
#[test]
fn a_record_that_does_not_fit_an_empty_segment_of_an_earlier_size_is_refused_until_it_is_in_use() {
    let disk = MemDisk::new();
    drop(create(&disk));
    let larger = Options {
        segment_bytes: 65536,
        buffer_bytes: 32768,
    };
    let opened = block_on(Log::open(disk.clone(), larger, |_| {})).unwrap();
    let mut log = GroupCommit::new(opened.log);
    let large = vec![1; 10_000];
    let refused = log.append(&large).unwrap_err();
    assert!(
        matches!(refused, WalError::RecordTooLarge { limit, .. } if limit == log.record_limit()),
        "{refused}"
    );
    let fits = log.record_limit();
    log.append(&vec![2; fits]).unwrap();
    block_on(log.flush()).unwrap();
    log.append(&large).unwrap();
    block_on(log.flush()).unwrap();
    drop(log);
    let mut lengths = Vec::new();
    let read = |entry: Entry<'_>| {
        if let Entry::Record { record, .. } = entry {
            lengths.push(record.len());
        }
    };
    assert!(block_on(visit(&disk, read)).unwrap().is_sound());
    assert_eq!(lengths, [fits, large.len()]);
}

#[test]
fn a_batch_is_split_where_a_segment_ends() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    for _ in 0..8 {
        while log.pending_bytes() < 2700 {
            append_next(&mut log);
        }
        block_on(log.flush()).unwrap();
    }
    assert!(log.counters().batches > 8, "{:?}", log.counters());
    let last = log.durable();
    drop(log);
    let (log, replayed): (GroupCommit<_>, _) = reopen(&disk.power_loss(|_| false));
    assert_eq!(log.durable(), last);
    assert!(
        replayed
            .records
            .iter()
            .all(|(lsn, bytes)| *bytes == record(lsn.0))
    );
}

#[test]
#[should_panic(expected = "forced lsn 1, and the last one accepted is 0")]
fn forcing_what_was_never_accepted_is_a_bug_of_the_caller() {
    create(&MemDisk::new()).force(Lsn(1));
}

#[test]
fn the_waits_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let disk = MemDisk::new();
    let mut log = is_send(create(&disk));
    append_next(&mut log);
    block_on(is_send(log.flush())).unwrap();
    block_on(is_send(log.checkpoint(Lsn(1)).write_all([b"state"]))).unwrap();
    block_on(is_send(log.truncate(Lsn(1)))).unwrap();
    drop(log);
    drop(block_on(is_send(handfast_wal::Log::open(disk.clone(), small(), |_| {}))).unwrap());
    block_on(is_send(handfast_wal::verify(&disk))).unwrap();
}
