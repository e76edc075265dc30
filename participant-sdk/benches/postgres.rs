//! What a transaction over two PostgreSQL servers costs: through a coordinator, and by hand without one.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench postgres`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod load;

use bytes::Bytes;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::postgres::tokio_postgres::{self, Client, NoTls, Statement};
use handfast_participant::resources::postgres::{Parameter, PostgresOptions, PostgresResource, SqlOperation};
use handfast_servers::PostgresServer;
use load::{ACCOUNTS, CLIENTS, CONCURRENCY, Cluster, account};

const POST: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    let servers = [(); 2].map(|()| PostgresServer::start(&["max_prepared_transactions=128"]).unwrap());
    let urls = servers.each_ref().map(|server| {
        server
            .psql(
                "postgres",
                &format!(
                    "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL); \
                 INSERT INTO accounts SELECT n, 0 FROM generate_series(0, {}) n",
                    ACCOUNTS - 1
                ),
            )
            .unwrap();
        server.url("postgres")
    });
    let stores = urls.each_ref().map(|url| {
        let mut options = PostgresOptions::new(url, InstanceId(1)).unwrap();
        options.work_connections = CONCURRENCY;
        options.decision_connections = CONCURRENCY;
        PostgresResource::new(options)
    });
    let cluster = Cluster::start(stores).await;
    cluster.ready(SqlOperation::new().encode()).await;
    let mut by_hand = Vec::new();
    for _ in 0..CLIENTS[CLIENTS.len() - 1] {
        by_hand.push([Side::connect(&urls[0]).await, Side::connect(&urls[1]).await]);
    }

    let (cluster, by_hand) = (&cluster, &by_hand);
    load::compare(
        "PostgreSQL",
        |client, turn| async move {
            transfer_by_hand(&by_hand[usize::try_from(client).unwrap()], client, turn).await;
            true
        },
        |client, turn| async move {
            let operations = [post(-1, client, turn, 0), post(1, client, turn, 1)];
            cluster.execute(operations).await.unwrap()
        },
    )
    .await;
}

fn post(amount: i64, client: u64, turn: u64, side: u64) -> Bytes {
    let id = i64::try_from(account(client, turn, side)).unwrap();
    SqlOperation::new()
        .then(POST, [Parameter::from(amount), id.into()])
        .expecting(1)
        .encode()
}

struct Side {
    client: Client,
    post: Statement,
}

impl Side {
    async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let post = client.prepare(POST).await.unwrap();
        Side { client, post }
    }

    async fn prepare(&self, name: &str, amount: i64, id: u64) {
        let id = i64::try_from(id).unwrap();
        self.client.batch_execute("BEGIN").await.unwrap();
        self.client.execute(&self.post, &[&amount, &id]).await.unwrap();
        self.client
            .batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
            .await
            .unwrap();
    }
}

/// Prepares on both sides at once, then commits on both.
async fn transfer_by_hand(sides: &[Side; 2], client: u64, turn: u64) {
    let name = format!("by hand {client} {turn}");
    let [left, right] = sides;
    tokio::join!(
        left.prepare(&name, -1, account(client, turn, 0)),
        right.prepare(&name, 1, account(client, turn, 1))
    );
    let commit = format!("COMMIT PREPARED '{name}'");
    let (one, other) = tokio::join!(
        left.client.batch_execute(&commit),
        right.client.batch_execute(&commit)
    );
    one.and(other).unwrap();
}
