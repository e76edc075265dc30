//! Waits whose timer is entered once. The simulator's own waits enter one anew whenever they are looked at, and each wakes its
//! task for nothing: most of what a client's process did was to be woken so.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::{Alarm, later};

/// The shortest wait: what the simulator grants as well.
const SHORTEST: Duration = Duration::from_millis(1);

/// The time was over first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

/// Waits for a while.
pub async fn sleep(duration: Duration) {
    sleep_until(later(now(), duration.max(SHORTEST))).await;
}

/// Waits until this moment.
pub async fn sleep_until(moment: Instant) {
    Alarm::new().until(moment).await;
}

/// Waits for `future`, but not for longer than `limit`.
///
/// # Errors
///
/// If the time was over first.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let (mut alarm, moment) = (Alarm::new(), later(now(), limit.max(SHORTEST)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => alarm.poll_until(moment, context).map(|()| Err(Elapsed)),
    })
    .await
}

#[allow(clippy::disallowed_methods, reason = "the simulator's clock")]
fn now() -> Instant {
    Instant::now()
}
