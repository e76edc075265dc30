//! One direction of a call: what is written arrives later, and in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio::time::Instant;

use super::Network;

/// A new line.
pub(super) fn line<T: Send + Sync + 'static>(network: &Arc<Network>) -> (Writer<T>, Reader<T>) {
    let line = Arc::new(Line {
        network: network.clone(),
        state: Mutex::new(State {
            under_way: VecDeque::new(),
            latest: network.now(),
            over: None,
            reader: None,
            abandoned: None,
            writer: None,
        }),
    });
    let arrives = Waker::from(Arc::new(Arrives(Arc::downgrade(&line))));
    (
        Writer {
            line: line.clone(),
            arrives,
        },
        Reader { line },
    )
}

struct Line<T> {
    network: Arc<Network>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// By the moment of arrival.
    under_way: VecDeque<(Instant, T)>,
    /// When the newest of all that was written arrives; nothing overtakes it.
    latest: Instant,
    /// When the reader hears that nothing follows, once the writer is gone.
    over: Option<Instant>,
    reader: Option<Waker>,
    /// When the writer hears that nobody reads, once the reader is gone.
    abandoned: Option<Instant>,
    writer: Option<Waker>,
}

impl<T> Line<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Writes into a line. When it is dropped, the line is over.
pub(super) struct Writer<T: Send + Sync + 'static> {
    line: Arc<Line<T>>,
    /// Wakes the reader.
    arrives: Waker,
}

/// Nobody reads any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Abandoned;

impl<T: Send + Sync + 'static> Writer<T> {
    /// Sends something on its way.
    pub fn write(&self, value: T) -> Result<(), Abandoned> {
        let network = &self.line.network;
        let arrival = {
            let mut state = self.line.state();
            if state.abandoned.is_some_and(|since| since <= network.now()) {
                return Err(Abandoned);
            }
            state.latest = network.arrival_behind(state.latest);
            let arrival = state.latest;
            state.under_way.push_back((arrival, value));
            arrival
        };
        network.wake_at(arrival, &self.arrives);
        Ok(())
    }

    /// Waits until it is known here that nobody reads any more.
    pub fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.line.state();
        if state
            .abandoned
            .is_some_and(|since| since <= self.line.network.now())
        {
            return Poll::Ready(());
        }
        remember(&mut state.writer, context);
        Poll::Pending
    }
}

impl<T: Send + Sync + 'static> Drop for Writer<T> {
    fn drop(&mut self) {
        let network = &self.line.network;
        let arrival = {
            let mut state = self.line.state();
            state.writer = None;
            if state.abandoned.is_some() {
                return;
            }
            let arrival = network.arrival_after(state.latest);
            state.over = Some(arrival);
            arrival
        };
        network.wake_at(arrival, &self.arrives);
    }
}

/// Reads what has arrived.
pub(super) struct Reader<T: Send + Sync + 'static> {
    line: Arc<Line<T>>,
}

impl<T: Send + Sync + 'static> Reader<T> {
    /// The next that arrives; `None` once the writer is gone and everything was read.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let now = self.line.network.now();
        let mut state = self.line.state();
        match state.under_way.pop_front() {
            Some((arrival, value)) if arrival <= now => return Poll::Ready(Some(value)),
            Some(early) => state.under_way.push_front(early),
            None if state.over.is_some_and(|over| over <= now) => return Poll::Ready(None),
            None => {}
        }
        remember(&mut state.reader, context);
        Poll::Pending
    }
}

impl<T: Send + Sync + 'static> Drop for Reader<T> {
    fn drop(&mut self) {
        let network = &self.line.network;
        let (since, unread) = {
            let mut state = self.line.state();
            state.reader = None;
            let unread = std::mem::take(&mut state.under_way);
            if state.over.is_some() {
                return;
            }
            let since = network.arrival_after(network.now());
            state.abandoned = Some(since);
            (since, unread)
        };
        drop(unread);
        network.wake_at(
            since,
            &Waker::from(Arc::new(IsAbandoned(Arc::downgrade(&self.line)))),
        );
    }
}

fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    if !waker
        .as_ref()
        .is_some_and(|waker| waker.will_wake(context.waker()))
    {
        *waker = Some(context.waker().clone());
    }
}

/// Something arrives: wakes the reader, whoever that is by then. A timer that never goes off must not keep the line.
struct Arrives<T>(Weak<Line<T>>);

impl<T: Send + Sync + 'static> Wake for Arrives<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let reader = self.0.upgrade().and_then(|line| line.state().reader.take());
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The news arrives that nobody reads: wakes the writer.
struct IsAbandoned<T>(Weak<Line<T>>);

impl<T: Send + Sync + 'static> Wake for IsAbandoned<T> {
    fn wake(self: Arc<Self>) {
        let writer = self.0.upgrade().and_then(|line| line.state().writer.take());
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
