//! What goes out to participants: one frame in flight on each session, and the rest gathers into the next.
//!
//! ```text
//!   push(message) ──► waiting ──flush──► frame ──► channel of one ──► transport
//!                        ▲                 │ no room: a future tells when there is
//!                        └─────────────────┘
//! ```
//!
//! A slow session slows nobody else: its messages wait, bounded by `session_backlog`, beyond which it is ended.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use handfast_core::{Lsn, Message, Moment, SessionId};
use handfast_proto::status::Failure;
use handfast_proto::v1;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tonic::Status;

use super::frames;
use super::lane::{Lane, Place};
use super::waiting::Waiting;
use crate::failpoint::{self, Point};

/// One frame for the transport, or how the session ended.
pub type Outgoing = Result<v1::SessionResponse, Status>;

/// The driver's end of a session.
#[derive(Debug)]
pub struct SessionSender {
    /// A channel of [`FRAMES_IN_FLIGHT`](super::FRAMES_IN_FLIGHT).
    pub frames: mpsc::Sender<Outgoing>,
    /// Dropped when the driver has let go of the session.
    pub released: oneshot::Sender<()>,
}

/// What the outbox needs to know of the service.
#[derive(Clone, Debug)]
pub struct OutboxSettings {
    /// Told to participants.
    pub limits: v1::Limits,
    /// The most messages that wait for a session.
    pub backlog: usize,
    /// The most bytes of operations in them.
    pub backlog_bytes: usize,
    /// A frame goes out at least this often.
    pub heartbeat_ms: u64,
}

struct Session {
    lane: Lane<Outgoing>,
    _released: oneshot::Sender<()>,
    waiting: Waiting,
    /// It is in the list of those that have something to send.
    dirty: bool,
    /// Once everything before it is sent, the session ends with this.
    goodbye: Option<(v1::Goodbye, Option<Status>)>,
    sent_at: Moment,
}

type Writable = BoxFuture<'static, (SessionId, Option<OwnedPermit<Outgoing>>)>;

/// All sessions' outgoing frames.
pub struct Outbox {
    settings: OutboxSettings,
    sessions: BTreeMap<SessionId, Session>,
    dirty: Vec<SessionId>,
    writable: FuturesUnordered<Writable>,
}

impl Outbox {
    /// Without sessions.
    pub fn new(settings: OutboxSettings) -> Self {
        Outbox {
            settings,
            sessions: BTreeMap::new(),
            dirty: Vec::new(),
            writable: FuturesUnordered::new(),
        }
    }

    /// A session begins.
    pub fn open(&mut self, session: SessionId, sender: SessionSender, now: Moment) {
        let opened = Session {
            lane: Lane::new(sender.frames),
            _released: sender.released,
            waiting: Waiting::default(),
            dirty: false,
            goodbye: None,
            sent_at: now,
        };
        self.sessions.insert(session, opened);
    }

