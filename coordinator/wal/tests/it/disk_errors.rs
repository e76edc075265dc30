//! The first error of the disk is final.

use handfast_wal::{Fault as Found, Lsn, WalError};

use crate::mem_disk::{Fault, MemDisk};
use crate::support::{append_next, block_on, create, open, reopen, report, write_through};

#[test]
fn after_a_failed_sync_nothing_is_tried_again() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    append_next(&mut log);
    disk.fail_at(disk.operations(), Fault::SyncLoses);
    let first = block_on(log.flush()).unwrap_err();
    assert!(matches!(&first, WalError::Io { .. }), "{first}");
    let operations = disk.operations();

    assert_eq!(log.append(b"more").unwrap_err().to_string(), first.to_string());
    assert_eq!(block_on(log.flush()).unwrap_err().to_string(), first.to_string());
    assert_eq!(
        block_on(log.completed()).unwrap_err().to_string(),
        first.to_string()
    );
    log.start();
    assert!(!log.in_flight());
    assert_eq!(
        block_on(log.truncate(Lsn(1))).unwrap_err().to_string(),
        first.to_string()
    );
    assert_eq!(log.durable(), Lsn(2));
    assert_eq!(disk.operations(), operations, "nothing was asked of the disk");
}

/// 1. A sync fails, and the kernel takes the pages for clean.
/// 2. The process stops. The next one reads the records from the cache, keeps them, and says that they are durable.
/// 3. Power loss. The records must be there.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_it_is_believed() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    append_next(&mut log);
    disk.fail_at(disk.operations(), Fault::SyncLoses);
    block_on(log.flush()).unwrap_err();

    let disk = disk.process_death();
    let (log, _) = reopen(&disk);
    assert_eq!(log.durable(), Lsn(3));
    let (log, _) = reopen(&disk.power_loss(|_| false));
    assert_eq!(log.durable(), Lsn(3));
}

#[test]
fn a_seal_whose_sync_failed_is_written_again_too() {
    let write_with_fault = |operation: Option<u64>| {
        let disk = MemDisk::new();
        let mut log = create(&disk);
        let created = disk.operations();
        if let Some(operation) = operation {
            disk.fail_at(created + operation, Fault::SyncLoses);
        }
        while log.failure().is_none() && log.accepted() < Lsn(12) {
            append_next(&mut log);
            let _ = block_on(log.flush());
        }
        let operations = disk.operations() - created;
        (disk, log.durable(), operations)
    };
    let (_, _, operations) = write_with_fault(None);
    for operation in 0..operations {
        let (disk, told, _) = write_with_fault(Some(operation));
        let disk = disk.process_death();
        let (log, _) = reopen(&disk);
        let now = log.durable();
        assert!(now >= told, "operation {operation}");
        drop(log);
        let (log, _) = reopen(&disk.power_loss(|_| false));
        assert_eq!(log.durable(), now, "operation {operation}");
    }
}

#[test]
fn a_disk_that_fails_while_opening_fails_the_opening() {
    let disk = MemDisk::new();
    write_through(&mut create(&disk), 4);
    for operation in 0.. {
        let disk = disk.power_loss(|_| false);
        disk.fail_at(operation, Fault::SyncLoses);
        match open(&disk) {
            Err(WalError::Io { file, .. }) => assert!(!file.is_empty()),
            Err(other) => panic!("{other}"),
            Ok((_, replayed)) => {
                assert_eq!(replayed.lsns(), [1, 2, 3, 4]);
                assert!(operation > 5);
                break;
            }
        }
    }
}

/// Whoever copies what is left of a dying disk must know of all of it.
#[test]
fn what_cannot_be_read_is_a_problem_with_its_place_and_the_rest_is_checked() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 4);
    block_on(log.checkpoint(Lsn(2)).write_all([b"state"])).unwrap();
    write_through(&mut log, 30);
    drop(log);
    let sound = report(&disk);
    assert!(sound.is_sound() && sound.segments.len() > 2);
    let (first, second) = (sound.segments[0].file.clone(), sound.segments[1].file.clone());
    let checkpoint = sound.checkpoints[0].file.clone();

    disk.lose(&first, 4096);
    disk.lose(&checkpoint, 0);
    disk.flip_bit(&second, 8 * 4096);
    let found = report(&disk);
    let places: Vec<_> = found
        .problems
        .iter()
        .map(|problem| (problem.file.as_str(), problem.offset))
        .collect();
    assert_eq!(places, [(checkpoint.as_str(), 0), (&first, 0), (&second, 4096)]);
    for problem in &found.problems[..2] {
        assert!(matches!(problem.fault, Found::Unreadable { .. }), "{problem}");
        assert!(problem.to_string().contains("check the disk"), "{problem}");
    }
    assert_eq!(found.segments.len(), sound.segments.len());
    assert_eq!(found.segments[2..], sound.segments[2..]);

    let refused = open(&disk).unwrap_err();
    assert!(
        matches!(&refused, WalError::Io { file, .. } if *file == checkpoint),
        "{refused}"
    );
}

#[test]
fn an_identity_that_cannot_be_read_is_a_problem() {
    let disk = MemDisk::new();
    drop(create(&disk));
    disk.lose("LOG", 0);
    let problems = report(&disk).problems;
    assert!(
        matches!(problems.as_slice(), [problem] if problem.file == "LOG"),
        "{problems:?}"
    );
    assert!(matches!(open(&disk), Err(WalError::Io { .. })));
}
