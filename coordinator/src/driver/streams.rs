//! Clients that have many transactions under way on one stream: their answers gather, and leave in one frame a turn.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{self, OwnedPermit};

use super::calls::Answer;
use super::lane::{Lane, Place};

/// One stream of one client. Never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);

/// Answers by the client's numbers, in the order in which they came.
pub type Answers = Vec<(u64, Answer)>;

struct ClientStream {
    lane: Lane<Answers>,
    waiting: Answers,
    /// Requests without an answer.
    open: usize,
    /// It is in the list of those that have something to send.
    dirty: bool,
    /// The client has nothing more to ask: the stream ends once all is answered.
    closing: bool,
}

type Writable = BoxFuture<'static, (StreamId, Option<OwnedPermit<Answers>>)>;

/// All streams of clients. Bounded by their readers, which wait while too much of a stream is unanswered.
#[derive(Default)]
pub struct Streams {
    streams: BTreeMap<StreamId, ClientStream>,
    dirty: Vec<StreamId>,
    writable: FuturesUnordered<Writable>,
}

impl Streams {
    /// A stream begins; `answers` is a channel of [`FRAMES_IN_FLIGHT`](super::FRAMES_IN_FLIGHT).
    pub fn open(&mut self, stream: StreamId, answers: mpsc::Sender<Answers>) {
        let opened = ClientStream {
            lane: Lane::new(answers),
            waiting: Vec::new(),
            open: 0,
            dirty: false,
            closing: false,
        };
        self.streams.insert(stream, opened);
    }

    /// A request of this stream is to be answered.
    pub fn asked(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.open += 1;
        }
    }

    /// The answer to one request. To a stream that is gone, it goes nowhere.
    pub fn answer(&mut self, stream: StreamId, number: u64, answer: Answer) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.open -= 1;
            entry.waiting.push((number, answer));
            mark(entry, stream, &mut self.dirty);
        }
    }

    /// The client has nothing more to ask.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.closing = true;
            mark(entry, stream, &mut self.dirty);
        }
    }

    /// The stream is lost; what waited for it is dropped.
    pub fn remove(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Whether every answer was handed to the transport.
    pub fn is_flushed(&self) -> bool {
        self.streams.values().all(|entry| entry.waiting.is_empty())
    }

    /// Waits until a stream that was slow has room. Cancel-safe. Then [`Streams::flush`] sends.
    pub async fn writable(&mut self) {
        let Some((stream, room)) = self.writable.next().await else {
            return std::future::pending().await;
        };
        if let Some(entry) = self.streams.get_mut(&stream) {
            match entry.lane.found(room) {
                true => mark(entry, stream, &mut self.dirty),
                // Its reader will say that it is down.
                false => entry.waiting.clear(),
            }
        }
    }

    /// Sends a frame on every stream that has answers and room.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for stream in dirty.drain(..) {
            let Some(entry) = self.streams.get_mut(&stream) else {
                continue;
            };
            entry.dirty = false;
            if !entry.waiting.is_empty() {
                match entry.lane.place() {
                    Place::Here(permit) => {
                        permit.send(std::mem::take(&mut entry.waiting));
                    }
                    Place::Later(room) => {
                        self.writable.push(room.map(move |room| (stream, room)).boxed());
                    }
                    Place::Blocked => {}
                    Place::Gone => entry.waiting.clear(),
                }
            }
            if entry.closing && entry.open == 0 && entry.waiting.is_empty() {
                self.streams.remove(&stream);
            }
        }
        self.dirty = dirty;
    }
}

fn mark(entry: &mut ClientStream, stream: StreamId, dirty: &mut Vec<StreamId>) {
    if !entry.dirty {
        entry.dirty = true;
        dirty.push(stream);
    }
}