    /// A session is gone; what waited for it is dropped.
    pub fn remove(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Whether no session is left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// A message waits for the next frame; to a session that is gone, it goes nowhere. False if the session is so slow
    /// that it must end.
    #[must_use]
    pub fn push(&mut self, session: SessionId, message: Message) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return true;
        };
        if entry.goodbye.is_some() || entry.lane.is_gone() {
            return true;
        }
        if entry.waiting.len() >= self.settings.backlog {
            return false;
        }
        let has_room = entry.waiting.push(message, self.settings.backlog_bytes);
        mark(entry, session, &mut self.dirty);
        has_room
    }

    /// The session ends with these words once what waits for it was sent. With a failure, its stream ends as failed.
    pub fn close(&mut self, session: SessionId, goodbye: v1::Goodbye, failure: Option<Failure>) {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        if entry.lane.is_gone() {
            return self.remove(session);
        }
        entry.goodbye = Some((goodbye, failure.map(Status::from)));
        mark(entry, session, &mut self.dirty);
    }

    /// All sessions end with these words.
    pub fn close_all(&mut self, goodbye: &v1::Goodbye) {
        let all: Vec<_> = self.sessions.keys().copied().collect();
        for session in all {
            self.close(session, goodbye.clone(), None);
        }
    }

    /// Sends empty frames on sessions that have been quiet for nearly a heartbeat.
    pub fn heartbeat(&mut self, now: Moment) {
        for (session, entry) in &mut self.sessions {
            if now.0.saturating_sub(entry.sent_at.0) >= self.settings.heartbeat_ms / 2 {
                mark(entry, *session, &mut self.dirty);
            }
        }
    }

    /// Waits until a session that was slow has room. Cancel-safe. Then [`Outbox::flush`] sends.
    pub async fn writable(&mut self) {
        match self.writable.next().await {
            None => std::future::pending().await,
            Some((session, room)) => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    match entry.lane.found(room) {
                        true => mark(entry, session, &mut self.dirty),
                        false => self.gone(session),
                    }
                }
            }
        }
    }

    /// Sends frames on every session that has something to send, until its transport has no more room. Stops at a
    /// failpoint.
    pub fn flush(&mut self, now: Moment, durable: Lsn) -> Option<Point> {
        let mut commits = false;
        // What is left of a session after a frame makes it dirty again: it is sent as well, or its room is waited for.
        while !self.dirty.is_empty() {
            for session in std::mem::take(&mut self.dirty) {
                let Some(permit) = self.permit(session) else {
                    continue;
                };
                let Some(entry) = self.sessions.get_mut(&session) else {
                    continue;
                };
                let mut frame = frames::build(&mut entry.waiting, &self.settings.limits);
                frame.durable_lsn = durable.0;
                entry.sent_at = now;
                let (prepares, decisions) = (!frame.prepares.is_empty(), has_commit(&frame));
                commits |= decisions;
                self.finish(session, frame, permit);
                if prepares && failpoint::passes(Point::AfterPrepareSend) {
                    return Some(Point::AfterPrepareSend);
                }
                if decisions && failpoint::passes(Point::AfterFirstCommitSend) {
                    return Some(Point::AfterFirstCommitSend);
                }
            }
        }
        (commits && failpoint::passes(Point::AfterCommitsSend)).then_some(Point::AfterCommitsSend)
    }

    /// A place for the next frame of a session; `None` if there is none now, and then a future waits for it.
    fn permit(&mut self, session: SessionId) -> Option<OwnedPermit<Outgoing>> {
        let entry = self.sessions.get_mut(&session)?;
        entry.dirty = false;
        match entry.lane.place() {
            Place::Here(permit) => Some(permit),
            Place::Later(room) => {
                self.writable.push(room.map(move |room| (session, room)).boxed());
                None
            }
            Place::Blocked => None,
            Place::Gone => {
                self.gone(session);
                None
            }
        }
    }

    /// Nobody listens any more. If the session was to end, it has; otherwise its reader will say that it is down.
    fn gone(&mut self, session: SessionId) {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        entry.waiting.clear();
        if entry.goodbye.is_some() {
            self.remove(session);
        }
    }

    /// Hands the frame to the transport, and sees to what is left.
    fn finish(&mut self, session: SessionId, mut frame: v1::SessionResponse, permit: OwnedPermit<Outgoing>) {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        if !entry.waiting.is_empty() {
            permit.send(Ok(frame));
            mark(entry, session, &mut self.dirty);
            return;
        }
        match entry.goodbye.take() {
            None => {
                permit.send(Ok(frame));
            }
            Some((goodbye, failure)) => {
                frame.goodbye = Some(goodbye);
                let frames = permit.send(Ok(frame));
                let ended = self.sessions.remove(&session);
                if let Some(failure) = failure {
                    // The reader lives until the transport has taken the last word.
                    crate::runtime::spawn(async move {
                        let _ = frames.send(Err(failure)).await;
                        drop(ended);
                    });
                }
            }
        }
    }
}

fn has_commit(frame: &v1::SessionResponse) -> bool {
    frame
        .decisions
        .iter()
        .any(|decision| decision.kind() == v1::DecisionKind::Commit)
}

fn mark(entry: &mut Session, session: SessionId, dirty: &mut Vec<SessionId>) {
    if !entry.dirty {
        entry.dirty = true;
        dirty.push(session);
    }
}
