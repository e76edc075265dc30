//! The callers that wait, by number.

use handfast_core::view::TransactionView;
use handfast_core::{Call, Reply};
use handfast_proto::status::Failure;
use tokio::sync::{oneshot, watch};

use super::streams::{StreamId, Streams};

/// The answer to a call.
pub type Answer = Result<Reply, Failure>;

/// How things stand, for a watcher that is slower than the changes: it gets the newest.
#[derive(Clone, Debug)]
pub struct Watched {
    /// How things stand.
    pub view: Box<TransactionView>,
    /// Whether nothing will follow.
    pub last: bool,
}

/// What a watcher is told: nothing yet, a view, or that there is nothing to watch.
pub type Watching = Option<Result<Watched, Failure>>;

#[derive(Debug)]
pub enum Caller {
    /// Hears one answer.
    Once(oneshot::Sender<Answer>),
    /// Hears one answer on a stream, under the client's number.
    Streamed(StreamId, u64),
    /// Hears of every change.
    Watcher(watch::Sender<Watching>),
}

/// The callers that wait. One that is dropped hears that the coordinator has stopped.
///
/// A call is the number of a slot and how often the slot was used before, so that no number comes twice.
#[derive(Debug, Default)]
pub struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    uses: u32,
    caller: Option<Caller>,
}

impl Calls {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A caller waits.
    pub fn insert(&mut self, caller: Caller) -> Call {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("calls are limited to far fewer")
        });
        let slot = &mut self.slots[index as usize];
        slot.caller = Some(caller);
        Call(u64::from(slot.uses) << 32 | u64::from(index))
    }

    fn slot(&mut self, call: Call) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((call.0 & u64::from(u32::MAX)) as usize)?;
        (u64::from(slot.uses) == call.0 >> 32).then_some(slot)
    }

    fn remove(&mut self, call: Call) -> Option<Caller> {
        let slot = self.slot(call)?;
        let caller = slot.caller.take()?;
        slot.uses = slot.uses.wrapping_add(1);
        self.free.push((call.0 & u64::from(u32::MAX)) as u32);
        Some(caller)
    }

    /// Passes a reply on. One that nobody waits for any more is dropped.
    pub fn reply(
        &mut self,
        call: Call,
        reply: Reply,
        streams: &mut Streams,
        failure: impl FnOnce(Reply) -> Answer,
    ) {
        if let Some(Slot {
            caller: Some(Caller::Watcher(views)),
            ..
        }) = self.slot(call)
            && let Reply::View { view, last: false } = reply
        {
            // One that is gone stays until it is taken out, so that the core hears of it too.
            let _ = views.send(Some(Ok(Watched { view, last: false })));
            return;
        }
        match self.remove(call) {
            None => {}
            Some(Caller::Once(answer)) => {
                let _ = answer.send(failure(reply));
            }
            Some(Caller::Streamed(stream, number)) => streams.answer(stream, number, failure(reply)),
            Some(Caller::Watcher(views)) => {
                let words = match reply {
                    Reply::View { view, last } => Some(Ok(Watched { view, last })),
                    other => failure(other).err().map(Err),
                };
                let _ = views.send(words);
            }
        }
    }

    /// Takes out the calls whose clients are gone.
    pub fn take_gone(&mut self) -> Vec<Call> {
        self.take_out(|caller| match caller {
            Caller::Once(answer) => answer.is_closed(),
            Caller::Streamed(..) => false,
            Caller::Watcher(views) => views.is_closed(),
        })
    }

    /// Takes out the calls of a stream that is lost.
    pub fn take_stream(&mut self, lost: StreamId) -> Vec<Call> {
        self.take_out(|caller| matches!(caller, Caller::Streamed(stream, _) if *stream == lost))
    }

    fn take_out(&mut self, is_out: impl Fn(&Caller) -> bool) -> Vec<Call> {
        let calls: Vec<Call> = (0u64..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.caller.as_ref().is_some_and(&is_out))
            .map(|(index, slot)| Call(u64::from(slot.uses) << 32 | index))
            .collect();
        for &call in &calls {
            self.remove(call);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use handfast_core::view::StateView;
    use handfast_ids::{Epoch, Partition, TransactionId};

    use super::*;
    use crate::driver::inbox::answer;

    fn view(last: bool) -> Reply {
        let view = TransactionView {
            transaction: TransactionId::new(1, Partition(0), Epoch(1), 1),
            state: StateView::Active,
            key: None,
            branches: Vec::new(),
            age_ms: 0,
        };
        Reply::View {
            view: Box::new(view),
            last,
        }
    }

    #[test]
    fn a_watcher_that_left_before_a_change_is_found_gone() {
        let mut calls = Calls::default();
        let (views, watched) = watch::channel(None);
        let call = calls.insert(Caller::Watcher(views));
        drop(watched);
        calls.reply(call, view(false), &mut Streams::default(), answer);
        assert_eq!(calls.take_gone(), [call]);
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn a_number_never_comes_twice() {
        let mut calls = Calls::default();
        let streamed = |number| Caller::Streamed(StreamId(7), number);
        let first = calls.insert(streamed(1));
        let other = calls.insert(streamed(2));
        assert_eq!(calls.take_stream(StreamId(8)), []);
        calls.reply(first, view(true), &mut Streams::default(), answer);
        let second = calls.insert(streamed(3));
        assert_ne!(first, second);
        // A late answer to the first finds nobody, and leaves the second alone.
        calls.reply(first, view(true), &mut Streams::default(), answer);
        assert_eq!(calls.len(), 2);
        let mut lost = calls.take_stream(StreamId(7));
        lost.sort();
        assert_eq!(lost, [other, second]);
        assert_eq!(calls.len(), 0);
    }
}
