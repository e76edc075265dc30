use handfast_participant::Transaction;
use handfast_participant::proto::status::Reason;

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{order, posting};
use handfast_servers::PostgresServer;

#[tokio::test]
async fn another_database_behind_the_name_is_refused_and_the_right_one_comes_back() {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let databases = [
        server.create_database().unwrap(),
        server.create_database().unwrap(),
    ];
    for database in &databases {
        server
            .psql(database, "CREATE TABLE orders (id bigint PRIMARY KEY)")
            .unwrap();
    }
    let file = |database: &str| {
        let url = format!("url = {:?}", server.url(database));
        AgentFile::new(&coordinator.address).with("postgres", "orders", &url)
    };
    let orders = |id| Transaction::new().operation("orders", order(id));

    let right = file(&databases[0]);
    let agent = right.run(&[]);
    coordinator.commit(orders(1)).await;
    assert_eq!(agent.end().await, Some(0));

    let wrong = file(&databases[1]).with_ledger("left");
    let mut agent = wrong.run(&[]);
    agent
        .logs(&[
            "ERROR",
            "DOWN",
            "resource=\"orders\"",
            "the coordinator refuses this participant",
        ])
        .await;
    coordinator
        .commit(Transaction::new().operation("left", posting("alice", -1)))
        .await;
    assert_eq!(coordinator.in_vain(orders(2)).await, Err(Reason::ResourceDown));
    agent.kill();
    assert_eq!(
        server.psql(&databases[1], "SELECT count(*) FROM orders").unwrap(),
        "0"
    );

    let agent = right.run(&[]);
    coordinator.commit(orders(3)).await;
    assert_eq!(agent.end().await, Some(0));
    assert_eq!(
        server
            .psql(&databases[0], "SELECT string_agg(id::text, ' ') FROM orders")
            .unwrap(),
        "1 3"
    );
}
