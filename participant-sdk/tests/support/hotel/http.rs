//! The hotel over HTTP: a POST of JSON to each step.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{Call, Desk, Fault, Reply, Said};
use crate::certificates::Identity;

pub async fn serve(
    desk: Arc<Mutex<Desk>>,
    listener: TcpListener,
    identity: Option<Identity>,
    closed: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new().route("/{step}", post(answer)).with_state(desk);
    match identity {
        None => axum::serve(listener, router)
            .with_graceful_shutdown(closed)
            .await
            .unwrap(),
        Some(identity) => {
            let acceptor = identity.acceptor();
            axum::serve(Secure { listener, acceptor }, router)
                .with_graceful_shutdown(closed)
                .await
                .unwrap();
        }
    }
}

/// Takes TLS connections, one handshake at a time, which is enough for a test.
struct Secure {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Secure {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A caller that does not trust the certificate breaks the handshake off.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn answer(
    State(desk): State<Arc<Mutex<Desk>>>,
    Path(step): Path<String>,
    headers: HeaderMap,
    text: String,
) -> Response {
    let body: Value = serde_json::from_str(&text).unwrap();
    let header = |name| {
        headers
            .get(name)
            .map(|value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned())
    };
    let call = Call {
        step: step.clone(),
        key: header("idempotency-key").unwrap(),
        limit_ms: None,
        body: text.into_bytes(),
        authorization: header("authorization"),
    };
    let Ok(fault) = desk.lock().unwrap().admit(call) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let done = || book(&mut desk.lock().unwrap(), &step, &body);
    match fault {
        None => done(),
        Some(Fault::RefusedOnceHeld(mut has_held)) => {
            has_held.wait_for(|held| *held).await.unwrap();
            status(Said::Refused)
        }
        Some(Fault::Before(said)) => status(said),
        Some(Fault::After(said)) => {
            done();
            status(said)
        }
        Some(Fault::Silence) => {
            done();
            std::future::pending().await
        }
        Some(Fault::Redirect(to)) => Redirect::temporary(&to).into_response(),
        Some(Fault::Large(bytes)) => {
            done();
            "x".repeat(bytes).into_response()
        }
    }
}

fn status(said: Said) -> Response {
    let number = match said {
        Said::Unavailable => 500,
        Said::Refused => 409,
        Said::Absent => 404,
        Said::Number(number) => number,
    };
    StatusCode::from_u16(number).unwrap().into_response()
}

fn book(desk: &mut Desk, step: &str, body: &Value) -> Response {
    assert_eq!(
        (body["handfast_tcc"].as_u64(), body["step"].as_str()),
        (Some(1), Some(step))
    );
    let transaction = format!("{}/{}", body["transaction"].as_str().unwrap(), body["branch"]);
    let room = body["operation"]["room"].as_u64().unwrap_or_default();
    match desk.book(step, transaction, room) {
        Reply::Done => StatusCode::OK.into_response(),
        Reply::NoSuchRoom => (StatusCode::UNPROCESSABLE_ENTITY, "no such room").into_response(),
        Reply::Conflict {
            reason,
            room,
            retryable,
        } => {
            let said = json!({ "reason": reason, "message": format!("room {room}"), "retryable": retryable });
            (StatusCode::CONFLICT, Json(said)).into_response()
        }
        Reply::Absent => StatusCode::NOT_FOUND.into_response(),
    }
}
