//! The rules on a real folder; what a power loss leaves is in `power_loss`, on a file system that loses all it may.

mod broken;
mod losses;
mod lossy;
mod power_loss;

use std::time::Duration;

use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};

use super::{FilesOperation, FilesOptions, FilesReader, FilesResource};
use crate::resource::{BranchKey, Completion, Decision, Refusal, Resource, ScanPhase, SeenLog, Vote, Work};

const LIMIT: Duration = Duration::from_secs(20);
pub(super) const PREPARED: Vote = Vote::Prepared { prepared_for: None };

pub(super) fn branch(number: u32) -> BranchKey {
    BranchKey {
        log: LogId(7),
        transaction: TransactionId::new(1_000, Partition(0), Epoch(1), number),
        branch: BranchId(0),
    }
}

pub(super) fn seen(lsn: u64) -> SeenLog {
    SeenLog {
        log: LogId(7),
        epoch: Epoch(1),
        lsn,
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        Folder(folder)
    }

    async fn open(&self) -> FilesResource {
        let resource = FilesResource::new(FilesOptions::new(self.0.path()));
        resource.open().await.unwrap();
        resource
    }

    fn read(&self, path: &str) -> Option<String> {
        let read = FilesReader::new(self.0.path()).read(&[path]).unwrap().remove(0);
        read.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn staged(&self) -> usize {
        std::fs::read_dir(self.0.path().join(".handfast/staged"))
            .unwrap()
            .count()
    }
}

async fn prepare(resource: &FilesResource, number: u32, operation: FilesOperation) -> Vote {
    resource
        .prepare(
            branch(number),
            Work::Operation(operation.encode()),
            seen(u64::from(number)),
            LIMIT,
        )
        .await
        .unwrap()
}

async fn refused(resource: &FilesResource, number: u32, operation: FilesOperation) -> Refusal {
    match prepare(resource, number, operation).await {
        Vote::Refused(refusal) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}

fn two(first: &str, second: &str) -> FilesOperation {
    FilesOperation::new()
        .create("invoice.txt", first)
        .replace("sub/total.txt", second)
}

async fn finish(resource: &FilesResource, number: u32, decision: Decision) -> Completion {
    resource.finish(branch(number), decision).await.unwrap()
}

#[tokio::test]
async fn files_are_invisible_until_the_commit_and_then_all_there_once() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    assert_eq!(
        prepare(&resource, 1, two("a", "1")).await,
        PREPARED,
        "the same vote again"
    );
    assert_eq!(
        (folder.read("invoice.txt"), folder.read("sub/total.txt")),
        (None, None)
    );
    for _ in 0..2 {
        assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
        assert_eq!(folder.read("invoice.txt").as_deref(), Some("a"));
        assert_eq!(folder.read("sub/total.txt").as_deref(), Some("1"));
    }
    let plain = std::fs::read_to_string(folder.0.path().join("sub/total.txt")).unwrap();
    assert_eq!((plain.as_str(), folder.staged()), ("1", 0));
    let late = refused(&resource, 1, two("a", "1")).await;
    assert_eq!((late.reason.as_str(), late.retryable), ("BRANCH_ENDED", false));
}

#[tokio::test]
async fn an_abort_leaves_nothing_and_keeps_late_work_out() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    for number in [1, 2] {
        for _ in 0..2 {
            assert_eq!(finish(&resource, number, Decision::Abort).await, Completion::Done);
        }
        assert_eq!(
            refused(&resource, number, two("a", "1")).await.reason,
            "BRANCH_ENDED"
        );
    }
    assert_eq!((folder.read("invoice.txt"), folder.staged()), (None, 0));
}

#[tokio::test]
async fn absence_and_the_other_end_are_told() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert!(matches!(
        finish(&resource, 1, Decision::Commit).await,
        Completion::Hazard(_)
    ));
    assert_eq!(finish(&resource, 2, Decision::Abort).await, Completion::Done);
    assert!(matches!(
        finish(&resource, 2, Decision::Commit).await,
        Completion::Contrary(_)
    ));
    assert_eq!(prepare(&resource, 3, two("a", "1")).await, PREPARED);
    assert_eq!(finish(&resource, 3, Decision::Commit).await, Completion::Done);
    assert!(matches!(
        finish(&resource, 3, Decision::Abort).await,
        Completion::Contrary(_)
    ));

    // What was promised is taken away by hand: nothing was committed yet, and it is told.
    let other = FilesOperation::new().replace("other.txt", "b");
    assert_eq!(prepare(&resource, 4, other).await, PREPARED);
    for entry in std::fs::read_dir(folder.0.path().join(".handfast/staged")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(matches!(
        finish(&resource, 4, Decision::Commit).await,
        Completion::Hazard(_)
    ));
}

