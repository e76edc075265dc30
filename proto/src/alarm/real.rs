//! A timer of the runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    /// Sets a timer that will wake `waker`. `None` if the moment has come.
    ///
    /// Within a task that has used up its turn, the runtime would answer "pending" for a timer that it has not even entered.
    #[allow(clippy::disallowed_methods, reason = "a part of the seam of both ends")]
    pub fn set(moment: Instant, waker: &Waker) -> Option<Timer> {
        if Instant::now() >= moment {
            return None;
        }
        let mut sleep = Box::pin(sleep_until(moment));
        let entered = pin!(tokio::task::unconstrained(sleep.as_mut())).poll(&mut Context::from_waker(waker));
        entered.is_pending().then_some(Timer(sleep))
    }

    pub fn is_over(&self) -> bool {
        self.0.is_elapsed()
    }
}
