//! `MariadbResource` against a real server.
//!
//! - `branches`: votes, decisions, markers, fences
//! - `traps`: what MariaDB does that one would not expect, each with what the resource makes of it
//! - `hindrance`: locks, hung work, more work than connections
//! - `interactive`: branches that are joined step by step
//! - `opening`: what is checked before anything is promised
//! - `crash`: killed servers and lost connections
//! - `rerouting`: an address that leads to another server in the middle of a session
//! - `scanning`: scan, seen, forget
#![cfg(feature = "mariadb")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod branches;
mod crash;
mod hindrance;
mod interactive;
mod opening;
mod rerouting;
mod scanning;
mod traps;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use handfast_participant::ids::{BranchId, Epoch, InstanceId, LogId, Partition, StoreId, TransactionId};
use handfast_participant::resources::mariadb::mysql_async::prelude::Queryable;
use handfast_participant::resources::mariadb::mysql_async::{Conn, Opts};
use handfast_participant::resources::mariadb::{MariadbOptions, MariadbResource, Parameter, SqlOperation};
use handfast_participant::{BranchKey, Completion, Decision, Refusal, Resource, SeenLog, Vote, Work};
use handfast_servers::MariadbServer;

const LOG: LogId = LogId(0x10);
/// Long enough for a busy machine, short enough for a test that hangs.
const LIMIT: Duration = Duration::from_secs(20);
const PREPARED: Vote = Vote::Prepared { prepared_for: None };
const NOTHING: [Parameter; 0] = [];

/// The server that all tests share; stopped when the last of them ends.
fn shared() -> Arc<MariadbServer> {
    static SHARED: Mutex<Weak<MariadbServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(MariadbServer::start(&["max-connections=500"]).unwrap());
        *shared = Arc::downgrade(&server);
        server
    })
}

/// A database with accounts of alice and bob, 100 each.
struct Bank {
    server: Arc<MariadbServer>,
    database: String,
}

impl Bank {
    fn new() -> Self {
        Self::on(shared())
    }

    fn on(server: Arc<MariadbServer>) -> Self {
        let database = server.create_database().unwrap();
        furnish(&server, &database);
        Bank { server, database }
    }

    fn url(&self) -> String {
        self.server.url(&self.database)
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, sql).unwrap()
    }

    fn balance(&self, id: &str) -> i64 {
        self.sql(&format!("SELECT balance FROM accounts WHERE id = '{id}'"))
            .parse()
            .unwrap()
    }

    fn options(&self) -> MariadbOptions {
        options(&self.url())
    }

    async fn open(&self) -> MariadbResource {
        open(self.options()).await
    }

    /// A connection of nobody's resource.
    async fn connect(&self) -> Conn {
        Conn::new(Opts::from_url(&self.url()).unwrap()).await.unwrap()
    }

    /// Defines a procedure or function, whose body has semicolons of its own.
    async fn define(&self, sql: &str) {
        run(&mut self.connect().await, sql).await;
    }

    /// A connection that holds alice's account locked until it says ROLLBACK.
    async fn lock_alice(&self) -> Conn {
        let mut conn = self.connect().await;
        run(&mut conn, "BEGIN").await;
        run(&mut conn, "SELECT 1 FROM accounts WHERE id = 'alice' FOR UPDATE").await;
        conn
    }

    /// Waits until so many transactions of this database wait for a lock. InnoDB keeps its table of transactions as it was for
    /// as long as somebody has looked within the last 100 ms, so all tests of a server look one after the other, with a pause.
    async fn until_blocked(&self, transactions: usize) {
        const PAUSE: Duration = Duration::from_millis(150);
        static LOOKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.INNODB_TRX t \
             JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id \
             WHERE p.DB = '{}' AND t.trx_state = 'LOCK WAIT'",
            self.database
        );
        let waited = async {
            loop {
                let _alone = LOOKING.lock().await;
                tokio::time::sleep(PAUSE).await;
                if self.sql(&sql) == transactions.to_string() {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, waited)
            .await
            .expect("they wait for a lock in time");
    }

    /// How many transactions the server holds prepared for this database's store.
    fn prepared(&self) -> usize {
        let store = self.sql("SELECT store_id FROM handfast_store");
        let listed = self.sql("XA RECOVER FORMAT='SQL'");
        listed.lines().filter(|line| line.contains(&store)).count()
    }
}

fn furnish(server: &MariadbServer, database: &str) {
    let sql = "CREATE TABLE accounts (id VARCHAR(20) PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0)); \
               INSERT INTO accounts VALUES ('alice', 100), ('bob', 100)";
    server.sql(database, sql).unwrap();
}

async fn run(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap();
}

/// The number of the server's error.
async fn error_of(conn: &mut Conn, sql: &str) -> u16 {
    use handfast_participant::resources::mariadb::mysql_async::Error;
    match conn.query_drop(sql).await {
        Err(Error::Server(error)) => error.code,
        other => panic!("{sql}: {other:?} instead of an error of the server's"),
    }
}

fn options(url: &str) -> MariadbOptions {
    MariadbOptions::new(url, InstanceId(u128::from(next()))).unwrap()
}

async fn open(options: MariadbOptions) -> MariadbResource {
    let resource = MariadbResource::new(options);
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

/// How a branch is called in XA statements.
fn xid(store: StoreId, branch: BranchKey) -> String {
    format!(
        "'{:032x}{:032x}','{:032x}{:08x}',{}",
        branch.log.0,
        branch.transaction.as_u128(),
        store.0,
        branch.branch.0,
        0x4846_5831
    )
}

/// How a branch is called in the tables.
fn key(branch: BranchKey) -> String {
    format!(
        "{:032x}{:032x}{:08x}",
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
            "UPDATE accounts SET balance = balance + ? WHERE id = ?",
            [Parameter::from(amount), id.into()],
        )
        .expecting(1)
}

fn sql(statement: &str) -> SqlOperation {
    SqlOperation::new().then(statement, NOTHING)
}

async fn prepare(resource: &MariadbResource, branch: BranchKey, operation: &SqlOperation) -> Vote {
    resource
        .prepare(branch, Work::Operation(operation.encode()), seen(3, 1), LIMIT)
        .await
        .unwrap()
}

async fn done(resource: &MariadbResource, branch: BranchKey, decision: Decision) {
    assert_eq!(resource.finish(branch, decision).await.unwrap(), Completion::Done);
}

fn refused(vote: Vote) -> Refusal {
    match vote {
        Vote::Refused(refusal) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}
