//! Interactive transactions over a real PostgreSQL server and a real coordinator process: services join, work on connections of
//! their own, and the application commits what it counted.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and says where"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bank_transfer::run::POSTGRES_SETTINGS;
use demonstration::coordinator::{self, status};
use demonstration::processes::Process;
use handfast_coordinator::failpoint::{Point, VARIABLE};
use handfast_participant::Handle;
use handfast_participant::client::ActiveTransaction;
use handfast_participant::ids::{BranchId, InstanceId};
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::runtime::random_bits;
use handfast_participant::{Client, Outcome, Participant, Wait};
use handfast_servers::{PostgresServer, free_port};
use tokio_postgres::NoTls;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with two tables, a coordinator, and a service that takes part with its database.
struct Shop {
    coordinator: Process,
    address: SocketAddr,
    client: Client,
    service: Handle,
    orders: PostgresResource,
    observer: tokio_postgres::Client,
    // Dropped last: the server, and then its folder.
    _server: PostgresServer,
    _dir: tempfile::TempDir,
}

impl Shop {
    async fn open(variables: &[(&str, &str)]) -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let server = PostgresServer::start(&POSTGRES_SETTINGS).unwrap();
        let (observer, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let tables = "CREATE TABLE orders (item text); CREATE TABLE stock (item text)";
        observer.batch_execute(tables).await.unwrap();

        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let program = PathBuf::from(env!("CARGO_BIN_EXE_bank-transfer"));
        let arguments = coordinator::arguments(dir.path(), address);
        let coordinator =
            Process::start_program(program, "coordinator", arguments, variables, dir.path()).unwrap();

        let options = PostgresOptions::new(&server.url("postgres"), InstanceId(random_bits())).unwrap();
        let orders = PostgresResource::new(options);
        let participant = Participant::builder("orders-db", [address.to_string()])
            .unwrap()
            .resource(orders.clone());
        let service = participant.handle();
        tokio::spawn(participant.run(std::future::pending()));
        let client = Client::connect([address.to_string()]).unwrap();
        let shop = Shop {
            coordinator,
            address,
            client,
            service,
            orders,
            observer,
            _server: server,
            _dir: dir,
        };
        shop.until_connected().await;
        shop
    }

    async fn until_connected(&self) {
        until("the service's session", async || {
            let status = status(self.address).await.ok()?;
            status
                .resources
                .iter()
                .any(|resource| resource.sessions > 0)
                .then_some(())
        })
        .await;
    }

    /// A service joins, writes one row, and says which branch it was and how much it did.
    async fn write(&self, active: &ActiveTransaction, table: &str) -> (BranchId, u64) {
        let enlisted = self.service.enlist(active.id()).await.unwrap();
        let mut branch = self.orders.join(enlisted.branch()).await.unwrap();
        branch
            .execute(&format!("INSERT INTO {table} VALUES ($1)"), &["lamp".into()])
            .await
            .unwrap();
        let receipt = branch.receipt();
        (receipt.branch, receipt.operations)
    }

    /// Rows in both tables, once nothing is prepared and no other transaction is open any more.
    async fn rows(&self) -> (i64, i64) {
        let open = "SELECT (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM pg_stat_activity \
                    WHERE state LIKE 'idle in transaction%')";
        until("the end of all branches", async || {
            (self.observer.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
        })
        .await;
        let counts = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM stock)";
        let row = self.observer.query_one(counts, &[]).await.unwrap();
        (row.get(0), row.get(1))
    }
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < give_up_at,
            "{what} did not come within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_aborted(outcome: &Outcome, expected: &str) -> bool {
    matches!(outcome, Outcome::Aborted { reason, .. } if reason.contains(expected))
}

#[tokio::test]
async fn branches_that_joined_and_were_expected_commit_together() {
    let shop = Shop::open(&[]).await;
    let mut active = shop.client.begin(None).await.unwrap();
    for table in ["orders", "stock"] {
        let (branch, operations) = shop.write(&active, table).await;
        active.expect(branch, operations);
    }
    let outcome = active.commit(Wait::Applied).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    assert_eq!(shop.rows().await, (1, 1));
    let again = active.commit(Wait::Decided).await.unwrap();
    assert_eq!(again, outcome, "a repeated commit is the same commit");
}

#[tokio::test]
async fn a_branch_that_nobody_expected_aborts_all() {
    let shop = Shop::open(&[]).await;
    let mut active = shop.client.begin(None).await.unwrap();
    let (branch, operations) = shop.write(&active, "orders").await;
    active.expect(branch, operations);
    // Its answer to the application was lost.
    shop.write(&active, "stock").await;
    let outcome = active.commit(Wait::Applied).await.unwrap();
    assert!(is_aborted(&outcome, "BRANCH_MISMATCH"), "{outcome:?}");
    assert_eq!(shop.rows().await, (0, 0));
}

#[tokio::test]
async fn another_count_of_operations_aborts_all() {
    let shop = Shop::open(&[]).await;
    let mut active = shop.client.begin(None).await.unwrap();
    let (branch, operations) = shop.write(&active, "orders").await;
    active.expect(branch, operations + 1);
    let outcome = active.commit(Wait::Applied).await.unwrap();
    assert!(matches!(outcome, Outcome::Aborted { .. }), "{outcome:?}");
    assert_eq!(shop.rows().await, (0, 0));
}

#[tokio::test]
async fn an_abort_and_a_deadline_undo_the_work() {
    let shop = Shop::open(&[]).await;
    let active = shop.client.begin(None).await.unwrap();
    shop.write(&active, "orders").await;
    assert!(matches!(active.abort().await.unwrap(), Outcome::Aborted { .. }));
    let late = shop.client.begin(Some(Duration::from_millis(500))).await.unwrap();
    shop.write(&late, "stock").await;
    assert_eq!(shop.rows().await, (0, 0), "the second one aborts by itself");
}

#[tokio::test]
async fn a_coordinator_that_dies_before_the_commit_leaves_nothing() {
    let mut shop = Shop::open(&[]).await;
    let mut active = shop.client.begin(None).await.unwrap();
    let (branch, operations) = shop.write(&active, "orders").await;
    active.expect(branch, operations);
    shop.coordinator.kill().unwrap();
    shop.coordinator.restart().unwrap();
    shop.until_connected().await;
    let outcome = active.commit(Wait::Applied).await;
    assert!(
        !matches!(outcome, Ok(Outcome::Committed { .. } | Outcome::Heuristic { .. })),
        "{outcome:?}"
    );
    assert_eq!(shop.rows().await, (0, 0));
}

#[tokio::test]
async fn a_coordinator_that_dies_with_a_durable_decision_commits() {
    let mut shop = Shop::open(&[(VARIABLE, Point::AfterDecisionSync.as_str())]).await;
    let mut active = shop.client.begin(None).await.unwrap();
    for table in ["orders", "stock"] {
        let (branch, operations) = shop.write(&active, table).await;
        active.expect(branch, operations);
    }
    let committing = tokio::spawn(async move { active.commit(Wait::Applied).await });
    until("the coordinator's end", async || {
        shop.coordinator.has_ended().unwrap().then_some(())
    })
    .await;
    shop.coordinator.restart().unwrap();
    let outcome = committing.await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    assert_eq!(shop.rows().await, (1, 1));
}
