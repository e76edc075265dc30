//! A full disk: what is reserved still takes records, and the operator hears of it in time.

use handfast_wal::{GroupCommit, Log, Lsn, Options, Space, WalError};

use crate::mem_disk::{Fault, MemDisk};
use crate::support::{
    LOG_ID, append_next, block_on, create, open, poll_once, reopen, report, small, write_through,
};

/// A log on a disk that is full from now on.
fn full() -> (MemDisk, GroupCommit<MemDisk>) {
    let disk = MemDisk::new();
    let log = create(&disk);
    disk.set_capacity(Some(disk.used()));
    (disk, log)
}

fn settle(log: &mut GroupCommit<MemDisk>) {
    while poll_once(log.completed()).is_ready() {}
}

/// The same, and its reserve is used up.
fn full_without_reserve() -> (MemDisk, GroupCommit<MemDisk>) {
    let (disk, mut log) = full();
    while log.space() == Space::Reserved {
        append_next(&mut log);
        block_on(log.flush()).unwrap();
        settle(&mut log);
    }
    (disk, log)
}

/// There is room again, and the next reserve is being made on a disk that has stalled.
fn making_its_reserve() -> (MemDisk, GroupCommit<MemDisk>) {
    let (disk, mut log) = full_without_reserve();
    disk.set_capacity(None);
    disk.stall();
    log.replenish();
    settle(&mut log);
    (disk, log)
}

#[test]
fn the_reserved_segment_takes_records_when_the_disk_is_full() {
    let (disk, mut log) = full();
    assert_eq!(log.space(), Space::Reserved);
    while report(&disk).segments.len() == 1 {
        append_next(&mut log);
        block_on(log.flush()).unwrap();
        settle(&mut log);
    }
    assert_eq!(log.space(), Space::Low);
    let low_since = log.durable();

    // The whole reserved segment can still be filled.
    let error = loop {
        append_next(&mut log);
        match block_on(log.flush()) {
            Ok(_) => assert_eq!(log.space(), Space::Low),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, WalError::OutOfSpace { .. }), "{error}");
    assert!(log.durable() > low_since.next());
    assert!(
        matches!(log.append(b""), Err(WalError::OutOfSpace { .. })),
        "it latches"
    );

    // Nothing is lost, and the log opens on the full disk.
    let durable = log.durable();
    drop(log);
    let (log, _) = reopen(&disk.power_loss(|_| false));
    assert_eq!((log.durable(), log.space()), (durable, Space::Low));
}

#[test]
fn space_that_comes_back_is_reserved_again() {
    let (disk, mut log) = full_without_reserve();
    log.replenish();
    settle(&mut log);
    assert_eq!(log.space(), Space::Low, "there is still no space");
    disk.set_capacity(None);
    log.replenish();
    assert_eq!(log.space(), Space::Low, "not before it is there");
    settle(&mut log);
    assert_eq!(log.space(), Space::Reserved);
    let last = log.durable().0 + 20;
    write_through(&mut log, last);
}

/// Whoever shares the disk must be able to write: it is not filled to the last byte for a try that cannot succeed.
#[test]
fn a_disk_that_tells_its_room_is_not_filled_for_nothing() {
    let (disk, mut log) = full_without_reserve();
    disk.tell_room();
    let segment = small().segment_bytes as usize;
    // The segment alone would fit, and then nothing else.
    disk.set_capacity(Some(disk.used() + segment));
    let before = disk.writes();
    for _ in 0..3 {
        log.replenish();
        settle(&mut log);
    }
    assert_eq!((log.space(), disk.writes()), (Space::Low, before));
    // A rotation that cannot do without takes what there is.
    while report(&disk).segments.len() == 2 {
        append_next(&mut log);
        block_on(log.flush()).unwrap();
    }
    disk.set_capacity(Some(disk.used() + segment + segment / 8));
    log.replenish();
    settle(&mut log);
    assert_eq!(log.space(), Space::Reserved);
}

/// What is retired is on the disk already.
#[test]
fn a_retired_segment_becomes_the_reserve_of_a_full_disk() {
    let (disk, mut log) = full_without_reserve();
    disk.tell_room();
    disk.set_capacity(Some(disk.used() + 4096));
    for _ in 0..2 {
        let last = append_next(&mut log);
        block_on(log.flush()).unwrap();
        block_on(log.checkpoint(last).write_all([b"state"])).unwrap();
    }
    let truncated = block_on(log.truncate(log.durable().next())).unwrap();
    assert_eq!((truncated.segments, truncated.first), (1, log.segment()));
    log.replenish();
    settle(&mut log);
    assert_eq!(log.space(), Space::Reserved);
}

