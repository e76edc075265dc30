//! A little service, as somebody might have one: rooms that are held, confirmed and cancelled. It is called over HTTP or over gRPC.
//!
//! Its faults, as a test asks for them: it answers an error before or after it has done what it was asked, not at all, with a
//! redirect, with too much. A caller survives, because every call may be repeated and a cancel that finds nothing is remembered.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "hotel/grpc.rs"]
mod grpc;
#[path = "hotel/http.rs"]
mod http;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::certificates::Identity;

/// How a hotel is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Http,
    Grpc,
}

/// Where a booking stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Booking {
    Held,
    Confirmed,
    Cancelled,
}

/// A call that a test can have said wrong, in the words of either wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// 500, UNAVAILABLE.
    Unavailable,
    /// 409, FAILED_PRECONDITION.
    Refused,
    /// 404, NOT_FOUND.
    Absent,
    /// This status of HTTP, or this number of gRPC.
    Number(u16),
}

/// What happens to the next call of a step.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This is answered, and nothing is done.
    Before(Said),
    /// It is done, and this is answered.
    After(Said),
    /// It is done, and nothing is answered.
    Silence,
    /// A redirect to there; over HTTP only.
    Redirect(String),
    /// It is done, and so many bytes are answered; over gRPC only by the methods with names of their own.
    Large(usize),
    /// It is refused, once another hotel has held a room.
    RefusedOnceHeld(watch::Receiver<bool>),
}

/// One call, as it came.
struct Call {
    step: String,
    key: String,
    /// Milliseconds within which it was to be answered, if that was told.
    limit_ms: Option<u64>,
    body: Vec<u8>,
    authorization: Option<String>,
}

#[derive(Default)]
struct Desk {
    /// By transaction: the room, and how it stands.
    bookings: BTreeMap<String, (u64, Booking)>,
    calls: Vec<Call>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    authorization: Option<String>,
    rooms: u64,
    /// Whether a room was ever held.
    has_held: watch::Sender<bool>,
}

/// What the desk answers when nothing goes wrong.
enum Reply {
    Done,
    /// Never.
    NoSuchRoom,
    Conflict {
        reason: &'static str,
        room: u64,
        retryable: bool,
    },
    /// No such booking.
    Absent,
}

/// A hotel with rooms from 1 on; gone when dropped.
pub struct Hotel {
    pub url: String,
    pub wire: Wire,
    address: SocketAddr,
    identity: Option<Identity>,
    desk: Arc<Mutex<Desk>>,
    serving: Option<Serving>,
}

