//! The power goes off before every single operation, and every selection of what was not synced is kept (or, of many changes, a
//! few hundred selections). Judged as a reader would: before anybody recovers, and after.

use handfast_proto::ids::StoreId;

use super::lossy::Lossy;
use super::{PREPARED, branch, seen};
use crate::resource::{Completion, Decision, ScanPhase, Vote};
use crate::resources::files::first_failure::FirstFailure;
use crate::resources::files::tree::Tree;
use crate::resources::files::{FilesOperation, FilesOptions, reader};

const PATHS: [&str; 3] = ["a", "sub/b", "other/c"];
/// Selections that are tried of more changes than this has bits for.
const SELECTIONS: u32 = 256;

fn open(disk: &Lossy) -> Tree<Lossy> {
    let options = FilesOptions::new("/");
    Tree::open(disk.clone(), options, StoreId(1), FirstFailure::default()).unwrap()
}

fn write(content: &str) -> FilesOperation {
    PATHS
        .iter()
        .fold(FilesOperation::new(), |files, path| files.replace(*path, content))
}

/// The one content that all paths have; panics if they differ.
fn read(disk: &Lossy, when: &str) -> Option<String> {
    let contents = reader::read(disk, &PATHS).unwrap();
    assert!(
        contents.iter().all(|content| *content == contents[0]),
        "{when}: half of a transaction: {contents:?}"
    );
    contents[0].clone().map(|bytes| String::from_utf8(bytes).unwrap())
}

/// What was said before the power went off.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Said {
    Nothing,
    Voted,
    Finished,
}

/// Transaction 1 is there; transaction 2 is prepared and finished, until the power goes off.
fn transact(disk: &Lossy, decision: Decision, off_after: Option<u32>) -> Said {
    let mut tree = open(disk);
    assert_eq!(tree.prepare(branch(1), &write("one").encode(), seen(1)), PREPARED);
    assert_eq!(
        tree.finish(branch(1), Decision::Commit).unwrap(),
        Completion::Done
    );
    let before = disk.operations();
    if let Some(operations) = off_after {
        disk.power_off_after(operations);
    }
    if tree.prepare(branch(2), &write("two").encode(), seen(2)) != PREPARED {
        return Said::Nothing;
    }
    let finished = tree.finish(branch(2), decision);
    assert!(disk.operations() > before);
    match finished {
        Ok(completion) => {
            assert_eq!(completion, Completion::Done);
            Said::Finished
        }
        Err(_) => Said::Voted,
    }
}

fn fresh() -> Lossy {
    Lossy::new(&["sub", "other"])
}

/// Every moment at which the power can go off.
fn moments(decision: Decision) -> u32 {
    let disk = fresh();
    let mut tree = open(&disk);
    tree.prepare(branch(1), &write("one").encode(), seen(1));
    tree.finish(branch(1), Decision::Commit).unwrap();
    let before = disk.operations();
    tree.prepare(branch(2), &write("two").encode(), seen(2));
    tree.finish(branch(2), decision).unwrap();
    disk.operations() - before
}

fn selections(changes: usize) -> u32 {
    1_u32
        .checked_shl(u32::try_from(changes).unwrap())
        .unwrap_or(SELECTIONS)
        .clamp(1, SELECTIONS)
}

fn every_image(decision: Decision, mut judge: impl FnMut(Said, Lossy, &str)) {
    let mut images = 0;
    for off_after in 0..=moments(decision) {
        let disk = fresh();
        let said = transact(&disk, decision, Some(off_after));
        let changes = disk.unsynced();
        for selection in 0..selections(changes) {
            // A few hundred of them, spread over all that there are, and always none and all.
            let kept = match selection {
                0 => 0,
                1 => u32::MAX,
                other => other.wrapping_mul(0x9E37_79B9) >> 8 | other,
            };
            let when = format!("{decision:?}, off after {off_after}, kept {kept:b} of {changes}, {said:?}");
            judge(said, disk.after_power_loss(kept), &when);
            images += 1;
        }
    }
    assert!(images > 30, "{images} images");
}