#[test]
fn a_rotation_without_reserve_tries_once_more_to_make_one() {
    let (disk, mut log) = full_without_reserve();
    disk.set_capacity(None);
    let last = log.durable().0 + 12;
    write_through(&mut log, last);
}

#[test]
fn a_batch_that_needs_the_next_segment_waits_while_it_is_being_made() {
    let (disk, mut log) = making_its_reserve();
    while log.pending_bytes() < 2700 {
        append_next(&mut log);
    }
    log.force(log.accepted());
    log.start();
    assert!(log.in_flight());
    assert!(poll_once(log.completed()).is_pending());
    assert_eq!(log.written(), log.durable(), "it has not set out");
    disk.resume();
    assert_eq!(block_on(log.completed()).unwrap(), log.accepted());
}

#[test]
fn a_reserve_that_is_made_while_a_batch_flies_is_made_once() {
    let (disk, mut log) = making_its_reserve();
    let last = append_next(&mut log);
    log.force(last);
    log.start();
    assert!(poll_once(log.completed()).is_pending());
    assert!(log.in_flight(), "it does not need the next segment");
    let before = disk.operations();
    disk.resume();
    // First the reserve is made, then the batch lands.
    assert_eq!(block_on(log.completed()).unwrap(), last);
    settle(&mut log);
    assert_eq!(log.space(), Space::Reserved);
    assert_eq!(
        disk.operations() - before,
        6,
        "five for a reserve, and one for a batch"
    );
}

#[test]
fn an_interrupted_rotation_on_a_full_disk_keeps_its_reserve() {
    let (disk, mut log) = full();
    let mut rotations = 0;
    let before = disk.operations();
    while report(&disk).segments.len() == 1 {
        append_next(&mut log);
        block_on(log.flush()).unwrap();
    }
    let (last, after) = (log.durable(), disk.operations());
    drop(log);
    for operation in before..after {
        let (disk, mut log) = full();
        disk.fail_at(operation, Fault::PowerOff);
        while log.accepted() < last {
            append_next(&mut log);
            if block_on(log.flush()).is_err() {
                break;
            }
        }
        let told = log.durable();
        for image in crate::support::crash_images(&disk, 32) {
            image.set_capacity(Some(disk.used()));
            let (mut log, _) = reopen(&image);
            assert!(log.durable() >= told);
            // Whatever was under way can be finished, the reserved segment included.
            let last = log.durable().0.max(last.0) + 1;
            write_through(&mut log, last);
            rotations += 1;
        }
    }
    assert!(rotations > 0);
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_not_the_log() {
    let (disk, mut log) = full();
    write_through(&mut log, 2);
    let error = block_on(log.checkpoint(Lsn(2)).write_all([b"state"])).unwrap_err();
    assert!(matches!(error, WalError::OutOfSpace { .. }), "{error}");
    assert!(
        disk.names().iter().all(|name| !name.ends_with(".tmp")),
        "it gives back what it took"
    );
    write_through(&mut log, 3);
    assert_eq!(log.durable(), Lsn(3));
}

#[test]
fn a_log_that_does_not_fit_is_not_created() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(10_000));
    let created = block_on(Log::create(disk.clone(), LOG_ID, small()));
    assert!(matches!(created, Err(WalError::OutOfSpace { .. })));
    assert!(matches!(open(&disk), Err(WalError::NotALog)));
    disk.set_capacity(None);
    drop(created);
    drop(create(&disk));
}

#[test]
fn segments_keep_their_size_and_new_ones_get_the_new_size() {
    let disk = MemDisk::new();
    write_through(&mut create(&disk), 3);
    let options = Options {
        segment_bytes: 12288,
        ..small()
    };
    let mut log = GroupCommit::new(block_on(Log::open(disk.clone(), options, |_| {})).unwrap().log);
    write_through(&mut log, 12);
    let sizes: Vec<u64> = report(&disk)
        .segments
        .iter()
        .map(|segment| segment.segment_bytes)
        .collect();
    assert_eq!(sizes, [8192, 12288]);
}
