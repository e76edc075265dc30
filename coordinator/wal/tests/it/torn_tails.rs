//! Every torn tail is cut and started on, and every acknowledged record is there.

use handfast_wal::{GroupCommit, Lsn, Options, Tail};

use crate::mem_disk::{Fault, MemDisk};
use crate::support::{
    append_next, block_on, crash_images, create, create_with, open, record, reopen, report, small,
    write_through,
};

/// A log with `durable` records, and a batch of more that was written and not synced, all in one segment.
fn interrupted(durable: u64, batch: u64) -> MemDisk {
    let disk = MemDisk::new();
    let mut log = create_with(
        &disk,
        Options {
            segment_bytes: 16384,
            ..small()
        },
    );
    write_through(&mut log, durable);
    for _ in 0..batch {
        append_next(&mut log);
    }
    disk.fail_at(disk.operations(), Fault::PowerOff);
    block_on(log.flush()).unwrap_err();
    disk
}

fn check(image: &MemDisk, durable: u64, batch: u64) -> GroupCommit<MemDisk> {
    let (opened, replayed) = open(image).unwrap_or_else(|error| panic!("{durable}+{batch}: {error}"));
    let last = opened.recovered.last.0;
    assert!(
        last == durable || last == durable + batch,
        "{durable}+{batch}: recovered {last}"
    );
    assert!(
        opened.recovered.cut.is_none() || last == durable,
        "cut what it kept"
    );
    assert_eq!(replayed.lsns(), (1..=last).collect::<Vec<_>>());
    assert!(
        replayed
            .records
            .iter()
            .all(|(lsn, bytes)| *bytes == record(lsn.0))
    );
    GroupCommit::new(opened.log)
}

#[test]
fn every_subset_of_the_last_batchs_sectors_recovers() {
    for durable in 0..6 {
        for batch in 1..=4 {
            let disk = interrupted(durable, batch);
            assert!(disk.uncertain() >= 1);
            let mut torn = 0;
            for image in crash_images(&disk, 1 << 12) {
                let tail = report(&image).segments.last().unwrap().tail;
                torn += u32::from(matches!(tail, Tail::Torn { .. }));
                let mut log = check(&image, durable, batch);
                // The log goes on, and nothing of the old tail shows through.
                let last = append_next(&mut log);
                block_on(log.flush()).unwrap();
                drop(log);
                let (log, replayed) = reopen(&image.power_loss(|_| false));
                assert_eq!(log.durable(), last);
                assert_eq!(replayed.lsns().len() as u64, last.0);
            }
            if disk.uncertain() > 1 {
                assert!(torn > 0, "{durable}+{batch}: no image was torn");
            }
        }
    }
}

#[test]
fn a_crash_while_the_tail_is_cut_leaves_a_torn_tail() {
    let disk = interrupted(3, 4);
    for image in crash_images(&disk, 1 << 7) {
        for operation in 0.. {
            let image = image.power_loss(|_| true);
            image.fail_at(operation, Fault::PowerOff);
            let finished = open(&image).is_ok();
            for again in crash_images(&image, 24) {
                check(&again, 3, 4);
            }
            if finished {
                break;
            }
        }
    }
}

#[test]
fn records_in_the_page_cache_are_durable_once_the_log_is_open() {
    let disk = interrupted(3, 2).process_death();
    let (log, replayed) = reopen(&disk);
    assert_eq!((log.durable(), replayed.lsns()), (Lsn(5), vec![1, 2, 3, 4, 5]));
    drop(log);
    let (log, _) = reopen(&disk.power_loss(|_| false));
    assert_eq!(log.durable(), Lsn(5));
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_no_torn_tail() {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 1);
    drop(log);
    // A record of nothing but zeros: were its sectors not tagged, a flipped tag could pass for a lost sector.
    for bit in 4096 * 8..5400 * 8 {
        disk.flip_bit("segment-0000000000000001.log", bit);
        assert!(open(&disk).is_err(), "bit {bit}");
        disk.flip_bit("segment-0000000000000001.log", bit);
    }
}
