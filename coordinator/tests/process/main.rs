//! The real binary, from outside: start and end, damage, requests, sessions, crashes, and the command line.
//!
//! Nothing here sleeps where a condition can be awaited; every wait has a bound.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, and says where

#[cfg(feature = "bench")]
mod bench;
mod command_line;
#[cfg(feature = "conformance")]
mod conformance;
mod coordinator;
mod crashes;
mod health;
mod index;
mod many;
mod operators;
mod overdue;
mod participant;
mod permissions;
mod requests;
mod sessions;
mod starting;
mod streams;

use std::time::Duration;

/// No step of a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a future, but not for ever.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Asks again and again until the answer is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, asking).await
}
