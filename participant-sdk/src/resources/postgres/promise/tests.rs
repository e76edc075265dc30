//! The trap that no working caller runs into: a block that has failed, and nobody noticed. And limits at their ends.

use handfast_servers::PostgresServer;
use tokio_postgres::NoTls;

use super::{Duration, Limits, prepare_transaction};

#[tokio::test]
async fn a_failed_block_is_never_taken_for_a_promise() {
    let server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();

    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert!(client.batch_execute("SELECT 1/0").await.is_err());
    assert!(
        !prepare_transaction(&client, "", "hf1_trap").await.unwrap(),
        "no error, and no promise"
    );

    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    assert!(
        prepare_transaction(&client, "SELECT 1;", "hf1_held")
            .await
            .unwrap()
    );
    client
        .batch_execute("ROLLBACK PREPARED 'hf1_held'")
        .await
        .unwrap();
}

#[tokio::test]
async fn limits_are_what_the_server_takes_however_short_or_long() {
    let server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for limit in [Duration::ZERO, Duration::from_millis(u64::MAX), Duration::MAX] {
        let limits = Limits {
            statement: limit,
            idle: limit,
        };
        // In one go: between two, the shortest limit on idling would end the connection.
        let set = client
            .batch_execute(&format!("BEGIN; {} ROLLBACK", limits.sql()))
            .await;
        assert!(set.is_ok(), "{limit:?}: {set:?}");
    }
}
