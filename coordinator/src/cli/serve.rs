//! `handfast serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use handfast_wal::RealDisk;
use tracing_subscriber::EnvFilter;

use super::output::print;
use super::slow_disk::SlowDisk;
use super::{directory_error, index_directory, init, log_directory};
use crate::config::{Flags, LogFormat, Logging, Settings};
use crate::error::{Error, Kind};
use crate::index::SledIndex;
use crate::operators::Operators;
use crate::runtime::Listener;
use crate::{failpoint, service};

/// Run a coordinator until it is asked to end with SIGTERM.
///
/// Settings come from these flags, then from HANDFAST_SECTION__KEY in the environment (such as
/// HANDFAST_SERVER__HEARTBEAT_MS), then from the file, then from the defaults. RUST_LOG overrides which lines are logged.
#[derive(Debug, Args)]
pub struct Serve {
    /// The data directory; if it does not exist, a new log is made there
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", value_parser = socket_address)]
    listen: Option<SocketAddr>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the address that was bound to this file once clients are served
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How lines of the log look
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Raise an alarm once a participant owes an acknowledgement for this long [default: 300000]
    #[arg(long, value_name = "MILLISECONDS")]
    overdue_after_ms: Option<u64>,
    /// Take operators' calls (status, tx in-doubt) only with the token in this file, which nobody but its owner may read
    #[arg(long, value_name = "FILE", env = "HANDFAST_OPERATOR_TOKEN_FILE")]
    operator_token_file: Option<PathBuf>,
    /// A test aid: delays each sync of the log, as a slow disk does
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, hide = true)]
    sync_delay_ms: u64,
}

impl Serve {
    pub async fn run(self) -> Result<(), Error> {
        let flags = Flags {
            listen: self.listen,
            log_format: self.log_format,
            overdue_after_ms: self.overdue_after_ms,
            operator_token_file: self.operator_token_file.clone(),
        };
        let settings = Settings::load(self.config.as_deref(), &flags)?;
        start_logging(&settings.logging)?;
        failpoint::arm_from_environment().map_err(|message| Error::new(Kind::Usage, message))?;
        let listen = settings.server.listen;
        let listener = Listener::bind(listen)
            .await
            .map_err(|error| address_error(listen, &error))?;
        let address = listener
            .local_addr()
            .map_err(|error| address_error(listen, &error))?;
        tell_whom_operators_are(address, &settings.server.operators);

        let path = log_directory(&self.data_dir);
        let disk = self.disk(&path, &settings).await?;
        let index = index_directory(&self.data_dir);
        let history = settings.limits.history;
        let open_index = move |log, last| SledIndex::open(&index, log, last, history);
        let ready_file = self.ready_file.clone();
        let ready = move || announce(address, ready_file.as_deref());
        let served = match self.sync_delay_ms {
            0 => service::run(disk, open_index, &settings, listener, ready).await,
            delay_ms => {
                tracing::warn!(
                    delay_ms,
                    "each sync of the log is delayed, as --sync-delay-ms asks"
                );
                let disk = SlowDisk::new(disk, Duration::from_millis(delay_ms));
                service::run(disk, open_index, &settings, listener, ready).await
            }
        };
        served.map_err(|error| {
            tracing::error!(kind = ?error.kind, "{error}");
            error.about(path.display())
        })
    }
}

impl Serve {
    /// The disk of the log, which is made if there is no such directory.
    async fn disk(&self, path: &Path, settings: &Settings) -> Result<RealDisk, Error> {
        if is_there(&self.data_dir)? {
            return open_disk(path);
        }
        let (log, disk) = init::create(&self.data_dir, settings).await?;
        tracing::warn!(
            %log,
            "{} did not exist: a new log was made there. If a coordinator has run here before, stop, and find its data \
             directory: this one knows nothing of its transactions",
            self.data_dir.display()
        );
        Ok(disk)
    }
}

/// Opens the disk of a data directory that must have a log.
pub fn open_disk(path: &Path) -> Result<RealDisk, Error> {
    if !is_there(path)? {
        let message = format!(
            "{} does not exist: this is no data directory. Correct the path, or make one with `handfast init`",
            path.display()
        );
        return Err(Error::new(Kind::Usage, message));
    }
    RealDisk::open(path).map_err(|error| directory_error(path, &error))
}

/// Whether there is such a directory. That this user may not look is no answer, least of all "no".
fn is_there(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| directory_error(path, &error))
}

fn announce(address: SocketAddr, ready_file: Option<&Path>) {
    // It serves, whoever wanted to know.
    if let Err(error) = print(&format!("handfast is ready at {address}")) {
        tracing::error!("{error}");
    }
    if let Some(path) = ready_file
        && let Err(error) = write_whole(path, &format!("{address}\n"))
    {
        tracing::error!(%error, path = %path.display(), "the ready file cannot be written");
    }
}

/// A script that waits for the file must never see half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(unfinished, path)
}

/// Whoever reaches the port may call what operators call, unless a token is asked for.
fn tell_whom_operators_are(address: SocketAddr, operators: &Operators) {
    if !operators.are_everybody() {
        tracing::info!("what operators call is taken with their token only");
    } else if !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %address,
            "everybody who reaches this address can call what operators call: give --operator-token-file, or listen on a loopback \
             address"
        );
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an IP address and a port, such as 127.0.0.1:7420".to_owned())
}

fn address_error(address: SocketAddr, error: &std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "the address {address} is in use by another process; stop that one, or give another with --listen"
            )
        }
        _ => format!("the address {address} cannot be bound: {error}; give another with --listen"),
    };
    Error::new(Kind::Address, message)
}

fn start_logging(logging: &Logging) -> Result<(), Error> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => filter,
        _ => logging.filter.clone(),
    };
    let unusable = |error: &dyn std::fmt::Display| {
        let message = format!(
            "the log filter {filter:?} cannot be used: {error}; give one such as info or handfast_core=debug"
        );
        Error::new(Kind::Usage, message)
    };
    let filter_layer = EnvFilter::try_new(&filter).map_err(|error| unusable(&error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter_layer)
        .with_writer(std::io::stderr)
        .with_ansi(
            std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr()),
        );
    let started = match logging.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Error::new(Kind::Internal, format!("logging cannot be started: {error}")))
}

#[cfg(test)]
mod tests {
    use super::socket_address;

    #[test]
    fn an_address_that_cannot_be_used_is_answered_with_one_that_can() {
        assert_eq!(socket_address("[::1]:0").unwrap().port(), 0);
        for text in ["localhost:7420", "7420", "127.0.0.1"] {
            let message = socket_address(text).unwrap_err();
            assert!(message.contains("127.0.0.1:7420"), "{message}");
        }
    }
}
