//! Folders that somebody takes away, and a disk that fails to sync: what waits for that, and what must not.

use handfast_proto::ids::StoreId;

use super::lossy::Lossy;
use super::{Folder, PREPARED, branch, prepare, refused, seen, two};
use crate::resource::{Completion, Decision, Resource, ScanPhase, Vote};
use crate::resources::files::first_failure::FirstFailure;
use crate::resources::files::layout::{BRANCHES, OWN, Phase, STAGED, UNFINISHED, branch_file, branch_name};
use crate::resources::files::storage::Storage;
use crate::resources::files::tree::Tree;
use crate::resources::files::{FilesOperation, FilesOptions, FilesResource, reader};

fn open(disk: &Lossy, failure: &FirstFailure) -> Tree<Lossy> {
    Tree::open(disk.clone(), FilesOptions::new("/"), StoreId(1), failure.clone()).unwrap()
}

fn write(path: &str) -> bytes::Bytes {
    FilesOperation::new().replace(path, "content").encode()
}

fn staged(disk: &Lossy) -> usize {
    disk.list(STAGED).unwrap().len()
}

fn reason(vote: Vote) -> String {
    match vote {
        Vote::Refused(refusal) => refusal.reason,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// Every image of a crash in which branch 1 is committed and not noted as in place; branch 2 is prepared.
fn committed_and_not_in_place() -> Vec<Lossy> {
    const MOST_OPERATIONS: u32 = 40;
    let image = |off_after| {
        let disk = Lossy::new(&["sub", "other"]);
        let mut tree = open(&disk, &FirstFailure::default());
        let operation = FilesOperation::new()
            .replace("first", "content")
            .replace("sub/second", "content");
        assert_eq!(tree.prepare(branch(1), &operation.encode(), seen(1)), PREPARED);
        assert_eq!(tree.prepare(branch(2), &write("other/file"), seen(2)), PREPARED);
        disk.power_off_after(off_after);
        let _ = tree.finish(branch(1), Decision::Commit);
        disk.after_power_loss(u32::MAX)
    };
    let is_one = |disk: &Lossy| {
        let is_current = reader::current(disk).unwrap().branch == branch_name(branch(1));
        is_current
            && disk
                .read(&branch_file(branch(1), Phase::Prepared))
                .unwrap()
                .is_some()
    };
    (0..MOST_OPERATIONS).map(image).filter(is_one).collect()
}

#[test]
fn a_committed_branch_whose_folder_is_gone_keeps_neither_aborts_nor_scans_waiting() {
    let images = committed_and_not_in_place();
    assert!(images.len() >= 4, "{} images", images.len());
    for disk in images {
        disk.take_away("sub");
        let failure = FirstFailure::default();
        let mut tree = open(&disk, &failure);
        let lines = tree.scan().unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.phase == ScanPhase::Prepared));
        assert_eq!(tree.finish(branch(2), Decision::Abort).unwrap(), Completion::Done);
        // Another commit waits, or it would take what readers see of the first one.
        assert_eq!(tree.prepare(branch(3), &write("other/file"), seen(3)), PREPARED);
        let error = tree.finish(branch(3), Decision::Commit).unwrap_err();
        assert!(!error.permanent && error.message.contains("sub"), "{error}");
        assert!(tree.finish(branch(1), Decision::Commit).is_err());
        assert_eq!(failure.told(), None, "the disk was never asked");
        disk.clone().make_folder("sub").unwrap();
        for number in [3, 1] {
            assert_eq!(
                tree.finish(branch(number), Decision::Commit).unwrap(),
                Completion::Done
            );
        }
    }
}

#[test]
fn a_failed_sync_of_a_destination_is_final() {
    let disk = Lossy::new(&["sub"]);
    let failure = FirstFailure::default();
    let mut tree = open(&disk, &failure);
    for (number, path) in [(1, "sub/a"), (2, "b")] {
        assert_eq!(tree.prepare(branch(number), &write(path), seen(1)), PREPARED);
    }
    disk.fail_sync(Some("sub"));
    let first = tree.finish(branch(1), Decision::Commit).unwrap_err();
    assert!(first.message.contains("the disk failed"), "{first}");
    // The disk would now say that all is well.
    disk.fail_sync(None);
    let again = tree.finish(branch(1), Decision::Commit).unwrap_err();
    assert_eq!(again.message, first.message);
    assert!(tree.finish(branch(2), Decision::Abort).is_err());
    assert_eq!(
        reason(tree.prepare(branch(3), &write("c"), seen(3))),
        "STORE_FAILED"
    );
    assert_eq!(failure.told(), Some(first.message.as_str()));
}

