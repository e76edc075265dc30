//! One side of the transfers: how an operation is written for it, and how its own state is read at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use handfast_participant::ids::LogId;
use handfast_participant::resources::ledger::{self, LedgerOperation};
use handfast_participant::resources::postgres::{Parameter, SqlOperation};
use tokio_postgres::NoTls;

use crate::bare;
use crate::transfers::{Name, OPENING_BALANCE, account};

/// The schema of the demonstration's tables in PostgreSQL: a database that is in use keeps its own `accounts`.
const SCHEMA: &str = "handfast_bank_transfer";

/// How long making the tables waits for others that use them.
const LOCK_TIMEOUT_MS: u32 = 10_000;

/// A change of one balance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub account: String,
    pub amount: i64,
}

/// What a store holds, read from the store alone.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// The balance of each account.
    pub balances: BTreeMap<String, i64>,
    /// The changes that were made under each reference.
    pub applied: BTreeMap<String, Vec<Change>>,
    /// Branches that are still prepared.
    pub prepared: u64,
}

impl Holdings {
    /// The sum of all balances.
    pub fn total(&self) -> i64 {
        self.balances.values().sum()
    }
}

/// A store and how to talk to it.
pub enum Side {
    Ledger { dir: PathBuf },
    Postgres { url: String },
    Bare { dir: PathBuf },
}

/// Both.
pub struct Sides(pub [Side; 2]);

impl Sides {
    pub fn get(&self, name: Name) -> &Side {
        &self.0[name as usize]
    }
}

impl Side {
    /// The operation that changes `account` by `amount`, in the resource's own encoding.
    pub fn operation(&self, reference: &str, account: &str, amount: i64) -> Bytes {
        match self {
            Side::Ledger { .. } => LedgerOperation::post(reference, account, amount).encode(),
            Side::Postgres { .. } => SqlOperation::new()
                // Refused unless exactly one row changes: an account that exists and can pay.
                .then(
                    format!(
                        "UPDATE {SCHEMA}.accounts SET balance = balance + $1 WHERE name = $2 AND balance + $1 >= 0"
                    ),
                    [Parameter::from(amount), account.into()],
                )
                .expecting(1)
                .then(
                    format!("INSERT INTO {SCHEMA}.applied (reference, account, amount) VALUES ($1, $2, $3)"),
                    [Parameter::from(reference), account.into(), amount.into()],
                )
                .expecting(1)
                .encode(),
            Side::Bare { .. } => unreachable!("a bare store is asked in its own words"),
        }
    }

    /// Makes the accounts, where the side's process does not.
    pub async fn open_accounts(&self, accounts: u16) -> anyhow::Result<()> {
        let Side::Postgres { url } = self else {
            return Ok(());
        };
        let client = connect(url).await?;
        refuse_leftovers(&client).await?;
        client
            .batch_execute(&format!(
                "SET lock_timeout = {LOCK_TIMEOUT_MS}; \
                 DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; \
                 CREATE SCHEMA {SCHEMA}; \
                 CREATE TABLE {SCHEMA}.accounts (name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)); \
                 CREATE TABLE {SCHEMA}.applied (reference text NOT NULL, account text NOT NULL, amount bigint NOT NULL)"
            ))
            .await
            .with_context(|| format!("cannot make the schema {SCHEMA} anew; somebody may be using it, see pg_locks"))?;
        for number in 0..accounts {
            client
                .execute(
                    &format!("INSERT INTO {SCHEMA}.accounts VALUES ($1, $2)"),
                    &[&account(number), &OPENING_BALANCE],
                )
                .await?;
        }
        Ok(())
    }

    /// What the store holds, and what the coordinator of this log has left prepared in it. Its own process must have ended; a
    /// PostgreSQL server must be up.
    pub async fn holdings(&self, log: LogId) -> anyhow::Result<Holdings> {
        match self {
            Side::Bare { dir } => bare::inspect(dir),
            Side::Ledger { dir } => {
                let report = ledger::inspect(dir)
                    .await
                    .context("cannot read the ledger's own state")?;
                let mut applied = BTreeMap::<_, Vec<Change>>::new();
                for posting in report.applied {
                    let changes = posting.entries.into_iter().map(|entry| Change {
                        account: entry.account,
                        amount: entry.delta,
                    });
                    applied.entry(posting.reference).or_default().extend(changes);
                }
                Ok(Holdings {
                    balances: report.balances,
                    applied,
                    prepared: report.prepared.len() as u64,
                })
            }
            Side::Postgres { url } => postgres_holdings(url, log).await,
        }
    }
}

/// What an interrupted run has left prepared holds locks on its tables until somebody ends it: dropping them would wait for ever.
async fn refuse_leftovers(client: &tokio_postgres::Client) -> anyhow::Result<()> {
    // A prepared transaction has no process. Its lock on its own number tells which of the other locks are its (manual, "pg_locks").
    let rows = client
        .query(
            "SELECT DISTINCT p.gid FROM pg_prepared_xacts p \
             JOIN pg_locks own ON own.pid IS NULL AND own.transactionid = p.transaction \
             JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction \
             JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE p.database = current_database() AND n.nspname = $1 ORDER BY p.gid",
            &[&SCHEMA],
        )
        .await?;
    let gids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let Some(first) = gids.first() else {
        return Ok(());
    };
    bail!(
        "{} transactions of an earlier run are still prepared in this database and hold the tables of {SCHEMA}; that run's coordinator \
         is gone, so end them by hand and start again: ROLLBACK PREPARED '{first}' (all: SELECT gid FROM pg_prepared_xacts)",
        gids.len()
    )
}

async fn postgres_holdings(url: &str, log: LogId) -> anyhow::Result<Holdings> {
    let client = connect(url).await?;
    let balances = client
        .query(&format!("SELECT name, balance FROM {SCHEMA}.accounts"), &[])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let mut applied = BTreeMap::<_, Vec<Change>>::new();
    let rows = client
        .query(
            &format!("SELECT reference, account, amount FROM {SCHEMA}.applied"),
            &[],
        )
        .await?;
    for row in rows {
        applied.entry(row.get(0)).or_default().push(Change {
            account: row.get(1),
            amount: row.get(2),
        });
    }
    let prepared = client
        .query_one(
            "SELECT count(*) FROM pg_prepared_xacts \
             WHERE database = current_database() AND starts_with(gid, $1)",
            &[&format!("hf1_{:032x}_", log.0)],
        )
        .await?
        .get::<_, i64>(0)
        .unsigned_abs();
    Ok(Holdings {
        balances,
        applied,
        prepared,
    })
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| "cannot reach PostgreSQL: check the URL given with --postgres".to_owned())?;
    tokio::spawn(connection);
    Ok(client)
}
