//! A timer of the simulator, which lets none be taken back: once entered, it goes off. So it rings a bell that can be muted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use madsim::time::{Instant, Sleep, TimeHandle};

#[derive(Debug)]
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    bell: Arc<Bell>,
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
        let mut sleep = Box::pin(time.sleep_until(moment));
        let ringing = Waker::from(bell.clone());
        let entered = sleep.as_mut().poll(&mut Context::from_waker(&ringing));
        entered.is_pending().then_some(Timer { sleep, bell })
    }

    pub fn is_over(&self) -> bool {
        self.sleep.is_elapsed()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.bell.is_muted.store(true, Ordering::Relaxed);
    }
}
