//! The service as a whole: takes up the log, lets clients and participants in, and runs until it is asked to end.

use handfast_core::Lsn;
use handfast_ids::LogId;
use handfast_wal::Disk;
use tokio::sync::watch;

use crate::config::Settings;
use crate::driver;
use crate::error::{Error, Kind};
use crate::index::Index;
use crate::runtime::{self, Listener, Phase, Termination};
use crate::server::{self, Services};

/// How long open calls may take to end once the driver has.
const CALLS_END: std::time::Duration = std::time::Duration::from_secs(2);

/// How long the driver may take to end once the transport has. It has much to let go of.
const DRIVER_END: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs a coordinator on this disk and this address. `ready` is called once clients are served.
///
/// The real program and the simulator both start here. An error is the end: the process must exit.
pub async fn run<D: Disk, I: Index>(
    disk: D,
    open_index: impl FnOnce(LogId, Lsn) -> I,
    settings: &Settings,
    listener: Listener,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let (phase, phases) = watch::channel(Phase::Serving);
    let (handle, inbox) = driver::inbox(&settings.server);
    let termination = Termination::listen()
        .map_err(|error| Error::new(Kind::Internal, format!("signals cannot be received: {error}")))?;
    let driver = driver::recover(disk, open_index, inbox, settings, phase).await?;
    let services = Services::new(&handle, settings);
    let transport = runtime::spawn(runtime::serve(listener, services, phases));
    let signals = runtime::spawn(server::drain_when_asked(termination, handle));
    let mut driver = runtime::spawn(driver.run());
    ready();

    // The driver decides when it is over. The transport ends with it, and may be seen to end first.
    let mut transport = transport;
    let ended = tokio::select! {
        biased;
        ended = &mut driver => ended,
        served = &mut transport => match runtime::timeout(DRIVER_END, driver).await {
            Some(ended) => return flatten(ended),
            None => {
                let words = served.map_or_else(|error| error.to_string(), |served| served.err().unwrap_or_default());
                return Err(Error::new(Kind::Internal, format!("the transport has ended: {words}")));
            }
        },
    };
    signals.abort();
    flatten(ended)?;
    if runtime::timeout(CALLS_END, transport).await.is_none() {
        tracing::warn!("some calls were still open at the end");
    }
    Ok(())
}

fn flatten(ended: Result<Result<(), Error>, impl std::fmt::Display>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| {
        let message =
            format!("the driver has panicked ({error}); the log is safe, start again and report this");
        Err(Error::new(Kind::Internal, message))
    })
}
