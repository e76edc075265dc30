//! What a transaction over two MariaDB servers costs: through a coordinator, and by hand without one.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench mariadb`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod load;

use bytes::Bytes;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::mariadb::mysql_async::prelude::Queryable;
use handfast_participant::resources::mariadb::mysql_async::{Conn, Opts, OptsBuilder};
use handfast_participant::resources::mariadb::{MariadbOptions, MariadbResource, Parameter, SqlOperation};
use handfast_servers::MariadbServer;
use load::{ACCOUNTS, CLIENTS, CONCURRENCY, Cluster, account};
use tokio::sync::Mutex;

const POST: &str = "UPDATE accounts SET balance = balance + ? WHERE id = ?";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    let servers = [(); 2].map(|()| MariadbServer::start(&["max-connections=500"]).unwrap());
    let urls = servers.each_ref().map(|server| {
        let database = server.create_database().unwrap();
        server
            .sql(
                &database,
                &format!(
                    "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL); \
                     INSERT INTO accounts SELECT seq, 0 FROM seq_0_to_{}",
                    ACCOUNTS - 1
                ),
            )
            .unwrap();
        server.url(&database)
    });
    let stores = urls.each_ref().map(|url| {
        let mut options = MariadbOptions::new(url, InstanceId(1)).unwrap();
        options.work_connections = CONCURRENCY;
        options.decision_connections = CONCURRENCY;
        MariadbResource::new(options)
    });
    let cluster = Cluster::start(stores).await;
    cluster.ready(SqlOperation::new().encode()).await;
    let mut by_hand = Vec::new();
    for _ in 0..CLIENTS[CLIENTS.len() - 1] {
        by_hand.push(Mutex::new([connect(&urls[0]).await, connect(&urls[1]).await]));
    }

    let (cluster, by_hand) = (&cluster, &by_hand);
    load::compare(
        "MariaDB",
        |client, turn| async move {
            let mut sides = by_hand[usize::try_from(client).unwrap()].lock().await;
            transfer_by_hand(&mut sides, client, turn).await;
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

async fn connect(url: &str) -> Conn {
    let opts = OptsBuilder::from_opts(Opts::from_url(url).unwrap()).prefer_socket(false);
    Conn::new(opts).await.unwrap()
}

/// Prepares on both sides at once, then commits on both.
async fn transfer_by_hand(sides: &mut [Conn; 2], client: u64, turn: u64) {
    let name = format!("'by hand {client} {turn}'");
    let [left, right] = sides;
    tokio::join!(
        prepare_by_hand(left, &name, -1, account(client, turn, 0)),
        prepare_by_hand(right, &name, 1, account(client, turn, 1))
    );
    let commit = format!("XA COMMIT {name}");
    let (one, other) = tokio::join!(left.query_drop(&commit), right.query_drop(&commit));
    one.and(other).unwrap();
}

async fn prepare_by_hand(conn: &mut Conn, name: &str, amount: i64, id: u64) {
    conn.query_drop(format!("XA START {name}")).await.unwrap();
    conn.exec_drop(POST, (amount, id)).await.unwrap();
    conn.query_drop(format!("XA END {name}; XA PREPARE {name}"))
        .await
        .unwrap();
}
