//! Checkpoints: whatever happens while one is written, an earlier one serves.

use std::task::Poll;

use handfast_wal::{Fault as Damage, GroupCommit, Log, Lsn, Options, Space, WalError, visit};

use crate::mem_disk::{Fault, MemDisk};
use crate::support::{
    Replayed, append_next, block_on, crash_images, create, open, poll_once, reopen, report, small,
    write_through,
};

fn checkpoint(log: &GroupCommit<MemDisk>, through: u64) -> handfast_wal::Result<handfast_wal::Checkpoint> {
    block_on(log.checkpoint(Lsn(through)).write_all([
        through.to_le_bytes().to_vec(),
        Vec::new(),
        vec![0; 900],
    ]))
}

fn name(through: u64) -> String {
    format!("checkpoint-{through:016x}.ckp")
}

fn files(disk: &MemDisk) -> Vec<String> {
    disk.names()
        .into_iter()
        .filter(|name| name.starts_with("checkpoint-"))
        .collect()
}

#[test]
fn replay_begins_with_the_newest_checkpoint() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 5);
    for through in [1, 3, 4] {
        let written = checkpoint(&log, through).unwrap();
        assert_eq!((written.through, written.records), (Lsn(through), 3));
        assert_eq!(written.bytes, disk.content(&name(through)).len() as u64);
    }
    drop(log);
    assert_eq!(files(&disk), [name(3), name(4)], "the newest two are kept");
    let (_, replayed) = reopen(&disk);
    assert_eq!(replayed.lsns(), [5]);
    let expected = [4u64.to_le_bytes().to_vec(), Vec::new(), vec![0; 900]];
    assert!(
        replayed
            .checkpoint
            .into_iter()
            .eq(expected.map(|record| (Lsn(4), record)))
    );

    let mut everything = Replayed::default();
    assert!(
        block_on(visit(&disk, |entry| everything.take(entry)))
            .unwrap()
            .is_sound()
    );
    assert_eq!(
        (everything.checkpoint.len(), everything.lsns()),
        (3, vec![1, 2, 3, 4, 5])
    );
}

#[test]
fn a_checkpoint_of_many_chunks_reads_back() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 1);
    let records: Vec<Vec<u8>> = (0..3000u32)
        .map(|index| index.to_le_bytes().repeat(1 + index as usize % 90))
        .collect();
    let written = block_on(log.checkpoint(Lsn(1)).write_all(&records)).unwrap();
    assert!(written.bytes > 2 * (256 << 10));
    drop(log);
    let (_, replayed) = reopen(&disk);
    assert!(
        replayed
            .checkpoint
            .into_iter()
            .map(|(_, record)| record)
            .eq(records)
    );
}

#[test]
fn a_crash_at_every_step_leaves_the_earlier_checkpoint_or_the_new_one() {
    for operation in 0.. {
        let disk = MemDisk::new();
        let mut log = create(&disk);
        write_through(&mut log, 4);
        checkpoint(&log, 2).unwrap();
        checkpoint(&log, 3).unwrap();
        disk.fail_at(disk.operations() + operation, Fault::PowerOff);
        let finished = checkpoint(&log, 4).is_ok();
        for image in crash_images(&disk, 256) {
            let (opened, replayed) = open(&image).unwrap();
            let through = opened.recovered.checkpoint.unwrap().0;
            assert!(
                through == 4 || (through == 3 && !finished),
                "operation {operation}: {through}"
            );
            assert_eq!(replayed.checkpoint.len(), 3);
            assert_eq!(replayed.lsns(), (through + 1..=4).collect::<Vec<_>>());
            assert!(
                files(&image).iter().all(|name| name.ends_with(".ckp")),
                "what was unfinished is removed"
            );
        }
        if finished {
            assert!(operation > 3);
            break;
        }
    }
}

/// 1. The checkpoint is written and renamed.
/// 2. The directory is not synced.
/// 3. Power loss takes the new name.
#[test]
fn a_lost_rename_leaves_the_earlier_checkpoint_and_every_segment_that_it_needs() {
    let mut lost = 0;
    for operation in 0.. {
        let disk = MemDisk::new();
        let mut log = create(&disk);
        write_through(&mut log, 15);
        checkpoint(&log, 6).unwrap();
        checkpoint(&log, 8).unwrap();
        disk.fail_at(disk.operations() + operation, Fault::PowerOff);
        let told = checkpoint(&log, 15).and_then(|_| block_on(log.truncate(Lsn(u64::MAX))));
        let image = disk.power_loss(|_| false);
        let (opened, replayed) = open(&image).unwrap();
        let through = opened.recovered.checkpoint.unwrap();
        assert_eq!(replayed.lsns(), (through.0 + 1..=15).collect::<Vec<_>>());
        lost += u32::from(through == Lsn(8));
        if told.is_ok() {
            break;
        }
    }
    assert!(lost > 0);
}

