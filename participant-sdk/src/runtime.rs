//! The seam to the world: time, randomness and connections. The only place that knows whether it is simulated.
//!
//! Everything else of the SDK asks here, so that the simulator can replay it.

#[cfg(not(madsim))]
pub(crate) mod link;
#[cfg(madsim)]
#[path = "runtime/simulated_link.rs"]
pub mod link;

use std::future::Future;
use std::time::Duration;

use handfast_proto::transport::{Channel, Endpoint};

#[cfg(madsim)]
pub use handfast_proto::alarm::once::{sleep_until, timeout};
pub use handfast_proto::alarm::{Alarm, later};
pub use tokio::time::Instant;
#[cfg(not(madsim))]
pub use tokio::time::{sleep_until, timeout};

/// How often a connection is pinged by HTTP/2, so that a half-open one is noticed even when no session runs over it.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The longest message that is taken from a coordinator, and the longest frame that is ever sent to one.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// `after` from now; a year from now if that is further than the clock reaches.
pub fn from_now(after: Duration) -> Instant {
    later(Instant::now(), after)
}

/// Starts a task. It ends by itself.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// 128 random bits.
#[cfg(not(madsim))]
#[allow(
    clippy::disallowed_methods,
    reason = "this is the seam; the simulator seeds its own"
)]
pub fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u128::from_le_bytes(bytes)
}

/// 128 random bits of the simulator's seed.
#[cfg(madsim)]
pub fn random_bits() -> u128 {
    madsim::rand::random()
}

/// Why there is no connection. Nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot reach the coordinator at {address}: {why}")]
pub struct Unreachable {
    /// Where it was tried.
    pub address: String,
    /// What the transport said.
    pub why: String,
}

/// Connects to `address` (`host:port` or a URI), or fails within `limit`.
pub async fn connect(address: &str, limit: Duration) -> Result<Channel, Unreachable> {
    let unreachable = |why: String| Unreachable {
        address: address.to_owned(),
        why,
    };
    let uri = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| unreachable(with_sources(&error)))?;
    // The simulator's limit would be one more timer, and it has but one step to take within it.
    #[cfg(not(madsim))]
    let endpoint = endpoint.connect_timeout(limit);
    let endpoint = endpoint
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    match timeout(limit, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(with_sources(&error))),
        Err(_) => Err(unreachable(format!("no answer within {} ms", limit.as_millis()))),
    }
}

/// The error and what caused it, because a transport error alone only says "transport error".
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
