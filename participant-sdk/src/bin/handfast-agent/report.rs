//! What the log says of each resource: a line at a period, and a warning when a branch has been prepared for long.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handfast_participant::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How often a resource is reported on, and from when on it is a warning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reporting {
    /// Between two lines.
    pub period: Duration,
    /// A branch that has been prepared for longer holds locks that somebody misses.
    pub prepared_warn: Duration,
}

impl Default for Reporting {
    fn default() -> Self {
        Reporting {
            period: Duration::from_secs(60),
            prepared_warn: Duration::from_secs(300),
        }
    }
}

/// Reports until it is dropped.
pub struct Watch(JoinHandle<()>);

impl Watch {
    /// Begins to report.
    pub fn start(resource: &str, participant: Handle, reporting: Reporting) -> Self {
        let resource = resource.to_owned();
        Watch(tokio::spawn(async move {
            let mut ticks = interval(reporting.period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first one comes at once, when there is nothing to tell yet.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                say(&resource, &participant, reporting.prepared_warn);
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn say(resource: &str, participant: &Handle, prepared_warn: Duration) {
    let counters = participant.counters();
    let connected = counters.connected.load(Relaxed);
    let (prepared, held) = (counters.prepared.load(Relaxed), counters.held.load(Relaxed));
    let oldest = age(counters.oldest_prepared_ms.load(Relaxed)).unwrap_or_default();
    let failed_scans = counters.failed_scans.load(Relaxed);
    tracing::info!(
        resource,
        connected,
        store_answers = failed_scans == 0,
        prepared,
        oldest_prepared_s = oldest.as_secs(),
        held,
        prepares = counters.prepares.load(Relaxed),
        decisions = counters.decisions.load(Relaxed),
        "report"
    );
    if failed_scans > 0 {
        tracing::warn!(
            resource,
            failed_scans,
            "DOWN: the store does not answer; new work is refused, decisions wait, and it is asked again for ever"
        );
    }
    if oldest > prepared_warn {
        tracing::warn!(
            resource,
            connected,
            oldest_prepared_s = oldest.as_secs(),
            "a branch has been prepared for long, and holds its locks; `handfast tx in-doubt` tells what it waits for"
        );
    }
}

/// How long ago this was; `None` for 0. The clocks of this machine and of the coordinator's may differ a little.
#[allow(
    clippy::disallowed_methods,
    reason = "an age for people to read; nothing is decided by it"
)]
fn age(unix_ms: u64) -> Option<Duration> {
    if unix_ms == 0 {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(now.saturating_sub(Duration::from_millis(unix_ms)))
}
