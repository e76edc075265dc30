//! A PostgreSQL of somebody's own, in which an earlier run was interrupted.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use bank_transfer::run::POSTGRES_SETTINGS;
use bank_transfer::side::Side;
use handfast_participant::ids::LogId;
use handfast_servers::PostgresServer;

const DATABASE: &str = "postgres";
const OURS: LogId = LogId(0xAB);

fn prepare(server: &PostgresServer, gid: &str, sql: &str) {
    let sql = format!("BEGIN; {sql}; PREPARE TRANSACTION '{gid}'");
    server.psql(DATABASE, &sql).unwrap();
}

#[tokio::test]
async fn what_an_interrupted_run_left_is_told_and_what_others_have_prepared_is_theirs() {
    let mut server = PostgresServer::start(&POSTGRES_SETTINGS).unwrap();
    let side = Side::Postgres {
        url: server.url(DATABASE),
    };
    side.open_accounts(2).await.unwrap();
    server.psql(DATABASE, "CREATE TABLE orders (id bigint)").unwrap();
    let (elsewhere, of_an_earlier_run) = (format!("hf1_{:032x}_1_0", 0xCD), format!("hf1_{:032x}_2_0", 0xEF));
    prepare(&server, &elsewhere, "INSERT INTO orders VALUES (1)");
    prepare(
        &server,
        &of_an_earlier_run,
        "UPDATE handfast_bank_transfer.accounts SET balance = 0 WHERE name = 'acct-00'",
    );
    for is_restarted in [false, true] {
        if is_restarted {
            server.kill().unwrap();
            server.restart().unwrap();
        }
        let told = tokio::time::timeout(Duration::from_secs(20), side.open_accounts(2)).await;
        let told = told.expect("it does not hang").unwrap_err().to_string();
        assert!(
            told.contains(&format!("ROLLBACK PREPARED '{of_an_earlier_run}'")),
            "{told}"
        );
        assert!(
            told.starts_with("1 transactions") && !told.contains(&elsewhere),
            "{told}"
        );
    }

    server
        .psql(DATABASE, &format!("ROLLBACK PREPARED '{of_an_earlier_run}'"))
        .unwrap();
    side.open_accounts(2).await.unwrap();
    assert_eq!(side.holdings(OURS).await.unwrap().prepared, 0);
    let ours = format!("hf1_{:032x}_1_0", OURS.0);
    prepare(&server, &ours, "INSERT INTO orders VALUES (2)");
    assert_eq!(side.holdings(OURS).await.unwrap().prepared, 1);
}
