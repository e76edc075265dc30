//! A little service over HTTP, as somebody might have one: rooms that are held, confirmed and cancelled.
//!
//! Its faults, as a test asks for them: it answers an error before or after it has done what it was asked, not at all, with a
//! redirect, with too much. A caller survives, because every call may be repeated and a cancel that finds nothing is remembered.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where a booking stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Booking {
    Held,
    Confirmed,
    Cancelled,
}

/// What happens to the next call of a step.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, and nothing is done.
    Before(u16),
    /// It is done, and this status is answered.
    After(u16),
    /// It is done, and nothing is answered.
    Silence,
    /// A redirect to there.
    Redirect(String),
    /// It is done, and so many bytes are answered.
    Large(usize),
    /// It is refused, once another hotel has held a room.
    RefusedOnceHeld(watch::Receiver<bool>),
}

#[derive(Default)]
struct Desk {
    /// By transaction: the room, and how it stands.
    bookings: BTreeMap<String, (u64, Booking)>,
    calls: Vec<(String, String)>,
    /// What was sent, as it came.
    bodies: Vec<String>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    authorization: Option<String>,
    rooms: u64,
    /// Whether a room was ever held.
    has_held: watch::Sender<bool>,
}

/// A hotel with rooms from 1 on; gone when dropped.
pub struct Hotel {
    pub url: String,
    desk: Arc<Mutex<Desk>>,
    serving: JoinHandle<()>,
}

impl Hotel {
    /// With 100 rooms.
    pub async fn open() -> Self {
        Self::with_rooms(100).await
    }

    pub async fn with_rooms(rooms: u64) -> Self {
        let desk = Desk {
            rooms,
            ..Desk::default()
        };
        let desk = Arc::new(Mutex::new(desk));
        let router = Router::new()
            .route("/{step}", post(answer))
            .with_state(desk.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Hotel { url, desk, serving }
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
        self.desk().calls.iter().map(|(step, _)| step.clone()).collect()
    }

    /// The idempotency keys of the calls, in order.
    pub fn keys(&self) -> Vec<String> {
        self.desk().calls.iter().map(|(_, key)| key.clone()).collect()
    }

    /// The bodies of the calls since this was asked last, in order, as they came.
    pub fn take_bodies(&self) -> Vec<String> {
        std::mem::take(&mut self.desk().bodies)
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
        self.serving.abort();
    }
}

async fn answer(
    State(desk): State<Arc<Mutex<Desk>>>,
    Path(step): Path<String>,
    headers: HeaderMap,
    text: String,
) -> Response {
    let body: Value = serde_json::from_str(&text).unwrap();
    let fault = {
        let mut desk = desk.lock().unwrap();
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        desk.calls.push((step.clone(), key));
        desk.bodies.push(text);
        let authorization = headers.get("authorization").map(|value| value.to_str().unwrap());
        if desk.authorization.as_deref() != authorization {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        desk.faults.get_mut(&step).and_then(VecDeque::pop_front)
    };
    let status = |code| StatusCode::from_u16(code).unwrap().into_response();
    match fault {
        None => serve(&mut desk.lock().unwrap(), &step, &body),
        Some(Fault::RefusedOnceHeld(mut has_held)) => {
            has_held.wait_for(|has_held| *has_held).await.unwrap();
            status(409)
        }
        Some(Fault::Before(code)) => status(code),
        Some(Fault::Redirect(url)) => Redirect::temporary(&url).into_response(),
        Some(after) => {
            let done = serve(&mut desk.lock().unwrap(), &step, &body);
            match after {
                Fault::After(code) => status(code),
                Fault::Large(bytes) => "x".repeat(bytes).into_response(),
                _ => {
                    drop(done);
                    std::future::pending().await
                }
            }
        }
    }
}

fn serve(desk: &mut Desk, step: &str, body: &Value) -> Response {
    assert_eq!(
        (body["handfast_tcc"].as_u64(), body["step"].as_str()),
        (Some(1), Some(step))
    );
    let transaction = format!("{}/{}", body["transaction"].as_str().unwrap(), body["branch"]);
    let room = body["operation"]["room"].as_u64().unwrap_or_default();
    let known = desk.bookings.get(&transaction).map(|(_, booking)| *booking);
    let conflict = |reason: &str, retryable: bool| {
        let said = json!({ "reason": reason, "message": format!("room {room}"), "retryable": retryable });
        (StatusCode::CONFLICT, Json(said)).into_response()
    };
    let becomes = match (step, known) {
        ("try", None) if !(1..=desk.rooms).contains(&room) => {
            return (StatusCode::UNPROCESSABLE_ENTITY, "no such room").into_response();
        }
        ("try", None) => {
            let mut others = desk.bookings.values();
            if others.any(|(of, booking)| *of == room && *booking != Booking::Cancelled) {
                return conflict("TAKEN", true);
            }
            Booking::Held
        }
        ("try", Some(Booking::Cancelled)) => return conflict("CANCELLED", false),
        ("confirm", Some(Booking::Cancelled)) => return conflict("CANCELLED", false),
        ("confirm", None) => return StatusCode::NOT_FOUND.into_response(),
        ("cancel", Some(Booking::Confirmed)) => return conflict("CONFIRMED", false),
        ("try", Some(booking)) => booking,
        ("confirm", Some(_)) => Booking::Confirmed,
        // Also of a booking that is not known: a try that comes late is refused.
        ("cancel", _) => Booking::Cancelled,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    desk.bookings.insert(transaction, (room, becomes));
    if becomes == Booking::Held {
        desk.has_held.send_replace(true);
    }
    StatusCode::OK.into_response()
}
