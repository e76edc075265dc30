use std::sync::Arc;

use handfast_participant::ids::Generation;
use handfast_participant::resources::postgres::{Parameter, PostgresOptions, PostgresResource};
use handfast_participant::{Decision, Resource, ResourceError};
use handfast_servers::PostgresServer;

use super::{Bank, PREPARED, add, branch, options, prepare};

async fn refused(options: PostgresOptions, permanent: bool, words: &str) -> ResourceError {
    let error = PostgresResource::new(options).open().await.unwrap_err();
    assert_eq!(error.permanent, permanent, "{error}");
    assert!(error.message.contains(words), "{error}");
    error
}

#[tokio::test]
async fn a_server_without_prepared_transactions_is_refused() {
    let server = PostgresServer::start(&["max_prepared_transactions=0"]).unwrap();
    refused(
        options(&server.url("postgres")),
        true,
        "max_prepared_transactions = 0",
    )
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_a_persons_business_and_the_right_one_works() {
    let server = PostgresServer::start_with_password(&["max_prepared_transactions=4"], "secret").unwrap();
    let url = |password: &str| {
        format!(
            "postgres://postgres{password}@127.0.0.1:{}/postgres",
            server.port()
        )
    };
    refused(options(&url(":wrong")), true, "password").await;
    refused(options(&url("")), true, "password").await;
    PostgresResource::new(options(&url(":secret")))
        .open()
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_tried_again_and_an_unknown_database_is_not() {
    let bank = Bank::new();
    refused(
        options("postgres://postgres@127.0.0.1:1/x"),
        false,
        "connecting to PostgreSQL",
    )
    .await;
    refused(options(&bank.server.url("nowhere")), true, "\"nowhere\"").await;
    let error = PostgresOptions::new(
        "postgres://x?sslmode=require",
        handfast_participant::ids::InstanceId(1),
    )
    .unwrap_err();
    assert!(error.permanent && error.message.contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_user_that_may_not_make_the_tables_is_told_how_to_get_them() {
    let bank = Bank::new();
    let user = format!("limited_{}", bank.database);
    bank.sql(&format!("CREATE ROLE {user} LOGIN"));
    let limited = bank.url().replace("postgres@", &format!("{user}@"));
    refused(options(&limited), true, "CREATE SCHEMA handfast AUTHORIZATION").await;
    bank.sql(&format!(
        "CREATE SCHEMA handfast AUTHORIZATION {user}; GRANT ALL ON accounts TO {user}"
    ));
    let resource = PostgresResource::new(options(&limited));
    resource.open().await.unwrap();
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    resource.finish(branch, Decision::Commit).await.unwrap();

    let other_user = format!("other_{}", bank.database);
    bank.sql(&format!("CREATE ROLE {other_user} LOGIN"));
    refused(
        options(&bank.url().replace("postgres@", &format!("{other_user}@"))),
        true,
        "schema handfast",
    )
    .await;
}

#[tokio::test]
async fn a_database_that_is_read_only_by_default_is_refused() {
    let bank = Bank::new();
    bank.sql(&format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        bank.database
    ));
    refused(bank.options(), true, "default_transaction_read_only").await;
}

#[tokio::test]
async fn commits_are_synchronous_even_if_the_database_says_otherwise() {
    let bank = Bank::new();
    bank.sql("CREATE TABLE said (what text)");
    bank.sql(&format!(
        "ALTER DATABASE {} SET synchronous_commit = off",
        bank.database
    ));
    let resource = bank.open().await;
    let say = super::sql("INSERT INTO said SELECT current_setting('synchronous_commit')")
        .then("SELECT 1", [] as [Parameter; 0]);
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &say).await, PREPARED);
    resource.finish(branch, Decision::Commit).await.unwrap();
    assert_eq!(bank.sql("SELECT what FROM said"), "on");
}

#[tokio::test]
async fn all_instances_agree_on_one_identity_that_stays() {
    let bank = Bank::new();
    let (one, other) = (
        PostgresResource::new(bank.options()),
        PostgresResource::new(bank.options()),
    );
    let (first, second) = tokio::join!(one.open(), other.open());
    let identity = first.unwrap();
    assert_eq!(second.unwrap(), identity);
    assert_eq!(one.open().await.unwrap(), identity);
    assert_eq!((identity.generation, identity.attached), (Generation(1), false));
    bank.sql("SELECT 1");
    let opened = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", bank.database);
    bank.server.psql("postgres", &opened).unwrap();
}

#[tokio::test]
async fn a_copy_is_refused_until_a_person_says_what_it_is() {
    let bank = Bank::new();
    let identity = PostgresResource::new(bank.options()).open().await.unwrap();
    let copy = format!("{}_copy", bank.database);
    let others = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
        bank.database
    );
    bank.server.psql("postgres", &others).unwrap();
    let cloned = format!("CREATE DATABASE {copy} TEMPLATE {}", bank.database);
    bank.server.psql("postgres", &cloned).unwrap();
    let url = bank.server.url(&copy);

    let error = refused(options(&url), true, "DELETE FROM handfast.store").await;
    let takes_its_place = error.message.split("run: ").last().unwrap();
    bank.server.psql(&copy, takes_its_place).unwrap();
    let successor = PostgresResource::new(options(&url)).open().await.unwrap();
    assert_eq!(
        (successor.store, successor.generation),
        (identity.store, Generation(2))
    );

    bank.server.psql(&copy, "DELETE FROM handfast.store").unwrap();
    let of_its_own = PostgresResource::new(options(&url)).open().await.unwrap();
    assert!(of_its_own.store != identity.store && of_its_own.generation == Generation(1));
    assert_eq!(
        PostgresResource::new(bank.options()).open().await.unwrap(),
        identity,
        "the original is untouched"
    );

    bank.sql("UPDATE handfast.store SET system_identifier = 1");
    refused(bank.options(), true, "is a copy").await;
    bank.sql("DELETE FROM handfast.store");
    bank.open().await;
    bank.sql("UPDATE handfast.store SET layout = 99");
    refused(bank.options(), true, "layout 99").await;
}

#[tokio::test]
async fn tables_of_the_first_layout_are_refused_with_what_converts_them() {
    let bank = Bank::new();
    bank.open().await;
    bank.sql("ALTER TABLE handfast.seen DROP CONSTRAINT seen_pkey, ADD PRIMARY KEY (log_id)");
    bank.sql("UPDATE handfast.store SET layout = 1");
    let error = PostgresResource::new(bank.options()).open().await.unwrap_err();
    assert!(error.permanent, "{error}");
    let (_, conversion) = error.message.split_once("once: ").unwrap();
    bank.sql(conversion);
    assert_eq!(bank.open().await.seen().await.unwrap(), []);
}

#[tokio::test]
async fn a_standby_is_waited_for_and_its_promotion_is_a_new_generation() {
    let mut server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let identity = PostgresResource::new(options(&server.url("postgres")))
        .open()
        .await
        .unwrap();
    server.stop().unwrap();
    server.become_standby().unwrap();
    server.restart().unwrap();
    let url = server.url("postgres");
    refused(options(&url), false, "standby").await;
    let server = Arc::new(server);
    server.psql("postgres", "SELECT pg_promote()").unwrap();
    for _ in 0..2 {
        let promoted = PostgresResource::new(options(&url)).open().await.unwrap();
        assert_eq!(
            (promoted.store, promoted.generation),
            (identity.store, Generation(2))
        );
    }
}
