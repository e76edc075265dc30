use std::process::Output;

use serde_json::Value;

use super::coordinator::Coordinator;
use super::process::AgentFile;
use handfast_servers::PostgresServer;

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn what_holds_is_told_and_nothing_is_changed() {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let database = server.create_database().unwrap();
    let file = AgentFile::new(&coordinator.address).with_ledger("left").with(
        "postgres",
        "orders",
        &format!("url = {:?}", server.url(&database)),
    );
    let file = std::sync::Arc::new(file);
    let checked = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || (file.check(&[], &[]), file.check(&["-o", "json"], &[])))
    };
    let (text, json) = checked.await.unwrap();
    let words = said(&text);
    assert_eq!(text.status.code(), Some(0), "{words}");
    for line in [
        "left (ledger)",
        &format!("  holds   coordinator {}: answers", coordinator.address),
        "will be made",
        "orders (postgres)",
        &format!("  holds   connection: database {database} as user postgres"),
        "  holds   version: PostgreSQL",
        "  holds   max_prepared_transactions: 64",
        "  holds   fsync: on",
        "  holds   standbys: none",
        "  holds   schema handfast: will be made",
        "  holds   prepared branches: none",
        "2 of 2 resources can take part",
    ] {
        assert!(words.contains(line), "no {line:?} in\n{words}");
    }
    let found: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(found[1]["resource"], "orders");
    assert_eq!(found[1]["can_take_part"], true);
    assert!(
        found[1]["findings"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({
                "what": "fsync", "found": "on", "verdict": "holds", "todo": null
            }))
    );
    let schemas = server
        .psql(
            &database,
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'handfast'",
        )
        .unwrap();
    assert_eq!(schemas, "0");
    assert!(!file.path("left").exists());
}

#[test]
fn what_is_broken_is_told_with_what_to_do_and_fails() {
    let server = PostgresServer::start_with_password(&["max_prepared_transactions=0"], "secret").unwrap();
    let url = format!("url = {:?}", server.url("postgres"));
    let file = AgentFile::new(NOBODY)
        .with_ledger("left")
        .with(
            "postgres",
            "slots",
            &format!("{url}\npassword_env = \"ORDERS_PASSWORD\""),
        )
        .with("postgres", "password", &format!("{url}\npassword = \"wrong\""))
        .with(
            "postgres",
            "nobody",
            "url = \"postgres://postgres@127.0.0.1:1/postgres\"",
        );
    std::fs::write(file.path("left"), "a file where a directory should be").unwrap();
    let output = file.check(&[], &[("ORDERS_PASSWORD", "secret")]);
    let words = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    for line in [
        "BROKEN  coordinator 127.0.0.1:1: ",
        "is a file; name a directory",
        "BROKEN  max_prepared_transactions: 0; PostgreSQL cannot prepare transactions",
        "password authentication failed for user \"postgres\"",
        "BROKEN  PostgreSQL: connecting to PostgreSQL: error connecting to server: Connection refused",
        "4 of 4 resources cannot take part",
    ] {
        assert!(words.contains(line), "no {line:?} in\n{words}");
    }
    assert!(!words.contains("secret") && !words.contains("wrong\""), "{words}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let file = AgentFile::new(NOBODY).with_ledger("left");
    let output = file.check_unread();
    let words = said(&output);
    // The coordinator is not there; that is all that is wrong.
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(!words.contains("panicked"), "{words}");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_before_anything_starts() {
    for (command, kind, keys, words) in [
        (
            "check",
            "postgress",
            "",
            "line 7: unknown kind \"postgress\"; known are ",
        ),
        (
            "run",
            "postgres",
            "url = \"postgres://h/d\"\npassword_env = \"NOT_SET_ANYWHERE\"",
            "line 10: resource \"orders\" of kind postgres, key `password_env`: the environment variable NOT_SET_ANYWHERE is not set",
        ),
        (
            "run",
            "kafka",
            "brokers = [\"kafka\"]\njournal_topic = \"j\"",
            "line 9: resource \"orders\" of kind kafka, key `brokers`: brokers to begin with are written host:port",
        ),
        (
            "run",
            "kafka",
            "brokers = [\"kafka:9092\"]\njournal_topic = \"j\"\npool = 0",
            "line 11: resource \"orders\" of kind kafka, key `pool`: the pool of transactional ids holds 1 to",
        ),
        (
            "check",
            "kafka",
            "brokers = [\"kafka:9092\"]\njournal_topic = \"j\"\ntransaction_timeout_ms = 1000\nmargin_ms = 1000",
            "line 12: resource \"orders\" of kind kafka, key `margin_ms`: a transaction timeout of 1s with a margin of 1s",
        ),
    ] {
        let file = AgentFile::new(NOBODY).with(kind, "orders", keys);
        let output = file.to_the_end(command);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("agent.toml") && said.contains(words), "{said}");
    }
}
