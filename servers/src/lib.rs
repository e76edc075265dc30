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
mod mariadb;
mod postgres;
mod process;

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::bail;

pub use kafka::{KafkaBroker, KafkaView};
pub use mariadb::MariadbServer;
pub use postgres::PostgresServer;
pub use process::ServerProcess;

/// How often a starting server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// The ports that are given out: below the range that the system takes for outgoing connections, so that a port is still free
/// when its server is started again.
const PORTS: RangeInclusive<u16> = 20_000..=31_999;
/// How many of them are tried.
const MAX_PORTS: u32 = 1_000;

/// A loopback port that nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..MAX_PORTS {
        let port = fastrand::u16(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port among {PORTS:?} of 127.0.0.1")
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