#[tokio::test]
async fn paths_that_lead_out_and_works_that_are_too_much_are_refused() {
    let folder = Folder::new();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.0.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), folder.0.path().join("x")).unwrap();
    std::fs::write(folder.0.path().join("there.txt"), "old").unwrap();
    let resource = folder.open().await;
    let write = |path: &str| FilesOperation::new().replace(path, "b");
    for (path, reason) in [
        ("../x", "PATH_NOT_ALLOWED"),
        ("sub/../../x", "PATH_NOT_ALLOWED"),
        ("/etc/passwd", "PATH_NOT_ALLOWED"),
        ("sub//x", "PATH_NOT_ALLOWED"),
        ("./x", "PATH_NOT_ALLOWED"),
        ("", "PATH_NOT_ALLOWED"),
        ("a\nb", "PATH_NOT_ALLOWED"),
        (".handfast/CURRENT", "PATH_NOT_ALLOWED"),
        ("link/x", "PATH_NOT_ALLOWED"),
        ("there.txt/x", "PATH_NOT_ALLOWED"),
        ("x", "NOT_A_FILE"),
        ("sub", "NOT_A_FILE"),
        ("nowhere/x", "NO_SUCH_FOLDER"),
    ] {
        let refusal = refused(&resource, 1, write(path)).await;
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            (reason, false),
            "{path}: {}",
            refusal.message
        );
    }
    let exists = refused(&resource, 1, FilesOperation::new().create("there.txt", "b")).await;
    assert_eq!(exists.reason, "FILE_EXISTS");
    let many = (0..65).fold(FilesOperation::new(), |files, n| {
        files.create(format!("f{n}"), "b")
    });
    assert_eq!(refused(&resource, 1, many).await.reason, "TOO_MANY_FILES");
    let large = FilesOperation::new().create("large", vec![0; (8 << 20) + 1]);
    assert_eq!(refused(&resource, 1, large).await.reason, "TOO_LARGE");
    for operation in [
        "{}",
        "{\"handfast_files\":2,\"files\":[]}",
        "{\"handfast_files\":1,\"files\":[{\"path\":\"a\",\"mode\":\"create\"}]}",
        "{\"handfast_files\":1,\"files\":[{\"path\":\"a\",\"mode\":\"append\",\"text\":\"\"}]}",
        "{\"handfast_files\":1,\"files\":[{\"path\":\"a\",\"mode\":\"create\",\"base64\":\"?\"}]}",
    ] {
        let vote = resource
            .prepare(branch(1), Work::Operation(operation.into()), seen(1), LIMIT)
            .await
            .unwrap();
        assert!(
            matches!(&vote, Vote::Refused(refusal) if refusal.reason == "MALFORMED_OPERATION"),
            "{operation}: {vote:?}"
        );
    }
    let twice = FilesOperation::new().create("a", "1").create("a", "2");
    assert_eq!(refused(&resource, 1, twice).await.reason, "MALFORMED_OPERATION");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(folder.staged(), 0);
    assert_eq!(prepare(&resource, 1, FilesOperation::new()).await, Vote::ReadOnly);
}

#[tokio::test]
async fn a_promised_path_is_promised_once_and_free_again_after_the_decision() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    let second = refused(&resource, 2, FilesOperation::new().replace("sub/total.txt", "2")).await;
    assert_eq!(
        (second.reason.as_str(), second.retryable),
        ("PATH_PROMISED", true)
    );
    finish(&resource, 1, Decision::Commit).await;
    let third = FilesOperation::new().replace("sub/total.txt", vec![0, 159, 146, 150]);
    assert_eq!(prepare(&resource, 3, third).await, PREPARED);
    finish(&resource, 3, Decision::Commit).await;
    assert_eq!(
        std::fs::read(folder.0.path().join("sub/total.txt")).unwrap(),
        [0, 159, 146, 150]
    );
}

