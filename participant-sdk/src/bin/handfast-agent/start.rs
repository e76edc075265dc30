//! What all resources of the agent share: where the coordinator is, logging, and the signals to stop.

use std::io::IsTerminal;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Who takes part, and where.
#[derive(Args)]
pub struct Connection {
    /// The stable name of the resource, such as orders-db
    #[arg(long)]
    pub name: String,
    /// An address of the coordinator, host:port or URI; give it again for each further one
    #[arg(long, required = true)]
    pub coordinator: Vec<String>,
}

/// Logs to standard error, at `info` unless `RUST_LOG` says otherwise.
pub fn logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Completes when the process is asked to stop.
pub fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
    })
}
