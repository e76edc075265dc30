//! Real servers for tests and examples: each with a data folder of its own, on a free loopback port, killed and started by
//! its process id, and stopped when its value is dropped, after a panic too.
//!
//! Every server has the same shape: `start` makes its data and waits until it answers, `kill` ends it as `kill -9` does, `restart`
//! starts it again upon the same data and port, `stop` ends it in order. A server that is not installed is an error that says what
//! to install, never a test that is skipped.
//!
//! What must never live here: anything of Handfast.
#![allow(
    clippy::disallowed_methods,
    reason = "real servers are waited for in real time"
)]

pub mod kafka;
mod process;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

pub use kafka::KafkaBroker;
pub use process::ServerProcess;

/// How often a starting server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// A loopback port that nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
}

/// Whether this process is root, which some servers refuse to be.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asks `condition` until it holds; an error after `limit` names `what` was waited for.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > give_up_at {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