#[test]
fn truncation_stops_at_the_older_checkpoint_and_at_what_is_retained() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 25);
    let firsts: Vec<Lsn> = report(&disk)
        .segments
        .iter()
        .map(|segment| segment.first)
        .collect();
    assert!(firsts.len() >= 4, "{firsts:?}");
    let truncate = |log: &GroupCommit<MemDisk>, retain_from| block_on(log.truncate(retain_from)).unwrap();

    assert_eq!(truncate(&log, Lsn(u64::MAX)).segments, 0, "no checkpoint");
    checkpoint(&log, 25).unwrap();
    assert_eq!(truncate(&log, Lsn(u64::MAX)).segments, 0, "only one checkpoint");
    // Through just before the end of the second segment: only the first one is covered.
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 25);
    checkpoint(&log, firsts[2].0 - 2).unwrap();
    checkpoint(&log, 25).unwrap();
    assert_eq!(truncate(&log, Lsn(firsts[1].0 - 1)).segments, 0, "retained");
    let truncated = truncate(&log, Lsn(u64::MAX));
    assert_eq!((truncated.segments, truncated.first), (1, firsts[1]));
    checkpoint(&log, 25).unwrap();
    drop(log);
    assert!(report(&disk).is_sound());
    assert_eq!(reopen(&disk).1.lsns(), Vec::<u64>::new());
}

#[test]
fn segments_that_are_covered_become_the_next_spares() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 60);
    checkpoint(&log, 59).unwrap();
    checkpoint(&log, 60).unwrap();
    let retired = |disk: &MemDisk| {
        let names = disk.names();
        names.iter().filter(|name| name.starts_with("retired-")).count()
    };
    let truncated = block_on(log.truncate(Lsn(u64::MAX))).unwrap();
    assert!(truncated.segments > 4);
    assert_eq!(retired(&disk), 4, "more are of no use");

    // The log rotates although the disk is full: what it needs, it has.
    disk.set_capacity(Some(disk.used()));
    let before = report(&disk).segments.len();
    write_through(&mut log, 80);
    assert!(report(&disk).segments.len() > before + 1);
    assert!(retired(&disk) < 4);
    assert_eq!(log.space(), Space::Reserved);
    drop(log);
    let (log, replayed) = reopen(&disk.power_loss(|_| false));
    assert_eq!(replayed.lsns(), (61..=80).collect::<Vec<_>>());
    drop(log);
    assert_eq!(retired(&disk.power_loss(|_| true)), retired(&disk));
}

#[test]
fn a_segment_of_another_length_is_removed_and_not_kept() {
    let disk = MemDisk::new();
    drop(create(&disk));
    let larger = Options {
        segment_bytes: 16_384,
        ..small()
    };
    let mut log = GroupCommit::new(block_on(Log::open(disk.clone(), larger, |_| {})).unwrap().log);
    write_through(&mut log, 60);
    checkpoint(&log, 59).unwrap();
    checkpoint(&log, 60).unwrap();
    assert!(block_on(log.truncate(Lsn(u64::MAX))).unwrap().segments > 1);
    let names = disk.names();
    // The first one was made before, and so was the spare that became the second.
    assert!(!names.contains(&"retired-0000000000000001.tmp".to_owned()));
    let retired: Vec<_> = names.iter().filter(|name| name.starts_with("retired-")).collect();
    assert!(!retired.is_empty());
    assert!(retired.iter().all(|name| disk.content(name).len() == 16_384));
}

#[test]
fn a_checkpoint_that_finds_the_disk_full_gets_the_space_of_what_is_retired() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 60);
    checkpoint(&log, 59).unwrap();
    checkpoint(&log, 60).unwrap();
    block_on(log.truncate(Lsn(u64::MAX))).unwrap();
    disk.set_capacity(Some(disk.used()));
    let full = checkpoint(&log, 60).unwrap_err();
    assert!(matches!(full, WalError::OutOfSpace { .. }), "{full}");
    assert!(!disk.names().iter().any(|name| name.starts_with("retired-")));
    checkpoint(&log, 60).unwrap();
}

