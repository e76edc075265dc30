//! What was promised is gone when the commit comes: told once and for all, and no longer in anybody's way.

use super::{Folder, PREPARED, branch, finish, prepare, refused, seen, two};
use crate::resource::{Completion, Decision, Resource, ScanPhase};
use crate::resources::files::FilesOperation;

fn evidence(completion: Completion) -> String {
    match completion {
        Completion::Hazard(evidence) => evidence,
        other => panic!("{other:?} instead of a hazard"),
    }
}

#[tokio::test]
async fn a_loss_is_an_end_that_is_told_again_and_forgotten() {
    let folder = Folder::new();
    let resource = folder.open().await;
    assert_eq!(prepare(&resource, 1, two("a", "1")).await, PREPARED);
    let staged = folder.0.path().join(".handfast/staged");
    let names = || {
        let entries = std::fs::read_dir(&staged).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    std::fs::remove_file(&names()[0]).unwrap();
    let first = evidence(finish(&resource, 1, Decision::Commit).await);
    assert!(first.contains("invoice.txt"), "{first}");
    let lines = resource.scan().await.unwrap();
    assert_eq!(
        lines.iter().map(|line| line.phase).collect::<Vec<_>>(),
        [ScanPhase::Marker]
    );
    let late = refused(&resource, 1, two("a", "1")).await;
    assert_eq!(late.reason, "BRANCH_ENDED");

    // Its paths are free, and others commit.
    assert_eq!(prepare(&resource, 2, two("b", "2")).await, PREPARED);
    assert_eq!(finish(&resource, 2, Decision::Commit).await, Completion::Done);

    drop(resource);
    let resource = folder.open().await;
    assert_eq!(
        evidence(finish(&resource, 1, Decision::Commit).await),
        first,
        "the same evidence, in another process too"
    );
    assert_eq!(
        names().len(),
        1,
        "what is left of it stays for whoever repairs it by hand"
    );
    resource.forget(&[branch(1), branch(2)]).await.unwrap();
    assert_eq!((resource.scan().await.unwrap().len(), folder.staged()), (0, 0));
    drop(resource);
    let resource = folder.open().await;
    assert_eq!(resource.seen().await.unwrap(), [seen(2)]);
    assert_eq!(folder.read("invoice.txt").as_deref(), Some("b"));
}

#[tokio::test]
async fn contents_that_somebody_changed_are_a_loss_and_promises_without_a_checksum_are_still_read() {
    for has_checksum in [true, false] {
        let folder = Folder::new();
        let resource = folder.open().await;
        assert_eq!(prepare(&resource, 1, two("as promised", "1")).await, PREPARED);
        let own = |name: &str| {
            let entries = std::fs::read_dir(folder.0.path().join(".handfast").join(name)).unwrap();
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.remove(0)
        };
        std::fs::write(own("staged"), "as CHANGED!").unwrap();
        if has_checksum {
            let told = evidence(finish(&resource, 1, Decision::Commit).await);
            assert!(
                told.contains("other contents") && told.contains("invoice.txt"),
                "{told}"
            );
            assert_eq!(folder.read("invoice.txt"), None);
            continue;
        }
        // As an earlier build wrote it.
        drop(resource);
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(own("branches")).unwrap()).unwrap();
        for file in manifest["files"].as_array_mut().unwrap() {
            file.as_object_mut().unwrap().remove("crc32c").unwrap();
        }
        std::fs::write(own("branches"), manifest.to_string()).unwrap();
        let resource = folder.open().await;
        assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
        assert_eq!(folder.read("invoice.txt").as_deref(), Some("as CHANGED!"));
    }
}

#[tokio::test]
async fn a_lost_branch_can_be_aborted_and_stays_lost() {
    let folder = Folder::new();
    let resource = folder.open().await;
    let operation = FilesOperation::new().create("a", "a");
    assert_eq!(prepare(&resource, 1, operation).await, PREPARED);
    for entry in std::fs::read_dir(folder.0.path().join(".handfast/staged")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let first = evidence(finish(&resource, 1, Decision::Commit).await);
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(evidence(finish(&resource, 1, Decision::Commit).await), first);
}
