//! Directories, locks, damage, addresses, and the end.

use std::fs;
use std::path::{Path, PathBuf};

use handfast_proto::v1;

use crate::coordinator::{
    Coordinator, data_directory, handfast, run, serve_arguments, serve_refused, stderr, stdout,
};
use crate::participant::Store;
use crate::requests::{committed, execute, keyed};

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
    assert!(
        words.contains(path.file_name().unwrap().to_str().unwrap()) && words.contains("byte 4096"),
        "{words}"
    );
    let verify = run(&["log", "verify", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(verify.status.code(), Some(9));
    assert!(stdout(&verify).contains("PROBLEM"), "{}", stdout(&verify));
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    let (_temporary, data) = data_directory();
    used_log(&data).await;
    let path = segment(&data);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The last sector that was written never reached the medium.
    let sector = last / 512 * 512;
    bytes[sector..=last].fill(0);
    fs::write(&path, bytes).unwrap();
    let coordinator = Coordinator::start(&data);
    let answer = execute(&mut coordinator.client().await, &["nobody"]).await;
    assert!(answer.is_err());
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
