//! The callers that wait, by number.

use std::collections::BTreeMap;

use handfast_core::view::TransactionView;
use handfast_core::{Call, Reply};
use handfast_proto::status::Failure;
use tokio::sync::{oneshot, watch};

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
enum Caller {
    Once(oneshot::Sender<Answer>),
    Watcher(watch::Sender<Watching>),
}

/// The callers that wait. A caller that is dropped hears that the coordinator has stopped.
#[derive(Debug, Default)]
pub struct Calls {
    waiting: BTreeMap<Call, Caller>,
}

impl Calls {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A caller waits for one answer.
    pub fn once(&mut self, call: Call, answer: oneshot::Sender<Answer>) {
        self.waiting.insert(call, Caller::Once(answer));
    }

    /// A caller listens.
    pub fn watcher(&mut self, call: Call, views: watch::Sender<Watching>) {
        self.waiting.insert(call, Caller::Watcher(views));
    }

    /// Passes a reply on. One that nobody waits for any more is dropped.
    pub fn reply(&mut self, call: Call, reply: Reply, failure: impl FnOnce(Reply) -> Answer) {
        match self.waiting.remove(&call) {
            None => {}
            Some(Caller::Once(answer)) => {
                let _ = answer.send(failure(reply));
            }
            Some(Caller::Watcher(views)) => match reply {
                Reply::View { view, last } => {
                    let _ = views.send(Some(Ok(Watched { view, last })));
                    // One that is gone stays until it is taken out, so that the core hears of it too.
                    if !last {
                        self.waiting.insert(call, Caller::Watcher(views));
                    }
                }
                other => {
                    let words = failure(other).err();
                    let _ = views.send(words.map(Err));
                }
            },
        }
    }

    /// Takes out the calls whose clients are gone.
    pub fn take_gone(&mut self) -> Vec<Call> {
        let is_gone = |caller: &Caller| match caller {
            Caller::Once(answer) => answer.is_closed(),
            Caller::Watcher(views) => views.is_closed(),
        };
        self.waiting
            .extract_if(.., |_, caller| is_gone(caller))
            .map(|(call, _)| call)
            .collect()
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
        calls.watcher(Call(1), views);
        drop(watched);
        calls.reply(Call(1), view(false), answer);
        assert_eq!(calls.take_gone(), [Call(1)]);
        assert_eq!(calls.len(), 0);
    }
}
