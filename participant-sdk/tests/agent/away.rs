//! A server that is not there when the agent starts, and goes away later: MariaDB and Kafka. (PostgreSQL is in `serving`.)
//!
//! 1. At the start the resource is down, and no other one waits for it; it takes part as soon as its server is there.
//! 2. Away with nothing promised: the agent says so, new work is refused and may succeed later, and nothing is left of it.
//! 3. Away with a promise that is decided: the decision waits, and is carried out once the server is back.

use handfast_participant::proto::status::Reason;
use handfast_participant::resources::kafka::KafkaOperation;
use handfast_participant::resources::mariadb::{Parameter, SqlOperation};
use handfast_participant::{Outcome, Transaction, failpoint};
use handfast_servers::{KafkaBroker, MariadbServer};

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{posting, until};

/// Where orders are kept.
trait Server {
    const KIND: &'static str;
    /// The agent says this of it at the start.
    const NOT_READY: &'static str;

    /// A table of the agent's file, without kind and name.
    fn keys(&self) -> String;
    fn kill(&mut self);
    fn restart(&mut self);
    /// Keeps an order.
    fn order(&self, id: i64) -> bytes::Bytes;
    /// Orders that a reader sees.
    fn orders(&self) -> Vec<i64>;
    /// Branches that the server holds.
    fn is_anything_open(&self) -> bool;
}

struct Mariadb {
    server: MariadbServer,
    database: String,
}

impl Server for Mariadb {
    const KIND: &'static str = "mariadb";
    const NOT_READY: &'static str = "the database is not ready";

    fn keys(&self) -> String {
        format!("url = {:?}", self.server.url(&self.database))
    }

    fn kill(&mut self) {
        self.server.kill().unwrap();
    }

    fn restart(&mut self) {
        self.server.restart().unwrap();
    }

    fn order(&self, id: i64) -> bytes::Bytes {
        SqlOperation::new()
            .then("INSERT INTO orders VALUES (?)", [Parameter::from(id)])
            .expecting(1)
            .encode()
    }

    fn orders(&self) -> Vec<i64> {
        let listed = self
            .server
            .sql(&self.database, "SELECT id FROM orders ORDER BY id")
            .unwrap();
        listed.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn is_anything_open(&self) -> bool {
        !self.server.sql(&self.database, "XA RECOVER").unwrap().is_empty()
    }
}

struct Kafka {
    broker: KafkaBroker,
}

const TOPIC: &str = "orders";

impl Server for Kafka {
    const KIND: &'static str = "kafka";
    const NOT_READY: &'static str = "the cluster is not ready";

    fn keys(&self) -> String {
        format!(
            "brokers = [{:?}]\njournal_topic = \"handfast-orders\"",
            self.broker.bootstrap()
        )
    }

    fn kill(&mut self) {
        self.broker.kill().unwrap();
    }

    fn restart(&mut self) {
        self.broker.restart().unwrap();
    }

    fn order(&self, id: i64) -> bytes::Bytes {
        KafkaOperation::new()
            .record(TOPIC, "key", id.to_string())
            .encode()
    }

    fn orders(&self) -> Vec<i64> {
        let records = self.broker.read_committed(TOPIC).unwrap().into_iter();
        let mut orders: Vec<i64> = records
            .map(|record| {
                std::str::from_utf8(&record.value.unwrap())
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        orders.sort_unstable();
        orders
    }

    fn is_anything_open(&self) -> bool {
        !self.broker.is_stable(TOPIC).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_away_at_the_start_and_later_is_told_and_loses_nothing() {
    let server = MariadbServer::start(&[]).unwrap();
    let database = server.create_database().unwrap();
    server
        .sql(&database, "CREATE TABLE orders (id BIGINT PRIMARY KEY)")
        .unwrap();
    away_at_the_start_and_later(Mariadb { server, database }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_away_at_the_start_and_later_is_told_and_loses_nothing() {
    let broker = KafkaBroker::start(&[]).unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    away_at_the_start_and_later(Kafka { broker }).await;
}

async fn away_at_the_start_and_later<S: Server>(mut server: S) {
    let coordinator = Coordinator::start().await;
    let file =
        AgentFile::new(&coordinator.address)
            .with_ledger("left")
            .with(S::KIND, "orders", &server.keys());
    let order = |server: &S, id| Transaction::new().operation("orders", server.order(id));
    let both = |server: &S, id| order(server, id).operation("left", posting("alice", -1));

    server.kill();
    let mut agent = file.run(&[]);
    agent.logs(&["WARN", S::NOT_READY, "resource=\"orders\""]).await;
    agent
        .logs(&["WARN", "no session; dialing again", "resource=orders"])
        .await;
    agent
        .logs(&["report", "resource=\"orders\"", "connected=false"])
        .await;
    coordinator
        .commit(Transaction::new().operation("left", posting("alice", -1)))
        .await;
    assert_eq!(
        coordinator.in_vain(both(&server, 1)).await,
        Err(Reason::UnknownResource),
        "it was never seen by this coordinator, so nothing is begun"
    );
    server.restart();
    coordinator.commit(both(&server, 2)).await;
    agent
        .logs(&[
            "report",
            "resource=\"orders\"",
            "connected=true",
            "store_answers=true",
        ])
        .await;

    server.kill();
    let refused = coordinator.in_vain(both(&server, 3)).await;
    assert!(
        matches!(
            refused,
            Ok(Outcome::Aborted { retryable: true, .. }) | Err(Reason::ResourceDown)
        ),
        "{refused:?}"
    );
    agent
        .logs(&["WARN", "DOWN: the store does not answer", "resource=\"orders\""])
        .await;
    agent
        .logs(&["report", "resource=\"orders\"", "store_answers=false"])
        .await;
    coordinator
        .commit(Transaction::new().operation("left", posting("alice", -1)))
        .await;
    server.restart();
    coordinator.commit(both(&server, 4)).await;
    assert_eq!(agent.end().await, Some(0));
    until("nothing to be left of what was refused", async || {
        !server.is_anything_open() && server.orders() == [2, 4]
    })
    .await;

    // It has promised, and dies before it hears of the decision; then the server goes away too.
    let mut agent = file.run(&[(failpoint::VARIABLE, "after_commit_received")]);
    let outcome = coordinator.outcome(order(&server, 5)).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    agent.dies_at("after_commit_received").await;
    assert!(server.is_anything_open());
    server.kill();
    let mut agent = file.run(&[]);
    agent
        .logs(&["WARN", "no session; dialing again", "resource=orders"])
        .await;
    server.restart();
    until("the decision to be carried out", async || {
        !server.is_anything_open() && server.orders() == [2, 4, 5]
    })
    .await;
    assert_eq!(agent.end().await, Some(0));
}
