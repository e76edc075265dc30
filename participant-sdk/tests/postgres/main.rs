//! `PostgresResource` against a real server.
//!
//! - `agent`: the ready-made process
//! - `checking`: what looking at a database finds
//! - `branches`: votes, decisions, markers, fences
//! - `hindrance`: locks, hung work, full slots, more work than connections
//! - `interactive`: branches that are joined step by step
//! - `opening`: what is checked before anything is promised
//! - `crash`: killed servers and lost connections
//! - `replication`: a synchronous standby that is away
//! - `rerouting`: an address that leads to another server in the middle of a session
//! - `scanning`: scan, seen, forget
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "agent")]
mod agent;
mod branches;
mod checking;
mod crash;
mod hindrance;
mod interactive;
mod opening;
mod replication;
mod rerouting;
mod scanning;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use handfast_participant::ids::{BranchId, Epoch, InstanceId, LogId, Partition, TransactionId};
use handfast_participant::resources::postgres::tokio_postgres::{self, Client, NoTls};
use handfast_participant::resources::postgres::{Parameter, PostgresOptions, PostgresResource, SqlOperation};
use handfast_participant::{BranchKey, Refusal, Resource, SeenLog, Vote, Work};
use handfast_servers::PostgresServer;

const LOG: LogId = LogId(0x10);
/// Long enough for a busy machine, short enough for a test that hangs.
const LIMIT: Duration = Duration::from_secs(20);
const PREPARED: Vote = Vote::Prepared { prepared_for: None };

/// A database with accounts of alice and bob, 100 each.
struct Bank {
    server: Arc<PostgresServer>,
    database: String,
}

impl Bank {
    fn new() -> Self {
        Self::on(PostgresServer::shared().unwrap())
    }

    fn on(server: Arc<PostgresServer>) -> Self {
        let database = server.create_database().unwrap();
        let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)); \
                        INSERT INTO accounts VALUES ('alice', 100), ('bob', 100)";
        server.psql(&database, accounts).unwrap();
        Bank { server, database }
    }

    fn url(&self) -> String {
        self.server.url(&self.database)
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql).unwrap()
    }

    fn balance(&self, id: &str) -> i64 {
        self.sql(&format!("SELECT balance FROM accounts WHERE id = '{id}'"))
            .parse()
            .unwrap()
    }

    fn options(&self) -> PostgresOptions {
        options(&self.url())
    }

    async fn open(&self) -> PostgresResource {
        open(self.options()).await
    }

    /// A connection under any name.
    async fn connect(&self, application_name: &str) -> Client {
        let mut config: tokio_postgres::Config = self.url().parse().unwrap();
        let (client, connection) = config
            .application_name(application_name)
            .connect(NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// A connection that holds alice's account locked until it says ROLLBACK.
    async fn lock_alice(&self) -> Client {
        let client = self.connect("a person").await;
        client
            .batch_execute("BEGIN; SELECT FROM accounts WHERE id = 'alice' FOR UPDATE")
            .await
            .unwrap();
        client
    }

    /// Waits until so many backends wait for a lock.
    async fn until_blocked(&self, backends: usize) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            self.database
        );
        until(|| self.sql(&sql) == backends.to_string()).await;
    }
}

fn options(url: &str) -> PostgresOptions {
    PostgresOptions::new(url, InstanceId(u128::from(next()))).unwrap()
}

async fn open(options: PostgresOptions) -> PostgresResource {
    let resource = PostgresResource::new(options);
    resource.open().await.unwrap();
    resource
}

async fn until(mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waited)
        .await
        .expect("it comes true in time");
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// A branch that no other test has.
fn branch() -> BranchKey {
    let transaction = TransactionId::new(1_000, Partition(0), Epoch(3), next());
    BranchKey {
        log: LOG,
        transaction,
        branch: BranchId(0),
    }
}

fn gid(branch: BranchKey) -> String {
    format!(
        "hf1_{:032x}_{:032x}_{:x}",
        branch.log.0,
        branch.transaction.as_u128(),
        branch.branch.0
    )
}

fn seen(epoch: u32, lsn: u64) -> SeenLog {
    SeenLog {
        log: LOG,
        epoch: Epoch(epoch),
        lsn,
    }
}

/// Adds to an account.
fn add(id: &str, amount: i64) -> SqlOperation {
    SqlOperation::new()
        .then(
            "UPDATE accounts SET balance = balance + $1 WHERE id = $2",
            [Parameter::from(amount), id.into()],
        )
        .expecting(1)
}

fn sql(statement: &str) -> SqlOperation {
    SqlOperation::new().then(statement, [] as [Parameter; 0])
}

async fn prepare(resource: &PostgresResource, branch: BranchKey, operation: &SqlOperation) -> Vote {
    resource
        .prepare(branch, Work::Operation(operation.encode()), seen(3, 1), LIMIT)
        .await
        .unwrap()
}

fn refused(vote: Vote) -> Refusal {
    match vote {
        Vote::Refused(refusal) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}
