//! The real disk, in a temporary directory.

use handfast_wal::{Disk, Entry, GroupCommit, Log, Lsn, Opened, RealDisk, WalError, verify};

use crate::support::{LOG_ID, block_on, record, small};

/// Opens a log whose owner was dropped: the lock is released behind everything that the owner's thread still had to do.
fn open_when_free(disk: &RealDisk, mut visit: impl FnMut(Entry<'_>) + Send) -> Opened<RealDisk> {
    loop {
        match block_on(Log::open(disk.clone(), small(), &mut visit)) {
            Err(WalError::Locked) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_log_on_a_real_disk_survives_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/log");
    let disk = RealDisk::create(&path).unwrap();
    let mut log = GroupCommit::new(block_on(Log::create(disk, LOG_ID, small())).unwrap().log);
    for lsn in 1..=40 {
        log.append(&record(lsn)).unwrap();
        block_on(log.flush()).unwrap();
        if lsn % 10 == 0 {
            block_on(log.checkpoint(Lsn(lsn)).write_all([lsn.to_le_bytes()])).unwrap();
            block_on(log.truncate(Lsn(u64::MAX))).unwrap();
        }
    }
    log.append(&record(41)).unwrap();
    block_on(log.flush()).unwrap();
    drop(log);

    let mut seen = Vec::new();
    let disk = RealDisk::open(&path).unwrap();
    assert!(block_on(verify(&disk)).unwrap().is_sound());
    let opened = open_when_free(&disk, |entry| match entry {
        Entry::Checkpoint { through, record } => assert_eq!(record, through.0.to_le_bytes()),
        Entry::Record { lsn, record: bytes } => {
            assert_eq!(bytes, record(lsn.0));
            seen.push(lsn.0);
        }
    });
    assert_eq!(
        (opened.recovered.last, opened.recovered.checkpoint),
        (Lsn(41), Some(Lsn(40)))
    );
    assert_eq!(opened.log_id, LOG_ID);
    assert_eq!(seen, [41]);
    assert!(!path.join("segment-0000000000000001.log").exists(), "truncated");
    assert!(path.join("spare.log").exists());
}

#[test]
fn a_second_owner_is_refused_and_the_lock_goes_with_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let opened = block_on(Log::create(disk.clone(), LOG_ID, small())).unwrap();
    for other in [disk, RealDisk::open(directory.path()).unwrap()] {
        let refused = block_on(Log::open(other, small(), |_| {}));
        assert!(matches!(refused, Err(WalError::Locked)), "{refused:?}");
    }
    drop(opened);
    open_when_free(&RealDisk::open(directory.path()).unwrap(), |_| {});
}

#[test]
fn a_dropped_operation_is_done_before_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let _ = crate::support::poll_once(disk.write_sync("file", 10, b"first".to_vec()));
    assert_eq!(block_on(disk.read("file", 8, 100)).unwrap(), b"\0\0first");
}

#[test]
fn operations_report_what_the_file_system_says() {
    let directory = tempfile::tempdir().unwrap();
    assert!(RealDisk::open(directory.path().join("missing")).is_err());
    let disk = RealDisk::open(directory.path()).unwrap();
    let missing = block_on(disk.read("missing", 0, 1)).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    assert!(block_on(disk.list()).unwrap().is_empty(), "reading makes no file");

    // More files than stay open.
    for number in 0..30 {
        block_on(disk.write(&format!("file{number}"), 0, vec![number])).unwrap();
    }
    for number in 0..30 {
        block_on(disk.sync(&format!("file{number}"))).unwrap();
        assert_eq!(
            block_on(disk.read(&format!("file{number}"), 0, 9)).unwrap(),
            [number]
        );
    }
    block_on(disk.rename("file1", "file2")).unwrap();
    assert_eq!(block_on(disk.read("file2", 0, 9)).unwrap(), [1]);
    block_on(disk.remove("file2")).unwrap();
    block_on(disk.sync_dir()).unwrap();
    assert_eq!(block_on(disk.list()).unwrap().len(), 28);
    assert_eq!(block_on(disk.len("file3")).unwrap(), 1);
}

#[test]
fn a_real_disk_tells_how_much_room_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    assert!(block_on(disk.available()).is_some_and(|bytes| bytes > 0));
}
