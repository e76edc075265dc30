use handfast_participant::ids::{BranchId, Epoch, InstanceId, LogId, Partition, TransactionId};
use handfast_participant::proto::status::Reason;
use handfast_participant::resources::ledger;
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::{BranchKey, Outcome, Resource, SeenLog, Transaction, Vote, Work, failpoint};

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{PATIENCE, order, posting, until};
use handfast_servers::PostgresServer;

fn url_of(server: &PostgresServer, database: &str) -> String {
    format!("url = {:?}", server.url(database))
}

fn database(server: &PostgresServer) -> String {
    let database = server.create_database().unwrap();
    server
        .psql(&database, "CREATE TABLE orders (id bigint PRIMARY KEY)")
        .unwrap();
    database
}

#[tokio::test]
async fn the_resources_of_one_file_take_part_in_one_transaction() {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let database = database(&server);
    let file = AgentFile::new(&coordinator.address)
        .with_ledger("left")
        .with_ledger("right")
        .with("postgres", "orders", &url_of(&server, &database));
    let agent = file.run(&[]);
    let transaction = Transaction::new()
        .operation("left", posting("alice", -10))
        .operation("right", posting("alice", 10))
        .operation("orders", order(1));
    coordinator.commit(transaction).await;
    assert_eq!(agent.end().await, Some(0));

    assert_eq!(server.psql(&database, "SELECT id FROM orders").unwrap(), "1");
    for (name, balance) in [("left", 990), ("right", 1010)] {
        let report = ledger::inspect(file.path(name)).await.unwrap();
        assert_eq!((report.total, report.prepared.len()), (balance, 0), "{name}");
    }
}

#[tokio::test]
async fn a_resource_that_is_down_hinders_no_other_and_comes_up_by_itself() {
    let coordinator = Coordinator::start().await;
    let mut server = PostgresServer::start(&["max_prepared_transactions=8"]).unwrap();
    server
        .psql("postgres", "CREATE TABLE orders (id bigint PRIMARY KEY)")
        .unwrap();
    server.kill().unwrap();
    let file = AgentFile::new(&coordinator.address)
        .with_ledger("left")
        .with_ledger("blocked")
        .with("postgres", "orders", &url_of(&server, "postgres"));
    std::fs::write(file.path("blocked"), "a file where a directory should be").unwrap();
    let mut agent = file.run(&[]);

    agent
        .logs(&[
            "ERROR",
            "DOWN",
            "resource=\"blocked\"",
            "cannot be made; name a directory",
        ])
        .await;
    agent
        .logs(&["WARN", "the database is not ready", "resource=\"orders\""])
        .await;
    agent
        .logs(&["WARN", "no session; dialing again", "resource=orders"])
        .await;
    agent
        .logs(&["report", "resource=\"orders\"", "connected=false"])
        .await;
    coordinator
        .commit(Transaction::new().operation("left", posting("alice", -1)))
        .await;
    for (resource, operation) in [("blocked", posting("alice", 1)), ("orders", order(1))] {
        let both = Transaction::new()
            .operation("left", posting("alice", -1))
            .operation(resource, operation);
        // Neither was ever seen by this coordinator, so nothing is begun.
        assert_eq!(
            coordinator.in_vain(both).await,
            Err(Reason::UnknownResource),
            "{resource}"
        );
    }

    server.restart().unwrap();
    std::fs::remove_file(file.path("blocked")).unwrap();
    let all = Transaction::new()
        .operation("left", posting("alice", -1))
        .operation("blocked", posting("alice", 1))
        .operation("orders", order(2));
    coordinator.commit(all).await;
    agent
        .logs(&["report", "resource=\"orders\"", "connected=true"])
        .await;

    // Killed while the session is up: work is refused, and goes on after the restart.
    server.kill().unwrap();
    let refused = coordinator
        .in_vain(Transaction::new().operation("orders", order(3)))
        .await;
    assert!(
        matches!(
            refused,
            Ok(Outcome::Aborted { retryable: true, .. }) | Err(Reason::ResourceDown)
        ),
        "{refused:?}"
    );
    server.restart().unwrap();
    coordinator
        .commit(Transaction::new().operation("orders", order(3)))
        .await;
    assert_eq!(agent.end().await, Some(0));
    assert_eq!(
        server.psql("postgres", "SELECT count(*) FROM orders").unwrap(),
        "2"
    );
    assert_eq!(
        server
            .psql("postgres", "SELECT count(*) FROM pg_prepared_xacts")
            .unwrap(),
        "0"
    );
}

