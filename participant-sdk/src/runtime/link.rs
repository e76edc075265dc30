//! Where frames of a session and calls of a client pass on their way to and from the coordinator: as they are.

use std::future::Future;

use handfast_proto::ids::ResourceName;
use handfast_proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Frames to the coordinator.
pub(crate) type Outgoing = ReceiverStream<v1::SessionRequest>;
/// Frames from the coordinator.
pub(crate) type Incoming = Streaming<v1::SessionResponse>;

/// The way of one session.
pub(crate) struct SessionLink;

impl SessionLink {
    pub(crate) fn new(_resource: &ResourceName) -> Self {
        SessionLink
    }

    pub(crate) fn outgoing(&mut self, frames: ReceiverStream<v1::SessionRequest>) -> Outgoing {
        frames
    }

    pub(crate) fn incoming(self, frames: Streaming<v1::SessionResponse>) -> Incoming {
        frames
    }
}

/// Sends a request, once. `_may_repeat` says that sending it twice does no harm.
pub(crate) async fn call<T, F>(_may_repeat: bool, mut send: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    send().await
}
