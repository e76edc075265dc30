//! The agent as a process, with a file, a real coordinator and real stores.
//!
//! - `away`: servers that are not there at the start, and go away later
//! - `checking`: what `check` says of good and of broken files
//! - `deaths`: kind `postgres`, killed at each of its named points
//! - `files`: kind `files`, killed at each of its steps
//! - `serving`: several resources in one process, one of them down, another instance that finishes what the first promised
//! - `sizes`: the longest requests, and longer ones, among others on one connection
//! - `tcc`: kind `tcc` over each transport, killed between any two steps
//! - `wrong_store`: another database behind a name
#![cfg(all(
    feature = "postgres",
    feature = "mariadb",
    feature = "kafka",
    feature = "files",
    feature = "tcc"
))]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod away;
#[path = "../support/certificates.rs"]
mod certificates;
mod checking;
mod coordinator;
mod deaths;
mod files;
#[path = "../support/hotel.rs"]
mod hotel;
mod patient_disk;
mod process;
mod serving;
mod sizes;
mod tcc;
mod wrong_store;

use std::time::Duration;

use handfast_participant::resources::ledger::LedgerOperation;
use handfast_participant::resources::postgres::{Parameter, SqlOperation};

/// Longer than anything takes that is awaited here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test instead of hanging it.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// One row more in table `orders`.
fn order(id: i64) -> bytes::Bytes {
    SqlOperation::new()
        .then("INSERT INTO orders VALUES ($1)", [Parameter::from(id)])
        .expecting(1)
        .encode()
}

fn posting(account: &str, amount: i64) -> bytes::Bytes {
    LedgerOperation::post("a posting", account, amount).encode()
}
