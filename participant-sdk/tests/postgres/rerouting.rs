//! The address leads to another server in the middle of a session: a virtual address, a name or a proxy was switched.

use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::{Completion, Decision, Resource, ResourceError};
use handfast_servers::PostgresServer;

use super::crash::Link;
use super::{Bank, PREPARED, add, branch, open, options, prepare, refused};

/// Another server with a database of the same name and the same accounts.
fn another(bank: &Bank) -> PostgresServer {
    let server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let database = &bank.database;
    server
        .psql("postgres", &format!("CREATE DATABASE {database}"))
        .unwrap();
    let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); INSERT INTO accounts VALUES ('alice', 100)";
    server.psql(database, accounts).unwrap();
    server
}

fn options_through(link: &Link, bank: &Bank) -> PostgresOptions {
    options(&format!(
        "postgres://postgres@127.0.0.1:{}/{}",
        link.port, bank.database
    ))
}

/// What must be opened again says so, and is not called permanent: perhaps the store has only moved on.
fn must_reopen<T: std::fmt::Debug>(result: Result<T, ResourceError>) {
    let error = result.unwrap_err();
    assert!(error.reopen && !error.permanent, "{error:?}");
}

#[tokio::test]
async fn an_address_that_changes_hands_gets_no_promise_and_no_decision_under_the_old_name() {
    let bank = Bank::new();
    let other = another(&bank);
    let link = Link::sound(bank.server.port()).await;
    let resource = PostgresResource::new(options_through(&link, &bank));
    let identity = resource.open().await.unwrap();
    // A dump brought the identity along, with all that it says.
    open(options(&other.url(&bank.database))).await;
    let row = bank.sql("SELECT row_to_json(store) FROM handfast.store");
    other
        .psql(
            &bank.database,
            &format!(
                "DELETE FROM handfast.store; \
                 INSERT INTO handfast.store SELECT * FROM json_populate_record(NULL::handfast.store, '{row}')"
            ),
        )
        .unwrap();
    let kept = branch();
    assert_eq!(prepare(&resource, kept, &add("alice", 1)).await, PREPARED);

    link.lead_to(other.port());
    // Each call meets at most one connection that broke, before it needs a new one.
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
    let untouched =
        "SELECT (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM handfast.marker)";
    assert_eq!(other.psql(&bank.database, untouched).unwrap(), "0");

    link.lead_to(bank.server.port());
    assert_eq!(resource.open().await.unwrap(), identity);
    assert_eq!(
        resource.finish(kept, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_database_without_an_identity_is_another_store_that_says_so_when_it_is_opened() {
    let bank = Bank::new();
    let other = another(&bank);
    let link = Link::sound(bank.server.port()).await;
    let resource = PostgresResource::new(options_through(&link, &bank));
    let identity = resource.open().await.unwrap();
    link.lead_to(other.port());
    must_reopen(resource.scan().await);
    let there = resource.open().await.unwrap();
    assert_ne!(there.store, identity.store);
    assert_eq!(prepare(&resource, branch(), &add("alice", 1)).await, PREPARED);
}

/// Another instance has let the generation grow after a failover, and a person can say that a copy takes the place.
#[tokio::test]
async fn a_store_that_began_another_life_is_opened_again() {
    let bank = Bank::new();
    let link = Link::sound(bank.server.port()).await;
    let resource = PostgresResource::new(options_through(&link, &bank));
    let identity = resource.open().await.unwrap();
    bank.sql("UPDATE handfast.store SET generation = generation + 1");
    link.lead_to(bank.server.port());
    must_reopen(resource.scan().await);
    let again = resource.open().await.unwrap();
    assert_eq!(
        (again.store, again.generation.0),
        (identity.store, identity.generation.0 + 1)
    );
}

#[tokio::test]
async fn commits_that_became_asynchronous_are_made_synchronous_when_it_is_opened_again() {
    let server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let bank = Bank::on(std::sync::Arc::new(server));
    let link = Link::sound(bank.server.port()).await;
    let resource = PostgresResource::new(options_through(&link, &bank));
    resource.open().await.unwrap();
    bank.sql(&format!(
        "ALTER DATABASE {} SET synchronous_commit = off",
        bank.database
    ));
    link.lead_to(bank.server.port());
    must_reopen(resource.scan().await);
    resource.open().await.unwrap();
    resource.scan().await.unwrap();
}
