//! Participants dial in: one reader for each session turns its frames into events, in their order.
//!
//! The driver writes the other direction by itself. A reader that finds the inbox full waits, and with it its participant.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use handfast_core::SessionId;
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;
use handfast_proto::v1::participants_server::Participants;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::participant_frames::{self, violation};
use crate::config::Server;
use crate::driver::{DriverHandle, FRAMES_IN_FLIGHT, Input, Outgoing, SessionSender};
use crate::runtime::{self, Alarm};

/// The service.
#[derive(Clone, Debug)]
pub struct ParticipantsService {
    driver: DriverHandle,
    settings: Server,
    places: Arc<Semaphore>,
}

impl ParticipantsService {
    /// Over this driver.
    pub fn new(driver: DriverHandle, settings: Server) -> Self {
        let places = Arc::new(Semaphore::new(settings.sessions));
        ParticipantsService {
            driver,
            settings,
            places,
        }
    }
}

#[tonic::async_trait]
impl Participants for ParticipantsService {
    type SessionStream = Pin<Box<dyn Stream<Item = Outgoing> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| too_many(self.settings.sessions))?;
        let place = Arc::new(place);
        let (frames, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
        let reader = Reader {
            driver: self.driver.clone(),
            session: self.driver.session_id(),
            incoming: request.into_inner(),
            silence: self.settings.silence(),
            _place: place.clone(),
        };
        let hello_timeout = Duration::from_millis(self.settings.hello_timeout_ms);
        runtime::spawn(reader.run(frames, hello_timeout));
        // A peer that reads nothing keeps what waits for it, and so its place, after its reader has given it up.
        let frames = ReceiverStream::new(outgoing).map(move |frame| {
            let _held = &place;
            frame
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

/// Reads one session to its end.
struct Reader {
    driver: DriverHandle,
    session: SessionId,
    incoming: Streaming<v1::SessionRequest>,
    silence: Duration,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Reader {
    async fn run(mut self, frames: mpsc::Sender<Outgoing>, hello_timeout: Duration) {
        let (hello, rest) = match self.hello(hello_timeout).await {
            Ok(said) => said,
            Err(failure) => {
                let refused = refuse(&frames, failure);
                let _ = runtime::timeout(self.silence, refused).await;
                return;
            }
        };
        let (released, mut release) = oneshot::channel();
        let sender = SessionSender { frames, released };
        let session = self.session;
        let up = Input::SessionUp {
            session,
            hello,
            sender,
        };
        if self.driver.put(up).await.is_err() {
            return;
        }
        let farewell = tokio::select! {
            biased;
            // The driver has ended the session, and knows.
            _ = &mut release => return,
            farewell = self.read(rest) => farewell,
        };
        if self
            .driver
            .put(Input::SessionDown { session, farewell })
            .await
            .is_ok()
        {
            // The transport gets the last words while the call is open.
            let _ = runtime::timeout(self.silence, release).await;
        }
    }

    /// The first frame must say hello, in time.
    async fn hello(
        &mut self,
        timeout: Duration,
    ) -> Result<(handfast_core::SessionHello, v1::SessionRequest), Failure> {
        let first = runtime::timeout(timeout, self.incoming.message()).await;
        let mut frame = match first {
            None => {
                return Err(Failure::new(
                    Reason::SilentPeer,
                    "no hello came in time; dial in again",
                ));
            }
            Some(Err(status)) => return Err(broken(&status)),
            Some(Ok(None)) => return Err(violation("the stream ended before a hello")),
            Some(Ok(Some(frame))) => frame,
        };
        let Some(hello) = frame.hello.take() else {
            return Err(violation("the first frame must say hello"));
        };
        tracing::debug!(session = self.session.0, software = hello.software, "hello");
        Ok((participant_frames::hello(hello)?, frame))
    }

    /// Hands in frames until there are no more; what to tell the participant, if anything.
    async fn read(&mut self, first: v1::SessionRequest) -> Option<Failure> {
        let mut frame = first;
        let mut silence = Alarm::new();
        loop {
            let goodbye = frame.goodbye.take();
            if let Err(failure) = self.hand_in(frame).await {
                return Some(failure);
            }
            if let Some(goodbye) = goodbye {
                tracing::info!(
                    session = self.session.0,
                    reason = goodbye.reason,
                    "the participant says goodbye"
                );
                return None;
            }
            let silent_at = runtime::from_now(self.silence);
            let heard = tokio::select! {
                biased;
                heard = self.incoming.message() => Some(heard),
                () = silence.until(silent_at) => None,
            };
            frame = match heard {
                None => {
                    let message = format!(
                        "nothing was heard for {} ms; dial in again",
                        self.silence.as_millis()
                    );
                    return Some(Failure::new(Reason::SilentPeer, message));
                }
                Some(Ok(Some(frame))) => frame,
                Some(Ok(None)) => return None,
                Some(Err(status)) if is_our_refusal(&status) => return Some(broken(&status)),
                Some(Err(status)) => {
                    tracing::debug!(session = self.session.0, %status, "connection lost");
                    return None;
                }
            };
        }
    }

    async fn hand_in(&mut self, frame: v1::SessionRequest) -> Result<(), Failure> {
        let bytes = frame.encoded_len();
        let events = participant_frames::events(self.session, frame)?;
        if events.is_empty() {
            return Ok(());
        }
        let room = self.driver.room(bytes).await?;
        self.driver.put(Input::Frame { events, room }).await
    }
}

/// Tells a participant that never became a session why.
async fn refuse(frames: &mpsc::Sender<Outgoing>, failure: Failure) {
    tracing::warn!(reason = %failure.reason, message = failure.message, "session refused");
    let goodbye = v1::Goodbye {
        reason: failure.reason.to_string(),
        message: failure.message.clone(),
    };
    let frame = v1::SessionResponse {
        goodbye: Some(goodbye),
        ..v1::SessionResponse::default()
    };
    // If the peer is gone, nobody needs to be told.
    let _ = frames.send(Ok(frame)).await;
    let _ = frames.send(Err(failure.into())).await;
}

/// A frame that is too long or cannot be decoded: the transport found it and says so to us only.
fn is_our_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Internal
            | Code::InvalidArgument
            | Code::Unimplemented
    )
}

fn broken(status: &Status) -> Failure {
    violation(format!("a frame cannot be taken: {}", status.message()))
}

fn too_many(limit: usize) -> Status {
    let message = format!("there are {limit} sessions, which is the limit; raise server.sessions");
    Failure::new(Reason::Busy, message).into()
}
