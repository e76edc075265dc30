//! Any crash image recovers a prefix that holds every acknowledged force.

use handfast_wal::{GroupCommit, Log, Lsn, Result};

use crate::mem_disk::{Fault, MemDisk};
use crate::support::{LOG_ID, append_next, block_on, crash_images, open, record, reopen, small};

/// What the workload was told is durable.
#[derive(Default)]
struct Told {
    created: bool,
    durable: Lsn,
    checkpoint: Lsn,
}

/// Commits of several sizes, rotations, checkpoints and truncations.
async fn work(disk: MemDisk, told: &mut Told) -> Result<()> {
    let mut log = GroupCommit::new(Log::create(disk, LOG_ID, small()).await?.log);
    told.created = true;
    for round in 1..=9u64 {
        for _ in 0..round % 4 + 1 {
            append_next(&mut log);
        }
        told.durable = log.flush().await?;
        // Lets the reserve be made, which nobody waits for.
        while let std::task::Poll::Ready(done) = crate::support::poll_once(log.completed()) {
            done?;
        }
        if round % 2 == 0 {
            let through = told.durable;
            let state = through.0.to_le_bytes();
            log.checkpoint(through).write_all([state]).await?;
            told.checkpoint = through;
            log.truncate(Lsn(u64::MAX)).await?;
        }
    }
    Ok(())
}

fn check(image: &MemDisk, told: &Told, operation: u64) {
    let (opened, replayed) = match open(image) {
        Err(handfast_wal::WalError::NotALog) if !told.created => {
            block_on(Log::create(image.clone(), LOG_ID, small())).unwrap();
            return;
        }
        other => other.unwrap_or_else(|error| panic!("power off at {operation}: {error}")),
    };
    let recovered = &opened.recovered;
    let covered = recovered.checkpoint.unwrap_or(Lsn::ZERO);
    assert!(
        recovered.last >= told.durable,
        "power off at {operation}: {} was told",
        told.durable
    );
    assert!(covered >= told.checkpoint, "power off at {operation}");
    if covered > Lsn::ZERO {
        assert_eq!(replayed.checkpoint, [(covered, covered.0.to_le_bytes().to_vec())]);
    }
    assert_eq!(
        replayed.lsns(),
        (covered.0 + 1..=recovered.last.0).collect::<Vec<_>>()
    );
    assert!(
        replayed
            .records
            .iter()
            .all(|(lsn, bytes)| *bytes == record(lsn.0))
    );

    // The log goes on where it ended.
    let last = recovered.last;
    let mut log = GroupCommit::new(opened.log);
    assert_eq!(append_next(&mut log), last.next());
    block_on(log.flush()).unwrap();
    drop(log);
    assert_eq!(reopen(&image.power_loss(|_| false)).0.durable(), last.next());
}

#[test]
fn power_off_at_every_operation_loses_nothing_that_was_told() {
    let whole = MemDisk::new();
    let mut told = Told::default();
    block_on(work(whole.clone(), &mut told)).unwrap();
    let first = whole
        .names()
        .into_iter()
        .find(|name| name.starts_with("segment-"))
        .unwrap();
    assert_ne!(first, "segment-0000000000000001.log", "the workload truncates");
    let mut images = 0;
    for operation in 0..whole.operations() {
        let disk = MemDisk::new();
        disk.fail_at(operation, Fault::PowerOff);
        let mut told = Told::default();
        block_on(work(disk.clone(), &mut told)).unwrap_err();
        for image in crash_images(&disk, 256) {
            check(&image, &told, operation);
            images += 1;
        }
    }
    assert!(images > 2 * whole.operations(), "{images}");
}

#[test]
fn power_off_in_recovery_loses_nothing_either() {
    let whole = MemDisk::new();
    block_on(work(whole.clone(), &mut Told::default())).unwrap();
    for operation in (0..whole.operations()).step_by(3) {
        let disk = MemDisk::new();
        disk.fail_at(operation, Fault::PowerOff);
        let mut told = Told::default();
        block_on(work(disk.clone(), &mut told)).unwrap_err();
        if !told.created {
            continue;
        }
        for image in crash_images(&disk, 4) {
            for operation in 0.. {
                let image = image.power_loss(|_| true);
                image.fail_at(operation, Fault::PowerOff);
                let finished = open(&image).is_ok();
                for again in crash_images(&image, 4) {
                    check(&again, &told, operation);
                }
                if finished {
                    break;
                }
            }
        }
    }
}