#[test]
fn a_commit_is_whole_before_and_after_recovery_whenever_the_power_goes_off() {
    every_image(Decision::Commit, |said, image, when| {
        let at_once = read(&image, when);
        if said == Said::Finished {
            assert_eq!(at_once.as_deref(), Some("two"), "{when}");
        } else {
            assert!(
                matches!(at_once.as_deref(), Some("one" | "two")),
                "{when}: {at_once:?}"
            );
        }
        let mut tree = open(&image);
        assert_eq!(read(&image, when), at_once, "{when}: recovery decides nothing");
        let lines = tree.scan().unwrap();
        let phase = lines
            .iter()
            .find(|line| line.branch == branch(2))
            .map(|line| line.phase);
        match said {
            Said::Nothing => {
                // The coordinator was told no, or nothing: it aborts.
                assert_eq!(
                    tree.finish(branch(2), Decision::Abort).unwrap(),
                    Completion::Done,
                    "{when}"
                );
                assert_eq!(read(&image, when).as_deref(), Some("one"), "{when}");
            }
            Said::Voted | Said::Finished => {
                assert!(phase.is_some(), "{when}: a promise or its marker is there");
                for _ in 0..2 {
                    assert_eq!(
                        tree.finish(branch(2), Decision::Commit).unwrap(),
                        Completion::Done,
                        "{when}"
                    );
                    assert_eq!(read(&image, when).as_deref(), Some("two"), "{when}");
                }
                assert!(tree.seen().contains(&seen(2)), "{when}");
            }
        }
        // And once more, without any overlay: the files themselves.
        let again = open(&image.after_power_loss(0));
        for path in PATHS {
            let content = crate::resources::files::storage::Storage::read(again.storage(), path).unwrap();
            let expected = if said == Said::Nothing { "one" } else { "two" };
            assert_eq!(content.as_deref(), Some(expected.as_bytes()), "{when}: {path}");
        }
    });
}

#[test]
fn an_abort_leaves_what_was_there_whenever_the_power_goes_off() {
    every_image(Decision::Abort, |said, image, when| {
        assert_eq!(read(&image, when).as_deref(), Some("one"), "{when}");
        let mut tree = open(&image);
        let phase = tree
            .scan()
            .unwrap()
            .iter()
            .find(|line| line.branch == branch(2))
            .map(|line| line.phase);
        if said == Said::Finished {
            assert_eq!(phase, Some(ScanPhase::Marker), "{when}: the fence stays");
        }
        assert_eq!(
            tree.finish(branch(2), Decision::Abort).unwrap(),
            Completion::Done,
            "{when}"
        );
        let late = tree.prepare(branch(2), &write("late").encode(), seen(3));
        assert!(matches!(late, Vote::Refused(_)), "{when}: {late:?}");
        assert_eq!(
            tree.prepare(branch(3), &write("three").encode(), seen(3)),
            PREPARED,
            "{when}: the paths are free"
        );
        assert_eq!(
            tree.finish(branch(3), Decision::Commit).unwrap(),
            Completion::Done,
            "{when}"
        );
        assert_eq!(read(&image, when).as_deref(), Some("three"), "{when}");
    });
}

#[test]
fn a_second_power_loss_during_recovery_changes_nothing() {
    for off_after in 0..=moments(Decision::Commit) {
        let disk = fresh();
        let said = transact(&disk, Decision::Commit, Some(off_after));
        let image = disk.after_power_loss(u32::MAX);
        for second in 0..12 {
            let recovering = image.after_power_loss(0);
            let at_once = read(&recovering, "before");
            recovering.power_off_after(second);
            let options = FilesOptions::new("/");
            let _ = Tree::open(recovering.clone(), options, StoreId(1), FirstFailure::default());
            for kept in [0, u32::MAX, 0b1010_1010, 0b0101_0101] {
                let when = format!("off after {off_after}, {said:?}, again after {second}, kept {kept:b}");
                let twice = recovering.after_power_loss(kept);
                assert_eq!(read(&twice, &when), at_once, "{when}");
                open(&twice);
                assert_eq!(read(&twice, &when), at_once, "{when}");
            }
        }
    }
}
