//! The journal of a resource with calls of its own.

use super::*;
use crate::journal::branches::BranchState;
use crate::journal::promises::Promises;
use crate::journal::record::Deviation;
use crate::resource::ScanPhase;

async fn open(disk: &MemDisk) -> Promises<MemDisk> {
    let options = JournalOptions {
        segment_bytes: 16 << 10,
        buffer_bytes: 8 << 10,
        ..JournalOptions::default()
    };
    Promises::open(disk.clone(), options).await.unwrap()
}

fn prepared(number: u32) -> Record {
    Record::Prepared {
        branch: branch(number),
        seen: seen(1),
        operation: Bytes::from_static(b"room"),
    }
}

fn committed(number: u32) -> Record {
    Record::Committed {
        branch: branch(number),
        seen: seen(2),
    }
}

#[tokio::test]
async fn a_marker_that_is_not_durable_is_none_and_a_broken_disk_is_final() {
    let disk = MemDisk::new();
    let mut promises = open(&disk).await;
    assert!(promises.note(prepared(1)).await.unwrap());
    disk.set_broken(true);
    assert!(promises.note(committed(1)).await.is_err());
    disk.set_broken(false);

    // Whoever asks again is told nothing of the branch, whatever the disk does by now.
    for error in [
        promises.find(branch(1)).map(drop).unwrap_err(),
        promises.identity().map(drop).unwrap_err(),
        promises.seen().map(drop).unwrap_err(),
        promises.lines().await.map(drop).unwrap_err(),
        promises.note(committed(1)).await.map(drop).unwrap_err(),
        promises.forget(branch(1)).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("check the disk, then start again"),
            "{error}"
        );
    }
    drop(promises);
    let promises = open(&disk.crash_image()).await;
    let found = promises.find(branch(1)).unwrap();
    assert!(matches!(found, Some(BranchState::Prepared { .. })), "{found:?}");
}

#[tokio::test]
async fn what_is_not_durable_yet_is_not_found() {
    let disk = MemDisk::new();
    let mut promises = open(&disk).await;
    promises.note(prepared(1)).await.unwrap();
    disk.hold_syncs();
    {
        let noting = std::pin::pin!(promises.note(committed(1)));
        assert!(futures_util::poll!(noting).is_pending());
    }
    let found = promises.find(branch(1)).unwrap();
    assert!(matches!(found, Some(BranchState::Prepared { .. })), "{found:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_until_a_scan_finds_space_again() {
    let disk = MemDisk::new();
    let mut promises = open(&disk).await;
    disk.set_full(true);
    let mut number = 0;
    while promises.has_room().is_ok() {
        number += 1;
        assert!(number < 2_000, "the disk is full, and two segments are not");
        assert!(promises.note(prepared(number)).await.unwrap());
    }
    assert_eq!(promises.has_room().unwrap_err().reason, "STORE_FULL");
    assert_eq!(promises.lines().await.unwrap().len(), number as usize);
    assert_eq!(promises.has_room().unwrap_err().reason, "STORE_FULL");
    assert!(promises.note(committed(1)).await.unwrap(), "decisions still fit");
    disk.set_full(false);
    let lines = promises.lines().await.unwrap();
    assert_eq!(promises.has_room(), Ok(()));
    let markers = lines.iter().filter(|line| line.phase == ScanPhase::Committed);
    assert_eq!(markers.count(), 1);
}

fn deviated(number: u32) -> Record {
    Record::Deviated {
        branch: branch(number),
        seen: seen(2),
        deviation: Deviation::UnknownCommit,
        evidence: "no such booking".to_owned(),
    }
}

#[tokio::test]
async fn evidence_outlives_crashes_and_checkpoints_and_goes_on_forget() {
    let disk = MemDisk::new();
    let options = JournalOptions {
        segment_bytes: 16 << 10,
        buffer_bytes: 8 << 10,
        checkpoint_bytes: 1,
        ..JournalOptions::default()
    };
    let mut promises = Promises::open(disk.clone(), options).await.unwrap();
    assert!(!promises.note(deviated(1)).await.unwrap(), "nothing was promised");
    assert!(promises.note(prepared(1)).await.unwrap());
    assert!(promises.note(deviated(1)).await.unwrap());
    assert!(!promises.note(deviated(1)).await.unwrap(), "once");
    assert!(!promises.note(committed(1)).await.unwrap(), "it has ended");
    assert!(promises.note(prepared(2)).await.unwrap());
    drop(promises);

    let disk = disk.crash_image();
    let mut promises = open(&disk).await;
    let found = promises.find(branch(1)).unwrap().cloned();
    assert!(
        matches!(&found, Some(BranchState::Deviated { deviation: Deviation::UnknownCommit, evidence, .. })
            if evidence == "no such booking"),
        "{found:?}"
    );
    assert_eq!(promises.lines().await.unwrap()[0].phase, ScanPhase::Marker);
    promises.forget(branch(1)).unwrap();
    assert!(
        promises.note(committed(2)).await.unwrap(),
        "what was forgotten rides along"
    );
    drop(promises);
    assert!(open(&disk.crash_image()).await.find(branch(1)).unwrap().is_none());
}

#[tokio::test]
async fn a_service_whose_state_is_the_journal_takes_no_deviation() {
    let disk = MemDisk::new();
    let mut promises = open(&disk).await;
    promises.note(prepared(1)).await.unwrap();
    promises.note(deviated(1)).await.unwrap();
    drop(promises);
    let opened = Journal::open(Tally::default(), disk, JournalOptions::default()).await;
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains("otherwise than was decided"), "{error}");
}
