//! What the subcommands print.

use handfast_proto::v1;
use serde_json::Value;

use crate::coordinator::{Coordinator, data_directory, handfast, run, serve_arguments, stderr, stdout};
use crate::participant::Store;
use crate::requests::{committed, keyed};

fn json(output: &std::process::Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).unwrap()
}

#[tokio::test]
async fn a_transaction_is_shown_while_it_is_remembered() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    Store::new("orders-db", 1).serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let request = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..keyed("order-1", &["orders-db"])
    };
    let id = committed(client.execute(request).await);

    let status = json(&coordinator.ask(&["status", "-o", "json"]));
    assert_eq!(status["resources"][0]["resource"], "orders-db");
    assert_eq!(status["table"]["committed_total"], 1);
    let words = stdout(&coordinator.ask(&["status"]));
    assert!(
        words.contains("orders-db") && words.contains("epoch 1"),
        "{words}"
    );

    let shown = crate::until("the history to have it", async || {
        let shown = json(&coordinator.ask(&["tx", "show", "--key", "order-1", "-o", "json"]));
        (!shown["branches"][0].is_null() && shown["state"] == "ended").then_some(shown)
    })
    .await;
    assert_eq!(shown["transaction_id"], id);
    assert_eq!(shown["outcome"], "committed");
    assert_eq!(shown["branches"][0]["resource"], "orders-db");
    assert_eq!(shown["branches"][0]["state"], "committed");

    let by_id = stdout(&coordinator.ask(&["tx", "show", &id]));
    assert!(
        by_id.contains("committed") && by_id.contains("order-1"),
        "{by_id}"
    );
    let list = json(&coordinator.ask(&["tx", "list", "-o", "json"]));
    assert_eq!(list[0]["transaction_id"], id);
    assert_eq!(
        json(&coordinator.ask(&["tx", "list", "--live", "-o", "json"])),
        Value::Array(Vec::new())
    );
    assert_eq!(
        stdout(&coordinator.ask(&["tx", "in-doubt"])),
        "Nothing is in doubt.\n"
    );
}

#[tokio::test]
async fn pages_join_without_gap_or_overlap() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let mut begun = Vec::new();
    for _ in 0..7 {
        begun.push(
            client
                .begin(v1::BeginRequest::default())
                .await
                .unwrap()
                .into_inner()
                .transaction_id,
        );
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRequest {
            page_size: 3,
            page_token,
            live_only: false,
        };
        let page = client.list(request).await.unwrap().into_inner();
        listed.extend(
            page.transactions
                .into_iter()
                .map(|transaction| transaction.transaction_id),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, begun);
}

#[tokio::test]
async fn a_stopped_log_is_verified_and_dumped() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    Store::new("orders-db", 1).serve(&coordinator.address).await;
    let id = committed(
        coordinator
            .client()
            .await
            .execute(keyed("order-1", &["orders-db"]))
            .await,
    );
    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));

    let path = data.to_str().unwrap();
    let verify = run(&["log", "verify", "--data-dir", path]);
    assert_eq!(verify.status.code(), Some(0), "{}", stderr(&verify));
    assert!(stdout(&verify).ends_with("sound\n"), "{}", stdout(&verify));
    let text = stdout(&run(&["log", "dump", "--data-dir", path]));
    assert!(
        text.contains(&format!("DECIDED     {id} commit under key \"order-1\"")),
        "{text}"
    );
    let lines = stdout(&run(&["log", "dump", "--data-dir", path, "-o", "json"]));
    let records: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records[0]["record"], "epoch_started");
    let decided = records
        .iter()
        .find(|record| record["record"] == "decided")
        .unwrap();
    assert_eq!(decided["transaction_id"], id);
    assert_eq!(decided["key"]["key"], "order-1");
}

#[test]
fn without_a_coordinator_the_reason_is_told() {
    let output = run(&["status", "--address", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(8));
    assert!(
        stderr(&output).contains("no coordinator answers at 127.0.0.1:1"),
        "{}",
        stderr(&output)
    );
    let output = run(&["log", "verify", "--data-dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn help_lists_the_exit_codes_and_completions_are_made() {
    let help = stdout(&run(&["--help"]));
    assert!(
        help.contains("another process has the data directory open"),
        "{help}"
    );
    let completions = stdout(&run(&["completions", "bash"]));
    assert!(completions.contains("_handfast"), "{completions}");
}

/// A standard output that nobody reads any more.
fn unread() -> std::io::PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (_temporary, data) = data_directory();
    let data = data.to_str().unwrap();
    for arguments in [
        &["init", "--data-dir", data][..],
        &["completions", "bash"],
        &["log", "verify", "--data-dir", data],
        &["--help"],
    ] {
        let output = handfast(arguments).stdout(unread()).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {words}");
        assert_eq!(words, "", "{arguments:?}");
    }
}

/// Whoever started it reads no more, and it has taken the epoch.
#[tokio::test]
async fn a_coordinator_serves_although_nobody_reads_that_it_is_ready() {
    let (temporary, data) = data_directory();
    let ready = temporary.path().join("ready");
    let mut command = handfast(&serve_arguments(&data));
    command.args(["--ready-file", ready.to_str().unwrap()]);
    let coordinator = Coordinator::run_unread(command, unread());
    let address = crate::until("the ready file", || {
        let address = std::fs::read_to_string(&ready).ok();
        async move { address }
    })
    .await;
    let mut client =
        v1::transactions_client::TransactionsClient::connect(format!("http://{}", address.trim()))
            .await
            .unwrap();
    client.list(v1::ListRequest::default()).await.unwrap();
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
}
