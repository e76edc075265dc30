//! The seam to the world: clocks, tasks, randomness, signals, and the parts of the transport that the simulator lacks.
//!
//! The only place of this crate with `cfg(madsim)`. What must never live here: anything that the simulator should test.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;

use std::future::Future;
use std::time::Duration;

use handfast_core::{Event, Moment};
use tokio::time::Instant;

#[cfg(not(madsim))]
pub use real::{Listener, Termination, random_u128, serve, shut_down, spawn_blocking, wall_ms, watch_core};
#[cfg(madsim)]
pub use simulated::{
    Listener, Termination, install_core_watcher, install_wall_clock, random_u128, serve, shut_down,
    spawn_blocking, wall_ms, watch_core,
};

#[cfg(madsim)]
use handfast_proto::alarm::once as waits;
#[cfg(not(madsim))]
use tokio::time as waits;

pub use handfast_proto::alarm::{Alarm, later};
pub use tokio::task::JoinHandle;

/// Where the service is in its life. The transport answers health checks by it and stops with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// New transactions are taken.
    Serving,
    /// What is decided is still delivered.
    Draining,
    /// The driver has ended.
    Stopped,
}

/// What the core is at, for whoever measures what a run has tried.
#[derive(Clone, Copy, Debug)]
pub enum CoreStep<'a> {
    /// It is about to take this.
    Takes(&'a Event),
    /// It has taken it.
    Done,
}

/// The monotonic clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins at zero now.
    #[allow(clippy::disallowed_methods)] // this is the seam
    pub fn start() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    /// Milliseconds since the clock was started.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant at which the clock shows this, or one a day ahead if that is sooner.
    pub fn instant(&self, moment: Moment) -> Instant {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        let shown = moment.0.min(self.now().0 + DAY_MS);
        self.origin + Duration::from_millis(shown)
    }
}

/// Starts a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Waits for a while.
pub async fn sleep(duration: Duration) {
    waits::sleep(duration).await;
}

/// The instant that comes so long after now; a year from now if that is further than the clock reaches.
#[allow(clippy::disallowed_methods)] // this is the seam
pub fn from_now(after: Duration) -> Instant {
    later(Instant::now(), after)
}

/// Waits for `future`, but not for longer than `duration`; `None` if the time was over first.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    waits::timeout(duration, future).await.ok()
}
