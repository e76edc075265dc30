//! The way of whole frames to one peer: one frame is under way, and what gathers meanwhile is the next.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc::{self, OwnedPermit};

/// Frames that the transport has not taken yet, per peer.
pub const FRAMES_IN_FLIGHT: usize = 1;

/// Completes when a lane that was blocked has room, or with nothing when nobody listens any more.
pub type Room<T> = Pin<Box<dyn Future<Output = Option<OwnedPermit<T>>> + Send>>;

/// One peer's channel of [`FRAMES_IN_FLIGHT`], and whether the next frame can go.
#[derive(Debug)]
pub struct Lane<T> {
    frames: mpsc::Sender<T>,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// Perhaps.
    Free,
    /// It can: a place is reserved.
    Reserved(OwnedPermit<T>),
    /// It cannot: somebody waits for room.
    Blocked,
    /// Nobody listens any more.
    Gone,
}

/// What a lane says to whoever has a frame.
pub enum Place<T> {
    /// The frame can go.
    Here(OwnedPermit<T>),
    /// Not now: wait for the room, and hand what it gives to [`Lane::found`].
    Later(Room<T>),
    /// Not now, and the room is waited for already.
    Blocked,
    /// Never again.
    Gone,
}

impl<T: Send + 'static> Lane<T> {
    /// A lane over this channel.
    pub fn new(frames: mpsc::Sender<T>) -> Self {
        Lane {
            frames,
            state: State::Free,
        }
    }

    /// A place for the next frame.
    pub fn place(&mut self) -> Place<T> {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Reserved(permit) => Place::Here(permit),
            State::Free => match self.frames.clone().try_reserve_owned() {
                Ok(permit) => Place::Here(permit),
                Err(mpsc::error::TrySendError::Full(frames)) => {
                    self.state = State::Blocked;
                    Place::Later(Box::pin(async move { frames.reserve_owned().await.ok() }))
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.state = State::Gone;
                    Place::Gone
                }
            },
            State::Blocked => {
                self.state = State::Blocked;
                Place::Blocked
            }
            State::Gone => {
                self.state = State::Gone;
                Place::Gone
            }
        }
    }

    /// What waiting for room has brought. False if nobody listens any more.
    #[must_use]
    pub fn found(&mut self, room: Option<OwnedPermit<T>>) -> bool {
        match room {
            Some(permit) => {
                self.state = State::Reserved(permit);
                true
            }
            None => {
                self.state = State::Gone;
                false
            }
        }
    }

    /// Whether nobody listens any more, as far as is known.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }
}