#[tokio::test]
async fn a_commit_waits_for_what_stands_in_its_way_and_loses_nothing() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    // Somebody else makes the file that was promised to be created.
    let taken = folder.0.path().join("invoice.txt");
    std::fs::write(&taken, "somebody else's").unwrap();
    let error = resource.finish(branch(1), Decision::Commit).await.unwrap_err();
    assert!(
        !error.permanent && error.message.contains("move it away"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "somebody else's");
    assert_eq!(folder.read("sub/total.txt"), None, "nothing of it is seen yet");
    std::fs::remove_file(&taken).unwrap();
    // A folder on the way becomes a link after the promise.
    let (sub, away) = (folder.0.path().join("sub"), folder.0.path().join("away"));
    std::fs::rename(&sub, &away).unwrap();
    std::os::unix::fs::symlink(&away, &sub).unwrap();
    let error = resource.finish(branch(1), Decision::Commit).await.unwrap_err();
    assert!(!error.permanent && error.message.contains("mend it"), "{error}");
    assert_eq!(folder.read("invoice.txt"), None, "nothing of it is seen yet");
    // It was told before it was the last commit, so it is in nobody's way.
    let other = FilesOperation::new().create("b", "b");
    assert_eq!(prepare(&resource, 2, other).await, PREPARED);
    assert_eq!(finish(&resource, 2, Decision::Commit).await, Completion::Done);
    std::fs::remove_file(&sub).unwrap();
    std::fs::rename(&away, &sub).unwrap();
    // A folder stands where the file is to come.
    let total = sub.join("total.txt");
    std::fs::create_dir(&total).unwrap();
    let error = resource.finish(branch(1), Decision::Commit).await.unwrap_err();
    assert!(
        !error.permanent && error.message.contains("is a folder"),
        "{error}"
    );
    assert_eq!(folder.read("invoice.txt"), None, "nothing of it is seen yet");
    std::fs::remove_dir(&total).unwrap();
    assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(std::fs::read_to_string(&total).unwrap(), "1");
}

#[tokio::test]
async fn promises_markers_and_what_was_seen_outlive_the_process() {
    let folder = Folder::new();
    let resource = folder.open().await;
    let identity = resource.open().await.unwrap();
    assert!(identity.attached);
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    assert_eq!(
        prepare(&resource, 2, FilesOperation::new().create("b", "b")).await,
        PREPARED
    );
    finish(&resource, 2, Decision::Commit).await;
    finish(&resource, 3, Decision::Abort).await;

    let second = FilesResource::new(FilesOptions::new(folder.0.path()));
    let error = second.open().await.unwrap_err();
    assert!(error.message.contains("another process has"), "{error}");
    drop(resource);
    assert_eq!(second.open().await.unwrap(), identity);
    let mut lines: Vec<_> = second
        .scan()
        .await
        .unwrap()
        .iter()
        .map(|line| (line.branch.transaction.sequence(), line.phase))
        .collect();
    lines.sort_by_key(|(number, _)| *number);
    assert_eq!(
        lines,
        [
            (1, ScanPhase::Prepared),
            (2, ScanPhase::Marker),
            (3, ScanPhase::Marker)
        ]
    );
    assert_eq!(
        finish(&second, 2, Decision::Commit).await,
        Completion::Done,
        "the marker says so"
    );
    second.forget(&[branch(1), branch(2), branch(3)]).await.unwrap();
    assert_eq!(
        second.scan().await.unwrap().len(),
        1,
        "what is prepared is not forgotten"
    );
    drop(second);
    let third = folder.open().await;
    assert_eq!(third.seen().await.unwrap(), [seen(2)]);
    assert_eq!(finish(&third, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(folder.read("invoice.txt").as_deref(), Some("a"));
}

#[tokio::test]
async fn a_copy_and_a_root_that_is_none_are_refused() {
    let folder = Folder::new();
    drop(folder.open().await);
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join(".handfast")).unwrap();
    let store = ".handfast/store";
    std::fs::copy(folder.0.path().join(store), copy.path().join(store)).unwrap();
    for (root, words) in [
        (copy.path().to_owned(), "is a copy"),
        (copy.path().join("none"), "is no folder"),
    ] {
        let resource = FilesResource::new(FilesOptions::new(&root));
        let error = resource.open().await.unwrap_err();
        assert!(error.permanent && error.message.contains(words), "{error}");
        assert!(resource.check().await.iter().any(|finding| finding.is_broken()));
    }
    let good = FilesResource::new(FilesOptions::new(folder.0.path()));
    assert!(good.check().await.iter().all(|finding| !finding.is_broken()));
}

#[tokio::test]
async fn readers_see_each_commit_as_a_whole_while_they_go_on() {
    const COMMITS: u32 = 60;
    let folder = Folder::new();
    let resource = folder.open().await;
    let reader = FilesReader::new(folder.0.path());
    let paths = ["a", "sub/b", "c"];
    let reading = tokio::task::spawn_blocking(move || {
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let contents = reader.read(&paths).unwrap();
            assert!(
                contents.iter().all(|content| *content == contents[0]),
                "{contents:?}"
            );
            if let Some(content) = &contents[0] {
                seen.insert(content.clone());
                if *content == COMMITS.to_string().into_bytes() {
                    return seen.len();
                }
            }
        }
    });
    for number in 1..=COMMITS {
        let operation = paths.iter().fold(FilesOperation::new(), |files, path| {
            files.replace(*path, number.to_string())
        });
        assert_eq!(prepare(&resource, number, operation).await, PREPARED);
        finish(&resource, number, Decision::Commit).await;
    }
    assert!(tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap() >= 1);
}
