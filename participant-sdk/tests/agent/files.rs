//! Kind `files`: the agent killed at each of its steps, judged by what a reader sees.

use std::path::Path;
use std::process::Command;

use handfast_participant::resources::files::{FilesOperation, FilesReader};
use handfast_participant::{Outcome, Transaction, failpoint};

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{posting, until};

const PATHS: [&str; 2] = ["invoice.txt", "sub/total.txt"];

fn write(content: &str) -> bytes::Bytes {
    FilesOperation::new()
        .create(PATHS[0], content)
        .replace(PATHS[1], content)
        .encode()
}

#[tokio::test]
async fn killed_at_any_step_all_files_are_there_or_none() {
    let points = failpoint::FILES_NAMES
        .into_iter()
        .chain(failpoint::NAMES.into_iter().filter(|point| {
            // Points of the journal, which this resource does not use.
            !["after_reserve", "after_prepare_append", "after_commit_append"].contains(point)
        }));
    for point in points {
        let coordinator = Coordinator::start().await;
        let file = AgentFile::new(&coordinator.address).with_ledger("left");
        let root = file.path("files");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        let file = file.with("files", "invoices", &format!("root = {root:?}"));
        let reader = FilesReader::new(&root);
        let see = || {
            let contents = reader.read(&PATHS).unwrap();
            assert_eq!(contents[0], contents[1], "{point}: half of a transaction");
            contents[0].is_some()
        };

        let is_abort = point.contains("abort") || point.contains("fence");
        let mut agent = file.run(&[(failpoint::VARIABLE, point)]);
        // More than the account holds: the ledger refuses, and the files are rolled back.
        let amount = if is_abort { -5000 } else { -1 };
        let transaction = Transaction::new()
            .operation("invoices", write("a"))
            .operation("left", posting("alice", amount));
        let outcome = coordinator.outcome(transaction).await;
        agent.dies_at(point).await;
        see();
        assert!(
            !is_abort || matches!(outcome, Outcome::Aborted { .. }),
            "{point}: {outcome:?}"
        );

        let agent = file.run(&[]);
        let is_committed = match outcome {
            Outcome::Committed { .. } => true,
            Outcome::Aborted { .. } => false,
            other => panic!("{point}: {other:?}"),
        };
        let staged = || std::fs::read_dir(root.join(".handfast/staged")).unwrap().count();
        until("the end of the transaction", async || {
            see() == is_committed && staged() == 0
        })
        .await;
        // And it goes on.
        let next = FilesOperation::new().create("next.txt", "b").encode();
        coordinator
            .commit(Transaction::new().operation("invoices", next))
            .await;
        assert_eq!(see(), is_committed, "{point}");
        assert_eq!(agent.end().await, Some(0), "{point}");
        let prepared = std::fs::read_dir(root.join(".handfast/branches"))
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .ends_with(".prepared")
            })
            .count();
        assert_eq!((prepared, staged()), (0, 0), "{point}");
    }
}

/// What a process that is started with it has for a disk: every sync fails, and nothing else does. No file system does that on
/// demand.
fn library_whose_syncs_fail(folder: &Path) -> String {
    std::fs::create_dir(folder).unwrap();
    let (source, library) = (folder.join("broken.c"), folder.join("broken.so"));
    let text = "#include <errno.h>\nint fsync(int file) { (void)file; errno = EIO; return -1; }\n";
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler is installed");
    assert!(compiled.success());
    library.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_failed_sync_is_final_until_the_agent_is_started_again() {
    let coordinator = Coordinator::start().await;
    let file = AgentFile::new(&coordinator.address);
    let root = file.path("files");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    let broken = library_whose_syncs_fail(&file.path("broken"));
    let file = file.with("files", "invoices", &format!("root = {root:?}"));
    let mut agent = file.run(&[("LD_PRELOAD", &broken)]);
    agent
        .logs(&[
            "DOWN until the agent is started again",
            "resource=\"invoices\"",
            "syncing the folder",
        ])
        .await;
    assert_eq!(
        agent.end().await,
        Some(0),
        "it waits, and stops when it is asked to"
    );

    let agent = file.run(&[]);
    coordinator
        .commit(Transaction::new().operation("invoices", write("a")))
        .await;
    assert_eq!(agent.end().await, Some(0));
}

#[tokio::test]
async fn a_root_that_is_missing_or_taken_is_told_and_waited_for() {
    let coordinator = Coordinator::start().await;
    let file = AgentFile::new(&coordinator.address);
    let root = file.path("files");
    let file = file.with("files", "invoices", &format!("root = {root:?}"));
    let mut agent = file.run(&[]);
    agent
        .logs(&["DOWN", "resource=\"invoices\"", "is no folder; make it"])
        .await;
    std::fs::create_dir_all(root.join("sub")).unwrap();
    coordinator
        .commit(Transaction::new().operation("invoices", write("a")))
        .await;

    let second = AgentFile::new(&coordinator.address).with("files", "invoices", &format!("root = {root:?}"));
    let mut other = second.run(&[]);
    other
        .logs(&["DOWN", "another process has", "stop it first"])
        .await;
    for (path, reason) in [("../out", "PATH_NOT_ALLOWED"), ("invoice.txt", "FILE_EXISTS")] {
        let operation = FilesOperation::new().create(path, "x").encode();
        match coordinator
            .outcome(Transaction::new().operation("invoices", operation))
            .await
        {
            Outcome::Aborted {
                reason: told,
                message,
                ..
            } => {
                assert!(told == reason || message.contains(reason), "{told} {message}");
            }
            other => panic!("{other:?}"),
        }
    }
    other.kill();
    assert_eq!(agent.end().await, Some(0));
}
