//! Directories, locks, damage, addresses, and the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use handfast_proto::v1;
use handfast_wal::{GroupCommit, Log, Options, RealDisk, verify};
use serde_json::Value;

use crate::coordinator::{
    Coordinator, SEGMENT_BYTES, data_directory, handfast, run, serve_arguments, serve_refused, stderr, stdout,
};
use crate::participant::Store;
use crate::requests::{committed, keyed};

#[tokio::test]
async fn a_directory_that_does_not_exist_is_made_with_a_warning() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("a new log was made there"), "{words}");
}

#[test]
fn an_empty_directory_is_no_coordinator() {
    let temporary = tempfile::tempdir().unwrap();
    let output = serve_refused(temporary.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("handfast init"), "{}", stderr(&output));
}

#[test]
fn init_makes_a_log_once() {
    let (_temporary, data) = data_directory();
    let arguments = ["init", "--data-dir", data.to_str().unwrap()];
    let first = run(&arguments);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stdout(&first).starts_with("made log "));
    let second = run(&arguments);
    assert_eq!(second.status.code(), Some(2));
    assert!(
        stderr(&second).contains("holds a log already"),
        "{}",
        stderr(&second)
    );
}

#[test]
fn a_second_coordinator_on_a_directory_is_refused() {
    let (_temporary, data) = data_directory();
    let _first = Coordinator::start(&data);
    let second = serve_refused(&data);
    assert_eq!(second.status.code(), Some(3), "{}", stderr(&second));
    assert!(
        stderr(&second).contains("another process has it open"),
        "{}",
        stderr(&second)
    );
}

#[test]
fn a_busy_address_is_named() {
    let (_temporary, data) = data_directory();
    let first = Coordinator::start(&data);
    let (_other, other) = data_directory();
    let second = run(&[
        "serve",
        "--data-dir",
        other.to_str().unwrap(),
        "--listen",
        &first.address,
    ]);
    assert_eq!(second.status.code(), Some(6));
    let words = stderr(&second);
    assert!(
        words.contains(&first.address) && words.contains("--listen"),
        "{words}"
    );
}

#[test]
fn an_unknown_setting_and_an_unknown_failpoint_are_refused() {
    let (_temporary, data) = data_directory();
    for (variable, value) in [("HANDFAST_SERVER__PORT", "1"), ("HANDFAST_FAILPOINT", "nowhere")] {
        let output = handfast(&serve_arguments(&data))
            .env(variable, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }
}

/// A log with a few transactions in it, stopped.
async fn used_log(data: &Path) {
    let coordinator = Coordinator::start(data);
    Store::new("orders-db", 1).serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    for number in 0..3 {
        committed(client.execute(keyed(&format!("k{number}"), &["orders-db"])).await);
    }
    coordinator.kill();
}

fn segment(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("segment-")
        })
        .max()
        .unwrap()
}