#[tokio::test]
async fn another_instance_finishes_what_a_killed_one_promised() {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let database = database(&server);
    let file = AgentFile::new(&coordinator.address).with_ledger("left").with(
        "postgres",
        "orders",
        &url_of(&server, &database),
    );
    let other = AgentFile::new(&coordinator.address).with("postgres", "orders", &url_of(&server, &database));
    let count = || server.psql(&database, "SELECT count(*) FROM orders").unwrap();
    let prepared = || {
        server
            .psql(
                &database,
                "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()",
            )
            .unwrap()
    };

    // Dies between the promise in the database and the vote: nobody decided, so it is rolled back.
    let mut first = file.run(&[(failpoint::VARIABLE, "after_prepare_sync")]);
    let outcome = coordinator
        .outcome(Transaction::new().operation("orders", order(1)))
        .await;
    assert!(matches!(outcome, Outcome::Aborted { .. }), "{outcome:?}");
    first.dies_at("after_prepare_sync").await;
    assert_eq!(prepared(), "1", "the promise stays");
    let second = other.run(&[]);
    until("a rollback by the other instance", async || prepared() == "0").await;
    assert_eq!(count(), "0");
    second.kill();

    // Dies with the decision in hand: the other instance carries it out.
    let mut third = file.run(&[(failpoint::VARIABLE, "after_commit_received")]);
    let outcome = coordinator
        .outcome(Transaction::new().operation("orders", order(2)))
        .await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    third.dies_at("after_commit_received").await;
    assert_eq!(
        (count().as_str(), prepared().as_str()),
        ("0", "1"),
        "decided, and not yet carried out"
    );
    let fourth = other.run(&[]);
    until("a commit by the other instance", async || count() == "1").await;
    assert_eq!(prepared(), "0");
    assert_eq!(fourth.end().await, Some(0));
}

#[tokio::test]
async fn a_branch_that_is_prepared_for_long_is_told_in_the_log() {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let database = database(&server);
    let options = PostgresOptions::new(&server.url(&database), InstanceId(7)).unwrap();
    let resource = PostgresResource::new(options);
    resource.open().await.unwrap();
    // Of a coordinator that is not ours, so that nobody finishes it; its id is from 1970.
    let log = LogId(0xFEED);
    let branch = BranchKey {
        log,
        transaction: TransactionId::new(1_000, Partition(0), Epoch(1), 1),
        branch: BranchId(0),
    };
    let seen = SeenLog {
        log,
        epoch: Epoch(1),
        lsn: 1,
    };
    let vote = resource
        .prepare(branch, Work::Operation(order(1)), seen, PATIENCE)
        .await
        .unwrap();
    assert_eq!(vote, Vote::Prepared { prepared_for: None });

    let file = AgentFile::new(&coordinator.address).with_ledger("left").with(
        "postgres",
        "orders",
        &url_of(&server, &database),
    );
    let mut agent = file.run(&[]);
    let line = agent.logs(&["report", "resource=\"orders\"", "prepared=1"]).await;
    assert!(line.contains("held=0"), "{line}");
    agent
        .logs(&["WARN", "prepared for long", "resource=\"orders\""])
        .await;
    let line = agent.logs(&["report", "resource=\"left\"", "prepared=0"]).await;
    assert!(line.contains("oldest_prepared_s=0"), "{line}");
    assert_eq!(agent.end().await, Some(0));
    resource
        .finish(branch, handfast_participant::Decision::Abort)
        .await
        .unwrap();
}
