//! Where a simulator's network takes hold of frames and calls: above the transport, so that it can delay, reorder,
//! double and lose them, or leave both sides in silence.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use handfast_proto::ids::ResourceName;
use handfast_proto::v1;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Frames in one direction.
pub type Frames<T> = Pin<Box<dyn Stream<Item = T> + Send>>;
/// Frames to the coordinator.
pub type Outgoing = Frames<v1::SessionRequest>;
/// Frames from the coordinator, and how they end.
pub type Incoming = Frames<Result<v1::SessionResponse, Status>>;

/// A simulated network.
pub trait Network: Send + Sync + 'static {
    /// A participant dials.
    fn session(&self, resource: &ResourceName) -> Box<dyn Session>;

    /// A client sends a request, which may arrive twice without harm if `may_repeat`.
    fn call(&self, may_repeat: bool) -> Fate;

    /// The answer to a call is on its way; for how long nothing gets through to whoever waits for it.
    fn answer_held_up(&self) -> Duration;
}

/// The way of one session.
pub trait Session: Send + 'static {
    /// Takes hold of the frames to the coordinator.
    fn outgoing(&mut self, frames: Outgoing) -> Outgoing;

    /// Takes hold of the frames from the coordinator.
    fn incoming(self: Box<Self>, frames: Incoming) -> Incoming;
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// How long the request is under way, beside the transport's own time.
    pub request: Duration,
    /// How long the answer is.
    pub answer: Duration,
    /// The request never arrives, and nothing tells.
    pub is_request_lost: bool,
    /// The answer never arrives, and nothing tells.
    pub is_answer_lost: bool,
    /// The request arrives twice.
    pub is_doubled: bool,
}

thread_local! {
    static NETWORK: RefCell<Option<Arc<dyn Network>>> = const { RefCell::new(None) };
}

/// Puts a network under all participants and clients of this thread, which is the whole of a simulation.
pub fn install(network: Arc<dyn Network>) {
    NETWORK.with(|installed| *installed.borrow_mut() = Some(network));
}

fn network() -> Option<Arc<dyn Network>> {
    NETWORK.with(|installed| installed.borrow().clone())
}

pub(crate) struct SessionLink(Option<Box<dyn Session>>);

impl SessionLink {
    pub(crate) fn new(resource: &ResourceName) -> Self {
        SessionLink(network().map(|network| network.session(resource)))
    }

    pub(crate) fn outgoing(&mut self, frames: ReceiverStream<v1::SessionRequest>) -> Outgoing {
        match &mut self.0 {
            Some(session) => session.outgoing(Box::pin(frames)),
            None => Box::pin(frames),
        }
    }

    pub(crate) fn incoming(self, frames: Streaming<v1::SessionResponse>) -> Incoming {
        match self.0 {
            Some(session) => session.incoming(Box::pin(frames)),
            None => Box::pin(frames),
        }
    }
}

/// Sends a request, as the network pleases.
pub(crate) async fn call<T, F>(may_repeat: bool, mut send: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let fate = network().map_or_else(Fate::default, |network| network.call(may_repeat));
    pass(fate.request, fate.is_request_lost).await;
    let answer = if fate.is_doubled {
        let (_, second) = futures_util::future::join(Box::pin(send()), Box::pin(send())).await;
        second
    } else {
        // In a box: a call is large, and whoever awaits it is moved several times before it runs.
        Box::pin(send()).await
    };
    let held_up = network().map_or(Duration::ZERO, |network| network.answer_held_up());
    pass(fate.answer + held_up, fate.is_answer_lost).await;
    answer
}

async fn pass(delay: Duration, is_lost: bool) {
    if is_lost {
        std::future::pending::<()>().await;
    }
    if !delay.is_zero() {
        handfast_proto::alarm::once::sleep(delay).await;
    }
}
