//! The real world.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use handfast_proto::sizes::message_bytes;
use handfast_proto::v1::admin_server::AdminServer;
use handfast_proto::v1::participants_server::ParticipantsServer;
use handfast_proto::v1::transactions_server::TransactionsServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tonic::Request;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use super::{JoinHandle, Phase};
use crate::server::Services;

/// A ping goes out this often on a connection, so that a half-open one is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much a peer may send ahead on one stream and on one connection: sessions carry large frames.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Calls of one connection at a time; far above what the inbox takes.
const CONCURRENT_STREAMS: u32 = 100_000;
/// Calls that clients have given up and the connection has not noticed yet.
const PENDING_RESETS: usize = 4096;

/// A socket that is bound and listens.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener)
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves until `phase` is stopped and open calls have ended.
pub async fn serve(
    listener: Listener,
    services: Services,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), String> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in Services::NAMES {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(handfast_proto::v1::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| error.to_string())?;
    let stopped = async move {
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        for name in Services::NAMES.into_iter().chain([""]) {
            reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    };
    let transactions = TransactionsServer::new(services.transactions);
    let participants = ParticipantsServer::new(services.participants);
    let operators = services.operators;
    let admin = AdminServer::with_interceptor(services.admin, move |call: Request<()>| operators.admit(call));
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .add_service(health)
        .add_service(reflection)
        .add_service(transactions.max_decoding_message_size(message_bytes(services.frame_bytes)))
        .add_service(participants.max_decoding_message_size(services.frame_bytes))
        .add_service(admin)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener.0).with_nodelay(Some(true)), stopped)
        .await
        .map_err(|error| error.to_string())
}

/// Hears when the process is asked to end: SIGTERM or SIGINT. From when it is made, neither kills the process.
#[derive(Debug)]
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Termination> {
        Ok(Termination {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes when the process is asked to end.
    pub async fn asked(mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Nobody watches.
pub fn watch_core(_: &handfast_core::Coordinator, _: handfast_core::Moment, _: super::CoreStep<'_>) {}

/// Unix time in milliseconds.
#[allow(clippy::disallowed_methods)] // this is the seam
pub fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bits.
#[allow(clippy::disallowed_methods)] // this is the seam
pub fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bits");
    u128::from_be_bytes(bytes)
}

/// Runs what blocks beside the event loops.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    tokio::task::spawn_blocking(work)
}

/// How long what runs beside the event loops may take to end.
const SHUTDOWN: std::time::Duration = std::time::Duration::from_secs(5);

/// Ends the process's runtime. The index may still be written; it is not waited for without end: its disk may have stalled.
pub fn shut_down(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(SHUTDOWN);
}
