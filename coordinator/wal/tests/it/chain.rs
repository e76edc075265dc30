//! Segments form a chain, and a broken one is refused with the name of what is missing.

use handfast_wal::{FORMAT_VERSION, Fault, Log, Lsn, Problem, Tail, WalError};

use crate::mem_disk::MemDisk;
use crate::support::{
    LOG_ID, append_next, block_on, create, open, record, reopen, report, small, write_through,
};

fn name(first: u64) -> String {
    format!("segment-{first:016x}.log")
}

/// At least three segments; their first LSNs.
fn log() -> (MemDisk, Vec<u64>) {
    let disk = MemDisk::new();
    write_through(&mut create(&disk), 16);
    let firsts: Vec<u64> = report(&disk)
        .segments
        .iter()
        .map(|segment| segment.first.0)
        .collect();
    assert!(firsts.len() >= 3, "{firsts:?}");
    (disk, firsts)
}

fn refused(disk: &MemDisk) -> Problem {
    match open(disk) {
        Err(WalError::Corrupt(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

fn missing(first: u64) -> Problem {
    Problem {
        file: name(first),
        offset: 0,
        fault: Fault::SegmentMissing { first: Lsn(first) },
    }
}

#[test]
fn rotation_seals_every_segment_but_the_last() {
    let (disk, _) = log();
    let report = report(&disk);
    assert!(report.is_sound());
    let (last, sealed) = report.segments.split_last().unwrap();
    assert!(sealed.iter().all(|segment| segment.tail == Tail::Sealed));
    assert_eq!(last.tail, Tail::Open);
    assert_eq!(report.last(), Lsn(16));
    assert_eq!(
        report.segments.iter().map(|segment| segment.records).sum::<u64>(),
        16
    );
    let (_, replayed) = reopen(&disk);
    assert_eq!(replayed.lsns(), (1..=16).collect::<Vec<_>>());
    assert!(
        replayed
            .records
            .iter()
            .all(|(lsn, bytes)| *bytes == record(lsn.0))
    );
}

#[test]
fn positions_go_on_after_every_restart() {
    let disk = MemDisk::new();
    drop(create(&disk));
    for last in 1..=20 {
        let (mut log, replayed) = reopen(&disk);
        assert_eq!(replayed.lsns(), (1..last).collect::<Vec<_>>());
        assert_eq!(append_next(&mut log), Lsn(last));
        block_on(log.flush()).unwrap();
    }
}

#[test]
fn a_missing_segment_is_named_whichever_it_is() {
    let count = log().1.len();
    for index in 0..count {
        let (disk, firsts) = log();
        disk.delete(&name(firsts[index]));
        assert_eq!(refused(&disk), missing(firsts[index]));
    }
}

#[test]
fn no_segment_at_all_is_refused() {
    let (disk, firsts) = log();
    firsts.iter().for_each(|first| disk.delete(&name(*first)));
    assert_eq!(refused(&disk), missing(1));
}

#[test]
fn a_sealed_segment_without_its_seal_is_refused() {
    let (disk, firsts) = log();
    let sealed = report(&disk).segments[0].clone();
    let seal = sealed.bytes as usize - 64;
    disk.edit(&name(firsts[0]), |bytes| bytes[seal..].fill(0));
    let problem = refused(&disk);
    assert_eq!((problem.offset, problem.fault), (seal as u64, Fault::NotSealed));
}

#[test]
fn a_crash_between_the_next_segment_and_the_seal_is_repaired() {
    let (disk, firsts) = log();
    let before_last = firsts[firsts.len() - 2];
    let report_before = report(&disk);
    let seal = report_before.segments[firsts.len() - 2].bytes as usize - 64;
    disk.edit(&name(before_last), |bytes| bytes[seal..].fill(0));
    disk.edit(&name(firsts[firsts.len() - 1]), |bytes| bytes[4096..].fill(0));
    let (log, _) = reopen(&disk);
    assert_eq!(log.durable().0, firsts[firsts.len() - 1] - 1);
    drop(log);
    assert_eq!(report(&disk).segments[firsts.len() - 2].tail, Tail::Sealed);
}

#[test]
fn a_segment_of_another_log_or_under_another_name_is_refused() {
    let (disk, firsts) = log();
    let other = MemDisk::new();
    let opened = block_on(Log::create(other.clone(), *b"some other log's", small())).unwrap();
    drop(opened);
    disk.put(&name(1), other.content(&name(1)));
    assert_eq!(refused(&disk).fault, Fault::SegmentHeaderDamaged);

    let (disk, _) = log();
    disk.put(&name(firsts[1]), disk.content(&name(firsts[2])));
    let problem = refused(&disk);
    assert_eq!(
        (problem.file, problem.fault),
        (name(firsts[1]), Fault::SegmentHeaderDamaged)
    );
}

#[test]
fn frames_of_another_segment_do_not_check_out() {
    let (disk, firsts) = log();
    let donor = disk.content(&name(firsts[0]));
    disk.edit(&name(firsts[1]), |bytes| {
        bytes[4096..].copy_from_slice(&donor[4096..])
    });
    let problem = refused(&disk);
    assert_eq!(
        (problem.file, problem.offset, problem.fault),
        (name(firsts[1]), 4096, Fault::FrameHeaderDamaged)
    );
}

#[test]
fn a_lost_identity_is_refused_and_never_replaced() {
    let (disk, _) = log();
    disk.delete("LOG");
    assert_eq!(refused(&disk).fault, Fault::IdentityMissing);
    let again = block_on(Log::create(disk.clone(), LOG_ID, small()));
    assert!(
        matches!(
            again,
            Err(WalError::Corrupt(Problem {
                fault: Fault::IdentityMissing,
                ..
            }))
        ),
        "{again:?}"
    );
}

#[test]
fn an_empty_directory_is_no_log_and_a_log_is_not_created_twice() {
    let disk = MemDisk::new();
    disk.put("notes.txt", b"not the log's business".to_vec());
    assert!(matches!(open(&disk), Err(WalError::NotALog)));
    assert_eq!(disk.names(), ["notes.txt"], "opening leaves nothing behind");
    drop(create(&disk));
    assert!(matches!(
        block_on(Log::create(disk.clone(), LOG_ID, small())),
        Err(WalError::AlreadyALog)
    ));
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let disk = MemDisk::new();
    let log = create(&disk);
    assert!(matches!(open(&disk), Err(WalError::Locked)));
    assert!(report(&disk).is_sound(), "verifying needs no lock");
    drop(log);
    assert!(open(&disk).is_ok());
}

#[test]
fn another_format_version_is_named_and_refused() {
    for (file, crc_of_log_id) in [("LOG".to_owned(), false), (name(1), true)] {
        let (disk, _) = log();
        disk.edit(&file, |bytes| {
            bytes[8..12].copy_from_slice(&7u32.to_le_bytes());
            let seed = if crc_of_log_id { crc32c::crc32c(&LOG_ID) } else { 0 };
            let crc = crc32c::crc32c_append(seed, &bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        });
        let refused = open(&disk).map(|_| ());
        assert!(
            matches!(&refused, Err(WalError::UnknownVersion { found: 7, supported: FORMAT_VERSION, file: named }) if *named == file),
            "{refused:?}"
        );
    }
}

#[test]
fn every_error_says_where_and_what_to_do() {
    let (disk, firsts) = log();
    disk.flip_bit(&name(firsts[1]), 4096 * 8);
    let error = open(&disk).unwrap_err().to_string();
    let expected = format!(
        "{} at byte 4096: the frame header is damaged; the medium changed what was written: copy the directory, check \
         the disk, and restore this file from a copy; do not edit it",
        name(firsts[1])
    );
    assert_eq!(error, expected);
}
