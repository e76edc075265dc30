//! A timer of the simulator, which lets none be taken back: once entered, it goes off. So it rings a bell that can be muted.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use madsim::time::{Instant, TimeHandle};

pub(super) struct Timer {
    time: TimeHandle,
    at: Instant,
    bell: Arc<Bell>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Timer")
            .field("at", &self.at)
            .field("bell", &self.bell)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Bell {
    waker: Waker,
    is_muted: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.is_muted.load(Ordering::Relaxed) {
            self.waker.wake_by_ref();
        }
    }
}

impl Timer {
    /// Sets a timer that will wake `waker`. `None` if the moment has come.
    pub fn set(moment: Instant, waker: &Waker) -> Option<Timer> {
        let time = TimeHandle::current();
        if time.now_instant() >= moment {
            return None;
        }
        let bell = Arc::new(Bell {
            waker: waker.clone(),
            is_muted: AtomicBool::new(false),
        });
        // The runtime's timer is entered by the first look, and stays.
        let sleep = pin!(time.sleep_until(moment));
        let at = sleep.deadline();
        let _ = sleep.poll(&mut Context::from_waker(&Waker::from(bell.clone())));
        Some(Timer { time, at, bell })
    }

    pub fn is_over(&self) -> bool {
        self.time.now_instant() >= self.at
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.bell.is_muted.store(true, Ordering::Relaxed);
    }
}