#[test]
fn a_failed_sync_of_contents_or_of_an_own_file_is_final() {
    for (folder, at_commit) in [(STAGED, false), (BRANCHES, false), (OWN, true)] {
        let disk = Lossy::new(&[]);
        let failure = FirstFailure::default();
        let mut tree = open(&disk, &failure);
        assert_eq!(tree.prepare(branch(1), &write("a"), seen(1)), PREPARED);
        disk.fail_contents(Some(folder));
        if at_commit {
            let error = tree.finish(branch(1), Decision::Commit).unwrap_err();
            assert!(error.message.contains("the disk failed"), "{error}");
        } else {
            let vote = tree.prepare(branch(2), &write("b"), seen(2));
            assert_eq!(reason(vote), "STORE_FAILED", "{folder}");
        }
        // The disk would now say that all is well.
        disk.fail_contents(None);
        let told = failure.told().expect("it is latched").to_owned();
        assert!(
            told.contains("the contents of") && told.contains(folder),
            "{told}"
        );
        for decision in [Decision::Commit, Decision::Abort] {
            assert_eq!(tree.finish(branch(1), decision).unwrap_err().message, told);
        }
        assert_eq!(
            reason(tree.prepare(branch(3), &write("c"), seen(3))),
            "STORE_FAILED"
        );
    }
}

#[test]
fn what_cannot_be_renamed_into_place_is_never_promised() {
    let disk = Lossy::new(&["sub"]);
    let mut tree = open(&disk, &FirstFailure::default());
    disk.mount("sub");
    assert_eq!(
        reason(tree.prepare(branch(1), &write("sub/a"), seen(1))),
        "DIFFERENT_FILE_SYSTEM"
    );
    assert_eq!(tree.prepare(branch(2), &write("a"), seen(2)), PREPARED);
    for folder in [OWN, BRANCHES, STAGED] {
        let disk = Lossy::new(&[]);
        drop(open(&disk, &FirstFailure::default()));
        disk.mount(folder);
        let options = FilesOptions::new("/");
        let opened = Tree::open(disk, options, StoreId(1), FirstFailure::default());
        let error = opened.expect_err("it is refused");
        assert!(
            error.permanent && error.message.contains("another file system"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_link_in_place_of_an_own_folder_is_refused_and_found_by_a_check() {
    for own in [OWN, BRANCHES, STAGED] {
        let (folder, elsewhere) = (Folder::new(), tempfile::tempdir().unwrap());
        drop(folder.open().await);
        let path = folder.0.path().join(own);
        std::fs::remove_dir_all(&path).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
        let resource = FilesResource::new(FilesOptions::new(folder.0.path()));
        let findings = resource.check().await;
        let found = findings.iter().find(|finding| finding.what == "file system");
        assert!(found.unwrap().is_broken(), "{findings:?}");
        let error = resource.open().await.unwrap_err();
        assert!(error.permanent && error.message.contains("a link"), "{error}");
        let left = std::fs::read_dir(elsewhere.path()).unwrap().count();
        assert_eq!(left, 0, "nothing is made where the link leads");
    }
}

#[test]
fn contents_stay_where_a_failed_sync_may_have_left_the_promise() {
    for folder in [BRANCHES, STAGED] {
        let disk = Lossy::new(&[]);
        let mut tree = open(&disk, &FirstFailure::default());
        disk.fail_sync(Some(folder));
        assert_eq!(
            reason(tree.prepare(branch(1), &write("a"), seen(1))),
            "STORE_FAILED"
        );
        assert_eq!(staged(&disk), 1, "{folder}");
    }
}

#[tokio::test]
async fn contents_go_if_the_promise_cannot_be_written() {
    let folder = Folder::new();
    let resource = folder.open().await;
    let promise = branch_file(branch(1), Phase::Prepared);
    let in_the_way = folder.0.path().join(format!("{promise}{UNFINISHED}"));
    std::fs::create_dir(&in_the_way).unwrap();
    let refusal = refused(&resource, 1, two("a", "1")).await;
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable, folder.staged()),
        ("STORE_FAILED", true, 0)
    );
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
}

#[tokio::test]
async fn a_failed_sync_outlives_every_session_of_the_process() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(resource.failure(), None);
    // A real disk cannot be told to fail, so one that can is opened under the same latch.
    let mut failing = Lossy::new(&[]);
    drop(open(&failing, &FirstFailure::default()));
    failing.fail_sync(Some(BRANCHES));
    let opened = Tree::open(
        failing.clone(),
        FilesOptions::new("/"),
        StoreId(1),
        resource.failure.clone(),
    );
    let first = opened.expect_err("a disk that does not sync is not opened");
    assert!(first.message.contains("syncing the folder"), "{first}");
    failing.fail_sync(None);
    failing.sync_folder(BRANCHES).unwrap();
    let refusal = refused(&resource, 1, two("a", "1")).await;
    assert_eq!(
        (refusal.reason.as_str(), &refusal.message),
        ("STORE_FAILED", &first.message)
    );
    let again = resource.open().await.unwrap_err();
    assert_eq!((again.permanent, &again.message), (true, &first.message));
    assert_eq!(resource.failure().as_ref(), Some(&first.message));
    assert!(
        resource.clone().open().await.is_err(),
        "another handle is no other process"
    );
    // As a new process would.
    drop(resource);
    let new = FilesResource::new(FilesOptions::new(folder.0.path()));
    new.open().await.unwrap();
    assert_eq!(prepare(&new, 1, two("a", "1")).await, PREPARED);
}
