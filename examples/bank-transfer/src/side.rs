//! One side of the transfers: how an operation is written for it, and how its own state is read at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use handfast_participant::resources::ledger::{self, LedgerOperation};
use handfast_participant::resources::postgres::{Parameter, SqlOperation};
use tokio_postgres::NoTls;

use crate::bare;
use crate::transfers::{Name, OPENING_BALANCE, account};

/// What a store holds, read from the store alone.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// The sum of all balances.
    pub total: i64,
    /// How often each reference was applied.
    pub applied: BTreeMap<String, u64>,
    /// Branches that are still prepared.
    pub prepared: u64,
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
                    "UPDATE accounts SET balance = balance + $1 WHERE name = $2 AND balance + $1 >= 0",
                    [Parameter::from(amount), account.into()],
                )
                .expecting(1)
                .then(
                    "INSERT INTO applied (reference, account, amount) VALUES ($1, $2, $3)",
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
        client
            .batch_execute(
                "DROP TABLE IF EXISTS accounts, applied; \
                 CREATE TABLE accounts (name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)); \
                 CREATE TABLE applied (reference text NOT NULL, account text NOT NULL, amount bigint NOT NULL)",
            )
            .await?;
        for number in 0..accounts {
            client
                .execute(
                    "INSERT INTO accounts VALUES ($1, $2)",
                    &[&account(number), &OPENING_BALANCE],
                )
                .await?;
        }
        Ok(())
    }

    /// What the store holds. Its own process must have ended; a PostgreSQL server must be up.
    pub async fn holdings(&self) -> anyhow::Result<Holdings> {
        match self {
            Side::Bare { dir } => bare::inspect(dir),
            Side::Ledger { dir } => {
                let report = ledger::inspect(dir)
                    .await
                    .context("cannot read the ledger's own state")?;
                let mut applied = BTreeMap::new();
                for entry in &report.applied {
                    *applied.entry(entry.reference.clone()).or_default() += 1;
                }
                Ok(Holdings {
                    total: i64::try_from(report.total)?,
                    applied,
                    prepared: report.prepared.len() as u64,
                })
            }
            Side::Postgres { url } => {
                let client = connect(url).await?;
                let total = client
                    .query_one("SELECT sum(balance)::bigint FROM accounts", &[])
                    .await?
                    .get(0);
                let rows = client
                    .query("SELECT reference, count(*) FROM applied GROUP BY reference", &[])
                    .await?;
                let applied = rows
                    .iter()
                    .map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs()))
                    .collect();
                let prepared = client
                    .query_one(
                        "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()",
                        &[],
                    )
                    .await?
                    .get::<_, i64>(0)
                    .unsigned_abs();
                Ok(Holdings {
                    total,
                    applied,
                    prepared,
                })
            }
        }
    }
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| "cannot reach PostgreSQL: check the URL given with --postgres".to_owned())?;
    tokio::spawn(connection);
    Ok(client)
}
