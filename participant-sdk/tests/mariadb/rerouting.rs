//! The address leads to another server in the middle of a session, or the server's settings change under it.

use handfast_participant::resources::mariadb::{MariadbOptions, MariadbResource};
use handfast_participant::{Decision, Resource, ResourceError};
use handfast_servers::MariadbServer;

use super::crash::Link;
use super::{Bank, PREPARED, add, branch, done, furnish, open, options, prepare, refused};

/// Another server with a database of the same name and the same accounts.
fn another(bank: &Bank) -> MariadbServer {
    let server = MariadbServer::start(&[]).unwrap();
    server
        .sql("mysql", &format!("CREATE DATABASE {}", bank.database))
        .unwrap();
    furnish(&server, &bank.database);
    server
}

fn options_through(link: &Link, bank: &Bank) -> MariadbOptions {
    options(&format!("mysql://root@127.0.0.1:{}/{}", link.port, bank.database))
}

/// What must be opened again says so, and is not called permanent: perhaps the store has only moved on.
fn must_reopen<T: std::fmt::Debug>(result: Result<T, ResourceError>) {
    let error = result.unwrap_err();
    assert!(error.reopen && !error.permanent, "{error:?}");
}

/// Each call meets at most one connection that broke, before it needs a new one.
async fn until_it_must_reopen(resource: &MariadbResource) {
    for _ in 0..10 {
        match resource.scan().await {
            Err(error) if !error.reopen => assert!(!error.permanent, "{error}"),
            other => return must_reopen(other),
        }
    }
    panic!("nobody notices where the connections lead");
}

#[tokio::test]
async fn an_address_that_changes_hands_gets_no_promise_and_no_decision_under_the_old_name() {
    let bank = Bank::new();
    let other = another(&bank);
    let link = Link::sound(bank.server.port()).await;
    let resource = MariadbResource::new(options_through(&link, &bank));
    let identity = resource.open().await.unwrap();
    // A dump brought the identity along, with all that it says.
    open(options(&other.url(&bank.database))).await;
    let row =
        bank.sql("SELECT CONCAT_WS(', server_id = ', QUOTE(store_id), QUOTE(server_id)) FROM handfast_store");
    // It was made at another time; seconds are not worth waiting for.
    let copied = format!("UPDATE handfast_store SET made_at = 1, store_id = {row}");
    other.sql(&bank.database, &copied).unwrap();
    let kept = branch();
    assert_eq!(prepare(&resource, kept, &add("alice", 1)).await, PREPARED);

    link.lead_to(other.port());
    let mut refusal = refused(prepare(&resource, branch(), &add("alice", 1)).await);
    for _ in 0..10 {
        if refusal.message.contains("leads to") {
            break;
        }
        refusal = refused(prepare(&resource, branch(), &add("alice", 1)).await);
    }
    assert!(
        refusal.retryable && refusal.message.contains("leads to store"),
        "{refusal:?}"
    );
    must_reopen(resource.finish(kept, Decision::Commit).await);
    must_reopen(resource.finish(kept, Decision::Abort).await);
    must_reopen(resource.scan().await);
    must_reopen(resource.seen().await);
    must_reopen(resource.forget(&[kept]).await);
    let error = resource.open().await.unwrap_err();
    assert!(error.permanent && error.message.contains("is a copy"), "{error}");
    assert_eq!(other.sql(&bank.database, "XA RECOVER").unwrap(), "");
    assert_eq!(
        other
            .sql(&bank.database, "SELECT COUNT(*) FROM handfast_marker")
            .unwrap(),
        "0"
    );

    link.lead_to(bank.server.port());
    assert_eq!(resource.open().await.unwrap(), identity);
    done(&resource, kept, Decision::Commit).await;
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_database_without_an_identity_is_another_store_that_says_so_when_it_is_opened() {
    let bank = Bank::new();
    let other = another(&bank);
    let link = Link::sound(bank.server.port()).await;
    let resource = MariadbResource::new(options_through(&link, &bank));
    let identity = resource.open().await.unwrap();
    link.lead_to(other.port());
    until_it_must_reopen(&resource).await;
    let there = resource.open().await.unwrap();
    assert_ne!(there.store, identity.store);
    assert_eq!(prepare(&resource, branch(), &add("alice", 1)).await, PREPARED);
}

#[tokio::test]
async fn settings_that_lose_commits_are_noticed_by_the_next_connection() {
    let bank = Bank::on(std::sync::Arc::new(
        MariadbServer::start(&["log-bin", "sync-binlog=1"]).unwrap(),
    ));
    let link = Link::sound(bank.server.port()).await;
    let resource = MariadbResource::new(options_through(&link, &bank));
    resource.open().await.unwrap();
    for (setting, good, bad) in [("innodb_flush_log_at_trx_commit", 1, 2), ("sync_binlog", 1, 0)] {
        bank.sql(&format!("SET GLOBAL {setting} = {bad}"));
        link.lead_to(bank.server.port());
        until_it_must_reopen(&resource).await;
        let error = resource.open().await.unwrap_err();
        assert!(error.permanent && error.message.contains(setting), "{error}");
        bank.sql(&format!("SET GLOBAL {setting} = {good}"));
        resource.open().await.unwrap();
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
        done(&resource, branch, Decision::Commit).await;
    }
}