struct Serving {
    close: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Hotel {
    /// With 100 rooms, over HTTP.
    pub async fn open() -> Self {
        Self::over(Wire::Http).await
    }

    /// With 100 rooms.
    pub async fn over(wire: Wire) -> Self {
        Self::start(wire, 100, None).await
    }

    pub async fn with_rooms(wire: Wire, rooms: u64) -> Self {
        Self::start(wire, rooms, None).await
    }

    /// With 100 rooms, and a certificate for its callers.
    pub async fn secure(wire: Wire, identity: Identity) -> Self {
        Self::start(wire, 100, Some(identity)).await
    }

    async fn start(wire: Wire, rooms: u64, identity: Option<Identity>) -> Self {
        let desk = Desk {
            rooms,
            ..Desk::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let mut hotel = Hotel {
            url: format!("{scheme}://{address}"),
            wire,
            address,
            identity,
            desk: Arc::new(Mutex::new(desk)),
            serving: None,
        };
        hotel.serve(listener);
        hotel
    }

    fn serve(&mut self, listener: TcpListener) {
        let (close, closed) = oneshot::channel();
        let closed = async { drop(closed.await) };
        let (desk, identity) = (self.desk.clone(), self.identity.clone());
        let ended = match self.wire {
            Wire::Http => tokio::spawn(http::serve(desk, listener, identity, closed)),
            Wire::Grpc => tokio::spawn(grpc::serve(desk, listener, identity, closed)),
        };
        self.serving = Some(Serving { close, ended });
    }

    /// Answers what it has begun and takes no more, until it is opened again.
    pub async fn close(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.close.send(()).unwrap();
        serving.ended.await.unwrap();
    }

    /// At the same address, with the same bookings.
    pub async fn reopen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// The next call of this step goes wrong.
    pub fn fault(&self, step: &str, fault: Fault) {
        self.desk()
            .faults
            .entry(step.to_owned())
            .or_default()
            .push_back(fault);
    }

    /// Tells when it has held a room for the first time.
    pub fn has_held(&self) -> watch::Receiver<bool> {
        self.desk().has_held.subscribe()
    }

    /// Every call must carry this from now on.
    pub fn demand(&self, authorization: &str) {
        self.desk().authorization = Some(authorization.to_owned());
    }

    /// Every booking: its room, and how it stands.
    pub fn bookings(&self) -> Vec<(u64, Booking)> {
        self.desk().bookings.values().copied().collect()
    }

    /// How the bookings of a room stand.
    pub fn room(&self, room: u64) -> Vec<Booking> {
        let desk = self.desk();
        desk.bookings
            .values()
            .filter(|(of, _)| *of == room)
            .map(|(_, booking)| *booking)
            .collect()
    }

    /// The steps that were called, in order.
    pub fn steps(&self) -> Vec<String> {
        self.desk().calls.iter().map(|call| call.step.clone()).collect()
    }

    /// The idempotency keys of the calls, in order.
    pub fn keys(&self) -> Vec<String> {
        self.desk().calls.iter().map(|call| call.key.clone()).collect()
    }

    /// Within how many milliseconds each call was to be answered, in order.
    pub fn limits_ms(&self) -> Vec<Option<u64>> {
        self.desk().calls.iter().map(|call| call.limit_ms).collect()
    }

    /// The bodies of the calls, in order, as they came: all of JSON over HTTP, the operation alone over gRPC.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.desk().calls.iter().map(|call| call.body.clone()).collect()
    }

    /// All that is held or confirmed.
    pub fn taken(&self) -> usize {
        self.desk()
            .bookings
            .values()
            .filter(|(_, booking)| *booking != Booking::Cancelled)
            .count()
    }

    /// All that is held and neither confirmed nor cancelled.
    pub fn held(&self) -> usize {
        self.desk()
            .bookings
            .values()
            .filter(|(_, booking)| *booking == Booking::Held)
            .count()
    }
}

impl Drop for Hotel {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.ended.abort();
        }
    }
}

impl Desk {
    /// Notes a call. What is to go wrong with it; an error if it may not call at all.
    fn admit(&mut self, call: Call) -> Result<Option<Fault>, ()> {
        let is_allowed = self.authorization == call.authorization;
        let step = call.step.clone();
        self.calls.push(call);
        if !is_allowed {
            return Err(());
        }
        Ok(self.faults.get_mut(&step).and_then(VecDeque::pop_front))
    }

    /// Does what it is asked.
    fn book(&mut self, step: &str, transaction: String, room: u64) -> Reply {
        let known = self.bookings.get(&transaction).map(|(_, booking)| *booking);
        let conflict = |reason, retryable| Reply::Conflict {
            reason,
            room,
            retryable,
        };
        let becomes = match (step, known) {
            ("try", None) if !(1..=self.rooms).contains(&room) => return Reply::NoSuchRoom,
            ("try", None) => {
                let mut others = self.bookings.values();
                if others.any(|(of, booking)| *of == room && *booking != Booking::Cancelled) {
                    return conflict("TAKEN", true);
                }
                Booking::Held
            }
            ("try", Some(Booking::Cancelled)) => return conflict("CANCELLED", false),
            ("confirm", Some(Booking::Cancelled)) => return conflict("CANCELLED", false),
            ("confirm", None) => return Reply::Absent,
            ("cancel", Some(Booking::Confirmed)) => return conflict("CONFIRMED", false),
            ("try", Some(booking)) => booking,
            ("confirm", Some(_)) => Booking::Confirmed,
            // Also of a booking that is not known: a try that comes late is refused.
            ("cancel", _) => Booking::Cancelled,
            _ => return Reply::Absent,
        };
        self.bookings.insert(transaction, (room, becomes));
        if becomes == Booking::Held {
            self.has_held.send_replace(true);
        }
        Reply::Done
    }
}
