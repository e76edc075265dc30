//! The timer of an event loop, which both ends of a session are.

#[cfg(madsim)]
pub mod once;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

#[cfg(not(madsim))]
use real::Timer;
#[cfg(madsim)]
use simulated::Timer;

/// The timer of a loop that asks for another moment at each turn.
///
/// A moment that was put off, as nearly all are, costs nothing: the timer stays where it was set, and goes off for nothing
/// once. A timer of its own for each turn would be entered and removed a thousand times for once that it is needed.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<Set>,
}

#[derive(Debug)]
struct Set {
    at: Instant,
    /// Wakes nobody any more once it is dropped.
    timer: Timer,
    /// Who is woken by it.
    waker: Waker,
}

impl Alarm {
    /// Not set.
    pub fn new() -> Alarm {
        Alarm::default()
    }

    /// Waits until this moment. Giving the wait up keeps the timer for the next one.
    pub async fn until(&mut self, moment: Instant) {
        poll_fn(|context| self.poll_until(moment, context)).await;
    }

    /// The same, for streams and futures that are written by hand.
    pub fn poll_until(&mut self, moment: Instant, context: &mut Context<'_>) -> Poll<()> {
        // The timer knows by itself whether it is still to come, and then so is the moment: most turns ask no clock.
        if let Some(set) = &self.set
            && set.at <= moment
            && set.waker.will_wake(context.waker())
            && !set.timer.is_over()
        {
            return Poll::Pending;
        }
        let waker = context.waker().clone();
        self.set = Timer::set(moment, &waker).map(|timer| Set {
            at: moment,
            timer,
            waker,
        });
        match self.set {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }
}

/// The instant that comes so long after `moment`, or one a year after it if that is further than the clock reaches.
pub fn later(moment: Instant, after: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    moment.checked_add(after).unwrap_or_else(|| moment + YEAR)
}
