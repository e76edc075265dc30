//! The simulated world: virtual time, seeded randomness, no signals. Health and reflection do not exist there.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use handfast_core::{Coordinator, Moment};
use handfast_proto::transport::simulated::Server;
use handfast_proto::v1::admin_server::AdminServer;
use handfast_proto::v1::participants_server::ParticipantsServer;
use handfast_proto::v1::transactions_server::TransactionsServer;
use tokio::sync::watch;
use tonic::Request;

use super::{CoreStep, JoinHandle, Phase};
use crate::server::Services;

/// An address that will be bound when it is served.
#[derive(Debug)]
pub struct Listener(SocketAddr);

impl Listener {
    /// Notes the address.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Listener> {
        Ok(Listener(address))
    }

    /// The address.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.0)
    }
}

/// Serves until `phase` is stopped.
pub async fn serve(
    listener: Listener,
    services: Services,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), String> {
    let stopped = async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    };
    let operators = services.operators;
    let admin = AdminServer::with_interceptor(services.admin, move |call: Request<()>| operators.admit(call));
    Server::new()
        .add_service(TransactionsServer::new(services.transactions))
        .add_service(ParticipantsServer::new(services.participants))
        .add_service(admin)
        .serve(listener.0, stopped)
        .await
        .map_err(|error| error.to_string())
}

/// Hears the simulator's "ctrl-c".
#[derive(Debug)]
pub struct Termination;

impl Termination {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Termination> {
        Ok(Termination)
    }

    /// Completes when the process is asked to end.
    pub async fn asked(self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

type CoreWatcher = Box<dyn FnMut(&Coordinator, Moment, CoreStep<'_>)>;

thread_local! {
    static CORE_WATCHER: RefCell<Option<CoreWatcher>> = const { RefCell::new(None) };
    static WALL_CLOCK: RefCell<Option<Box<dyn Fn(u64) -> u64>>> = const { RefCell::new(None) };
}

/// From here on, whoever is installed sees every step of every core of this thread.
pub fn install_core_watcher(watch: impl FnMut(&Coordinator, Moment, CoreStep<'_>) + 'static) {
    CORE_WATCHER.with(|installed| *installed.borrow_mut() = Some(Box::new(watch)));
}

/// Shows the core.
pub fn watch_core(core: &Coordinator, now: Moment, step: CoreStep<'_>) {
    CORE_WATCHER.with(|installed| {
        if let Some(watch) = &mut *installed.borrow_mut() {
            watch(core, now, step);
        }
    });
}

/// Sets the wall clocks of all machines of this thread, which is the whole of a simulation: `shows` tells what the clock of
/// the machine that asks shows when this many milliseconds have passed since 1970.
pub fn install_wall_clock(shows: impl Fn(u64) -> u64 + 'static) {
    WALL_CLOCK.with(|installed| *installed.borrow_mut() = Some(Box::new(shows)));
}

/// Unix time in milliseconds, as the machine's clock shows it, which may be wrong.
#[allow(clippy::disallowed_methods)] // this is the seam; the simulator overrides the clock
pub fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    let right = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    WALL_CLOCK.with(|installed| installed.borrow().as_ref().map_or(right, |shows| shows(right)))
}

/// Random bits from the simulator's seed.
pub fn random_u128() -> u128 {
    madsim::rand::random()
}

/// There are no threads in the simulator: the work is done at once.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    work();
    super::spawn(async {})
}

/// Ends the process's runtime. Nothing runs beside the event loops.
pub fn shut_down(runtime: tokio::runtime::Runtime) {
    drop(runtime);
}
