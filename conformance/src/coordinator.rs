//! The fake coordinator: takes sessions, and says on each what a case tells it to say.
//!
//! Faults: it refuses sessions, cuts connections, stops all bytes, falls silent, repeats and reorders messages, and lies
//! about its epoch and its log. A right participant survives all of it, because every message is idempotent and the
//! handshake is recovery.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use handfast_proto::v1;
use handfast_proto::v1::participants_server::{Participants, ParticipantsServer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::link::Link;

/// Sessions that were dialed and that no case has looked at. More are refused.
const WAITING_SESSIONS: usize = 64;
/// Frames of a session that were received and that no case has looked at. Then the participant is slowed down.
const WAITING_FRAMES: usize = 4096;
/// Frames handed to the transport and not yet taken by it.
const FRAMES_AHEAD: usize = 64;
/// The longest frame that is received at all, so that one that is too long is told by its length.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// Something that came from the participant, and when.
#[derive(Debug)]
pub(crate) struct Heard {
    pub at: Instant,
    pub what: What,
}

/// A frame, or the end.
#[derive(Debug)]
pub(crate) enum What {
    Frame(Box<v1::SessionRequest>),
    /// The stream has ended, in order or not.
    End(String),
}

/// A session that was dialed: nothing is read, and nothing said.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub frames: mpsc::Receiver<Heard>,
    pub outbound: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

/// Listens for as long as it lives.
#[derive(Debug)]
pub(crate) struct FakeCoordinator {
    pub link: Link,
    sessions: mpsc::Receiver<Dialed>,
    door: Arc<Door>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Door {
    is_shut: AtomicBool,
    dials: AtomicU32,
}

impl FakeCoordinator {
    /// Listens on a free loopback port.
    pub async fn listen() -> io::Result<Self> {
        let (link, connections) = Link::listen().await?;
        let (sender, sessions) = mpsc::channel(WAITING_SESSIONS);
        let door = Arc::new(Door::default());
        let service = Service {
            sessions: sender,
            door: door.clone(),
        };
        let service = ParticipantsServer::new(service).max_decoding_message_size(MAX_FRAME_BYTES);
        let router = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(async move {
            // It ends with the link, whose end nobody outlives.
            let _ = router.serve_with_incoming(connections).await;
        });
        Ok(FakeCoordinator {
            link,
            sessions,
            door,
            serving,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.link.address()
    }

    /// The next session that was dialed.
    pub async fn dialed(&mut self) -> Option<Dialed> {
        self.sessions.recv().await
    }

    /// Drops the sessions that were dialed before now.
    pub fn forget_dialed(&mut self) {
        while self.sessions.try_recv().is_ok() {}
    }

    /// Refuses every session from now on, until [`FakeCoordinator::open_door`]; counts them.
    pub fn shut_door(&self) {
        self.door.dials.store(0, Ordering::Relaxed);
        self.door.is_shut.store(true, Ordering::Relaxed);
    }

    /// Takes sessions again. How many were refused.
    pub fn open_door(&self) -> u32 {
        self.door.is_shut.store(false, Ordering::Relaxed);
        self.door.dials.load(Ordering::Relaxed)
    }
}

impl Drop for FakeCoordinator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Service {
    sessions: mpsc::Sender<Dialed>,
    door: Arc<Door>,
}

#[tonic::async_trait]
impl Participants for Service {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.door.dials.fetch_add(1, Ordering::Relaxed);
        if self.door.is_shut.load(Ordering::Relaxed) {
            return Err(Status::unavailable(
                "the coordinator takes no sessions now; dial again later",
            ));
        }
        let (outbound, outgoing) = mpsc::channel(FRAMES_AHEAD);
        let (heard, frames) = mpsc::channel(WAITING_FRAMES);
        let dialed = Dialed { frames, outbound };
        if self.sessions.try_send(dialed).is_err() {
            return Err(Status::unavailable("too many sessions wait; dial again later"));
        }
        tokio::spawn(listen(request.into_inner(), heard));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Notes what comes and when, until the end.
async fn listen(mut inbound: Streaming<v1::SessionRequest>, heard: mpsc::Sender<Heard>) {
    loop {
        let what = match inbound.message().await {
            Ok(Some(frame)) => What::Frame(Box::new(frame)),
            Ok(None) => What::End("its stream ended".to_owned()),
            Err(status) => What::End(format!("its stream broke off: {}", status.message())),
        };
        let is_over = matches!(what, What::End(_));
        let at = Instant::now();
        if heard.send(Heard { at, what }).await.is_err() || is_over {
            return;
        }
    }
}
