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
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

pub use kafka::{KafkaBroker, KafkaView};
pub use mariadb::MariadbServer;
pub use postgres::PostgresServer;
pub use process::ServerProcess;

/// How often a starting server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// The ports that are given out: below the range that the system takes for outgoing connections, so that a port is still free
/// when its server is started again.
const PORTS: Range<u16> = 20_000..32_000;

/// How many ports this process has been given. Whoever asks twice before it listens must not hear the same port twice, and
/// neither must two tests that start their servers side by side.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// Where this process begins to look, so that two that run side by side rarely meet.
static FIRST: LazyLock<u16> = LazyLock::new(|| fastrand::u16(..PORTS.end - PORTS.start));

/// A loopback port that nobody listens on now, and that this process was not given before.
pub fn free_port() -> anyhow::Result<u16> {
    let count = PORTS.end - PORTS.start;
    loop {
        let given = GIVEN
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |given| {
                (given < count).then_some(given + 1)
            })
            .map_err(|_| anyhow!("no free port is left among {PORTS:?} of 127.0.0.1"))?;
        let port = PORTS.start + (*FIRST + given) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_given_a_port_twice() {
        let ask = || (0..50).map(|_| free_port().unwrap()).collect::<Vec<_>>();
        let given = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            all.into_iter()
                .flat_map(|asked| asked.join().unwrap())
                .collect::<Vec<_>>()
        });
        let different: BTreeSet<u16> = given.iter().copied().collect();
        assert_eq!(different.len(), given.len(), "{given:?}");
    }
}