#[tokio::test]
async fn a_flipped_bit_refuses_the_start_and_says_where() {
    let (_temporary, data) = data_directory();
    used_log(&data).await;
    let path = segment(&data);
    let mut bytes = fs::read(&path).unwrap();
    // Behind the segment's header, in the first frame; later frames follow it.
    bytes[4096 + 70] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = serve_refused(&data);
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{words}");
    let place = format!("{} at byte 4096: ", path.file_name().unwrap().to_str().unwrap());
    assert!(words.contains(&place), "{words}");
    let verify = run(&["log", "verify", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(verify.status.code(), Some(9));
    let report = stdout(&verify);
    assert!(
        report
            .lines()
            .any(|line| line.starts_with(&format!("PROBLEM {place}"))),
        "{report}"
    );
}

/// Adds a batch of several sectors to a stopped log, as a coordinator that died over it leaves it: the last sector never reached
/// the medium. Where the batch begins.
async fn tear(data: &Path) -> u64 {
    let disk = RealDisk::open(data.join("log")).unwrap();
    let end = async || verify(&disk).await.unwrap().segments.last().unwrap().bytes;
    let begins = end().await;
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    let opened = Log::open(disk.clone(), options, |_| {}).await.unwrap();
    let mut log = GroupCommit::new(opened.log);
    log.append(&[0xFF; 2000]).unwrap();
    log.flush().await.unwrap();
    drop(log);
    // The lock is gone with this: what is asked of a disk is done in its order.
    let ends = end().await;
    let path = segment(data);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(ends as usize - 1) / 512 * 512..].fill(0);
    fs::write(&path, bytes).unwrap();
    begins
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    let (_temporary, data) = data_directory();
    used_log(&data).await;
    let begins = tear(&data).await;
    let arguments = ["log", "verify", "--data-dir", data.to_str().unwrap()];
    let before = stdout(&run(&arguments));
    assert!(
        before.contains(&format!("open; bytes {begins} to ")) && before.contains("an interrupted write"),
        "{before}"
    );

    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    for number in 0..3 {
        let of = Some(v1::get_request::Of::Key(format!("k{number}")));
        let found = client.get(v1::GetRequest { of }).await.unwrap().into_inner();
        assert_eq!(found.transaction.unwrap().outcome(), v1::Outcome::Committed);
    }
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    let cut = |line: &&str| line.contains("cut a write that a crash had interrupted");
    let cut = words.lines().find(cut).unwrap_or_else(|| panic!("{words}"));
    assert!(cut.contains(&format!("from={begins}")), "{cut}");
    let after = stdout(&run(&arguments));
    assert!(
        after.ends_with("sound\n") && !after.contains("an interrupted write"),
        "{after}"
    );
}

/// A disk that fails under a running coordinator: its files may not grow, which binds root as well.
#[tokio::test]
async fn a_disk_that_fails_ends_it_with_a_code_of_its_own_and_loses_nothing() {
    const BLOCKS: &str = "256";
    let (_temporary, data) = data_directory();
    let made = handfast(&["init", "--data-dir", data.to_str().unwrap()])
        .env("HANDFAST_LOG__SEGMENT_BYTES", SEGMENT_BYTES.to_string())
        .env("HANDFAST_LOG__BUFFER_BYTES", "524288")
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    // Without the signal, which would end it at once, the write fails.
    let script = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_handfast")]);
    command
        .args(serve_arguments(&data))
        .env_clear()
        .env("NO_COLOR", "1");
    let coordinator = Coordinator::run(command);
    let store = Store::new("orders-db", 1);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let many = ["orders-db"; 50];
    let mut told = 0;
    while client.execute(keyed(&format!("k{told}"), &many)).await.is_ok() {
        told += 1;
    }
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(5), "{words}");
    assert!(
        words.contains("cannot write segment-") && words.contains("check the disk"),
        "{words}"
    );

    assert!(told > 0);
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    for number in 0..told {
        let of = Some(v1::get_request::Of::Key(format!("k{number}")));
        let found = client.get(v1::GetRequest { of }).await.unwrap().into_inner();
        assert_eq!(found.transaction.unwrap().outcome(), v1::Outcome::Committed);
    }
}

/// A line of the log for programs leads to the transaction that it is about.
#[tokio::test]
async fn lines_of_json_carry_the_transaction() {
    let (_temporary, data) = data_directory();
    let variables = [
        ("HANDFAST_LOGGING__FORMAT", "json"),
        ("HANDFAST_LOGGING__FILTER", "handfast_coordinator=debug"),
    ];
    let coordinator = Coordinator::start_with(&data, &variables);
    Store::new("orders-db", 1).serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let transaction = committed(client.execute(keyed("order-1", &["orders-db"])).await);
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    let lines: Vec<Value> = words
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for message in ["decided", "ended"] {
        let about = |line: &&Value| line["message"] == message && line["transaction"] == transaction;
        let line = lines.iter().find(about);
        assert!(
            line.is_some_and(|line| line["level"] == "DEBUG"),
            "{message}: {words}"
        );
    }
}

#[tokio::test]
async fn a_log_of_another_version_is_refused() {
    let (_temporary, data) = data_directory();
    used_log(&data).await;
    let path = data.join("log/LOG");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 99;
    let crc = crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let output = serve_refused(&data);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("version 99"), "{}", stderr(&output));
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0x82F6_3B78
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn an_index_that_is_gone_or_damaged_is_built_again() {
    let (_temporary, data) = data_directory();
    used_log(&data).await;
    for damage in ["gone", "damaged"] {
        let index = data.join("index");
        if damage == "gone" {
            let _ = fs::remove_dir_all(&index);
        } else {
            fs::create_dir_all(&index).unwrap();
            fs::write(index.join("conf"), b"garbage").unwrap();
            fs::write(index.join("db"), b"garbage").unwrap();
        }
        let coordinator = Coordinator::start(&data);
        let mut client = coordinator.client().await;
        for number in 0..3 {
            let of = Some(v1::get_request::Of::Key(format!("k{number}")));
            let found = client
                .get(v1::GetRequest { of })
                .await
                .unwrap()
                .into_inner()
                .transaction
                .unwrap();
            assert_eq!(found.outcome(), v1::Outcome::Committed, "{damage}: {found:?}");
        }
        coordinator.terminate();
        assert_eq!(coordinator.ended().await.0, Some(0));
    }
}