/// A log with two checkpoints that has just rotated. Its disk stalls at this operation.
fn rotated(stall_at: u64) -> (MemDisk, GroupCommit<MemDisk>) {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 25);
    checkpoint(&log, 24).unwrap();
    checkpoint(&log, 25).unwrap();
    disk.fail_at(stall_at, Fault::Stalls);
    let segments = |disk: &MemDisk| {
        let names = disk.names();
        names.iter().filter(|name| name.starts_with("segment-")).count()
    };
    let before = segments(&disk);
    while segments(&disk) == before {
        append_next(&mut log);
        block_on(log.flush()).unwrap();
    }
    (disk, log)
}

#[test]
fn a_retired_segment_is_written_over_only_once_the_log_has_lost_it_for_certain() {
    // To make a spare of nothing takes five operations.
    let begins = rotated(u64::MAX).0.operations() - 5;
    for steps in 0.. {
        let (disk, mut log) = rotated(begins);
        assert!(
            !disk.names().contains(&"spare.log".to_owned()),
            "it is being made"
        );
        disk.resume();
        // Meanwhile a truncation is given up between the new name of the first segment and the sync of the directory.
        disk.fail_at(disk.operations() + 4, Fault::Stalls);
        assert!(poll_once(log.truncate(Lsn(u64::MAX))).is_pending());
        disk.resume();
        assert!(disk.names().contains(&"retired-0000000000000001.tmp".to_owned()));

        disk.fail_at(disk.operations() + steps, Fault::PowerOff);
        while let Poll::Ready(Ok(_)) = poll_once(log.completed()) {}
        for image in crash_images(&disk, 64) {
            let opened = open(&image).unwrap_or_else(|error| panic!("power off after {steps}: {error}"));
            assert_eq!(opened.0.recovered.last, log.durable());
        }
        if disk.names().contains(&"spare.log".to_owned()) {
            assert!(steps >= 6, "it was made of the segment in {steps} steps");
            return;
        }
    }
}

#[test]
fn a_damaged_newest_checkpoint_refuses_and_the_earlier_one_serves_without_it() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 15);
    checkpoint(&log, 9).unwrap();
    checkpoint(&log, 14).unwrap();
    block_on(log.truncate(Lsn(u64::MAX))).unwrap();
    drop(log);
    disk.flip_bit(&name(14), 1000);
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, WalError::Corrupt(problem) if problem.fault == Damage::CheckpointDamaged),
        "{error}"
    );
    assert!(error.to_string().contains("moving it away is safe"), "{error}");
    disk.delete(&name(14));
    let (_, replayed) = reopen(&disk);
    assert_eq!(replayed.lsns(), (10..=15).collect::<Vec<_>>());
}

#[test]
fn an_older_copy_of_the_segments_under_a_newer_checkpoint_is_refused() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    let old = disk.content("segment-0000000000000001.log");
    write_through(&mut log, 3);
    checkpoint(&log, 3).unwrap();
    drop(log);
    disk.put("segment-0000000000000001.log", old);
    let error = open(&disk).unwrap_err();
    let ahead = Damage::CheckpointAhead {
        through: Lsn(3),
        last: Lsn(2),
    };
    assert!(
        matches!(&error, WalError::Corrupt(problem) if problem.fault == ahead),
        "{error}"
    );
}

#[test]
fn commits_go_on_between_the_chunks_of_a_checkpoint() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    let mut writer = log.checkpoint(Lsn(2));
    for chunk in 0..4 {
        block_on(writer.add(&vec![chunk; 300 << 10])).unwrap();
        append_next(&mut log);
        block_on(log.flush()).unwrap();
    }
    block_on(writer.finish()).unwrap();
    drop(log);
    let (_, replayed) = reopen(&disk);
    assert_eq!(
        (replayed.checkpoint.len(), replayed.lsns()),
        (4, vec![3, 4, 5, 6])
    );
}

#[test]
fn an_abandoned_checkpoint_counts_for_nothing() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    let mut writer = log.checkpoint(Lsn(2));
    block_on(writer.add(&vec![1; 300 << 10])).unwrap();
    drop(writer);
    assert_eq!(report(&disk).leftovers.len(), 1);
    checkpoint(&log, 2).unwrap();
    drop(log);
    assert_eq!(files(&disk), [name(2)]);
    assert_eq!(reopen(&disk).1.checkpoint.len(), 3);
}

#[test]
#[should_panic(expected = "a checkpoint through 3, and durable is 2")]
fn a_checkpoint_ahead_of_the_log_is_a_bug_of_the_caller() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 2);
    append_next(&mut log);
    let _ = log.checkpoint(Lsn(3));
}
