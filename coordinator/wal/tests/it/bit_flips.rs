//! Every single flipped bit, anywhere in a log, is reported with its file, and the start is refused.
//!
//! Only the spare and the lock file are not covered: they hold nothing.

use handfast_wal::{Lsn, WalError};

use crate::mem_disk::MemDisk;
use crate::support::{block_on, create, open, report, write_through};

/// Two checkpoints, a sealed and an open segment.
fn log() -> MemDisk {
    let disk = MemDisk::new();
    let mut log = create(&disk);
    write_through(&mut log, 6);
    for through in [2, 5] {
        let records = [vec![0; 40], through.to_string().into_bytes()];
        block_on(log.checkpoint(Lsn(through)).write_all(records)).unwrap();
    }
    write_through(&mut log, 9);
    let report = report(&disk);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.segments.len(), 2);
    assert!(report.segments[1].records > 0);
    disk
}

fn covered(disk: &MemDisk) -> Vec<String> {
    disk.names()
        .into_iter()
        .filter(|name| name != "spare.log")
        .collect()
}

#[test]
fn every_flipped_bit_is_reported_and_refused() {
    let disk = log();
    let files = covered(&disk);
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        let content = disk.content(&file);
        let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 64;
        for bit in 0..content.len() * 8 {
            // Where nothing was written, one bit of each byte will do.
            if bit / 8 > used && bit % 8 != bit / 8 % 8 {
                continue;
            }
            disk.flip_bit(&file, bit);
            let report = report(&disk);
            let problem = report
                .problems
                .first()
                .unwrap_or_else(|| panic!("{file} bit {bit} went unnoticed"));
            assert_eq!(problem.file, file, "bit {bit}: {problem}");
            assert!(problem.offset <= bit as u64 / 8, "bit {bit}: {problem}");
            match open(&disk) {
                Err(WalError::Corrupt(refused)) => assert_eq!(&refused, problem),
                other => panic!("{file} bit {bit}: {other:?}"),
            }
            disk.flip_bit(&file, bit);
        }
    }
    assert!(report(&disk).is_sound());
}

#[test]
fn every_length_of_every_file_but_its_own_is_refused() {
    let disk = log();
    for file in covered(&disk) {
        let content = disk.content(&file);
        let shorter = (0..content.len()).step_by(if content.len() > 1000 { 61 } else { 1 });
        for length in shorter.chain([content.len() + 1, content.len() + 512]) {
            disk.edit(&file, |bytes| bytes.resize(length, 0));
            let problems = report(&disk).problems;
            assert_eq!(
                problems.first().map(|problem| &problem.file),
                Some(&file),
                "{file} of {length} bytes"
            );
            disk.edit(&file, |bytes| bytes.clone_from(&content));
        }
    }
}

#[test]
fn a_durable_sector_that_reads_zero_is_refused_unless_it_looks_like_the_last_batch_torn() {
    let disk = log();
    for segment in report(&disk).segments {
        let content = disk.content(&segment.file);
        let last_batch = last_frame(&content, segment.bytes as usize);
        for sector in 0..(segment.bytes as usize).div_ceil(512) {
            let (from, to) = (sector * 512, (sector + 1) * 512);
            // The header block's other sectors were zero before.
            if content[from..to].iter().all(|byte| *byte == 0) {
                continue;
            }
            disk.edit(&segment.file, |bytes| bytes[from..to].fill(0));
            let sound = report(&disk).is_sound();
            let open = !segment.file.ends_with("01.log");
            // A sector that the last batch shares with the one before may go either way.
            assert!(
                !sound || open && to > last_batch,
                "{} sector {sector} went unnoticed",
                segment.file
            );
            assert!(
                sound || !(open && from >= last_batch),
                "{} sector {sector} is a torn tail",
                segment.file
            );
            disk.edit(&segment.file, |bytes| bytes.clone_from(&content));
        }
    }
}

/// Where the last frame of the segment begins.
fn last_frame(content: &[u8], end: usize) -> usize {
    (4096..end)
        .step_by(64)
        .rfind(|at| &content[*at..*at + 4] == b"HFFR")
        .unwrap()
}
