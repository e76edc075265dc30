//! The settings of `handfast serve`: flags over `HANDFAST_SECTION__KEY` over the TOML file over the defaults below.
//!
//! Every bound of the service stands here, under a name; those of the protocol are `handfast_core::Limits`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Environment, File, FileFormat};
use handfast_proto::sizes::REQUEST_BYTES;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::operators::{OperatorToken, Operators};

/// What environment variables that set something begin with; section and key are separated by two underscores.
pub const ENVIRONMENT_PREFIX: &str = "HANDFAST";

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What clients and participants meet.
    pub server: Server,
    /// The log on disk.
    pub log: Log,
    /// How much the service takes on, and for how long.
    pub limits: Limits,
    /// Logs of the program itself.
    pub logging: Logging,
}

/// What clients and participants meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Each side of a session sends a frame within this time; after thrice the time it is taken for gone.
    pub heartbeat_ms: u64,
    /// A session must say hello within this time.
    pub hello_timeout_ms: u64,
    /// How often participants are asked to scan their stores.
    pub scan_period_ms: u64,
    /// The longest frame of a session, and the longest request of an application with all of its operations, that is taken.
    pub frame_bytes: usize,
    /// Inputs that wait for the driver; further calls are answered BUSY, sessions wait.
    pub inbox_inputs: usize,
    /// Bytes of operations and frames that wait for the driver.
    pub inbox_bytes: usize,
    /// Calls that wait for an answer; further ones are answered BUSY.
    pub calls: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// Clients' streams of transactions at a time.
    pub streams: usize,
    /// Messages that wait for a slow session; with more it is ended, and catches up when it comes back.
    pub session_backlog: usize,
    /// How long a shutdown waits for decided transactions to be delivered.
    pub drain_timeout_ms: u64,
    /// The file with the token that operators' calls must carry; without it they are open to whoever reaches the port. It is
    /// read at the start.
    pub operator_token_file: Option<PathBuf>,
    /// Whom that token lets in.
    #[serde(skip)]
    pub operators: Operators,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
            heartbeat_ms: 3000,
            hello_timeout_ms: 10_000,
            scan_period_ms: 10_000,
            frame_bytes: REQUEST_BYTES,
            inbox_inputs: 16_384,
            inbox_bytes: 256 << 20,
            calls: 250_000,
            sessions: 10_000,
            streams: 10_000,
            session_backlog: 1_000_000,
            drain_timeout_ms: 10_000,
            operator_token_file: None,
            operators: Operators::default(),
        }
    }
}

/// The port of a coordinator that is told none.
pub const DEFAULT_PORT: u16 = 7420;

/// The log on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The size of a new segment; a multiple of 4096. The disk holds at least two.
    pub segment_bytes: u64,
    /// Bytes of records that may wait for the batch in flight.
    pub buffer_bytes: usize,
    /// A checkpoint is written when the log has grown by this much.
    pub checkpoint_bytes: u64,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            segment_bytes: 64 << 20,
            buffer_bytes: 8 << 20,
            checkpoint_bytes: 128 << 20,
        }
    }
}

/// Logs of the program itself, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// As lines of text or of JSON.
    pub format: LogFormat,
    /// Which, in the syntax of tracing's environment filter.
    pub filter: String,
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

macro_rules! limits {
    ($($name:ident: $type:ty,)*) => {
        /// The core's limits by name; their meaning stands at `handfast_core::Limits`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(missing_docs)]
        pub struct Limits {
            $(pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                let core = handfast_core::Limits::default();
                Limits { $($name: core.$name,)* }
            }
        }

        impl Limits {
            /// The same for the core.
            pub fn core(&self) -> handfast_core::Limits {
                handfast_core::Limits { $($name: self.$name,)* }
            }
        }
    };
}

limits! {
    transactions: usize,
    branches_per_transaction: usize,
    operation_bytes: usize,
    live_operation_bytes: usize,
    unfinished_branches_per_resource: usize,
    operation_bytes_per_resource: usize,
    resources: usize,
    waiters_per_transaction: usize,
    keys: usize,
    key_retention_ms: u64,
    history: usize,
    default_timeout_ms: u64,
    max_timeout_ms: u64,
    redelivery_min_ms: u64,
    redelivery_max_ms: u64,
    promise_margin_ms: u64,
    retry_hint_ms: u64,
    redelivery_step: usize,
    held_branches: usize,
    overdue_after_ms: u64,
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--overdue-after-ms`
    pub overdue_after_ms: Option<u64>,
    /// `--operator-token-file`
    pub operator_token_file: Option<PathBuf>,
}

impl Settings {
    /// Reads the file, if one is given, and the environment, and puts the flags on top.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Settings, Error> {
        Settings::from_sources(file, environment(), flags)
    }

    fn from_sources(
        file: Option<&Path>,
        environment: HashMap<String, String>,
        flags: &Flags,
    ) -> Result<Settings, Error> {
        let unusable = |error: config::ConfigError| {
            Error::new(
                Kind::Usage,
                format!(
                    "the configuration cannot be used: {error}; correct it, or leave it out for the default"
                ),
            )
        };
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(File::from(file).format(FileFormat::Toml));
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator("_")
            .separator("__")
            .try_parsing(true)
            .source(Some(environment));
        let mut settings: Settings = builder
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(unusable)?;
        if let Some(listen) = flags.listen {
            settings.server.listen = listen;
        }
        if let Some(format) = flags.log_format {
            settings.logging.format = format;
        }
        if let Some(after_ms) = flags.overdue_after_ms {
            settings.limits.overdue_after_ms = after_ms;
        }
        if let Some(file) = &flags.operator_token_file {
            settings.server.operator_token_file = Some(file.clone());
        }
        settings.check()?;
        if let Some(file) = &settings.server.operator_token_file {
            settings.server.operators = Operators::with(&OperatorToken::read(file)?);
        }
        Ok(settings)
    }

    /// Refuses what cannot work together.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::new(Kind::Usage, message));
        let positive = [
            ("server.heartbeat_ms", self.server.heartbeat_ms),
            ("server.hello_timeout_ms", self.server.hello_timeout_ms),
            ("server.inbox_inputs", self.server.inbox_inputs as u64),
            ("server.calls", self.server.calls as u64),
            ("server.sessions", self.server.sessions as u64),
            ("server.streams", self.server.streams as u64),
            ("server.session_backlog", self.server.session_backlog as u64),
            ("limits.transactions", self.limits.transactions as u64),
            ("limits.resources", self.limits.resources as u64),
            (
                "limits.waiters_per_transaction",
                self.limits.waiters_per_transaction as u64,
            ),
            ("limits.overdue_after_ms", self.limits.overdue_after_ms),
            ("limits.redelivery_step", self.limits.redelivery_step as u64),
            ("limits.redelivery_min_ms", self.limits.redelivery_min_ms),
            ("limits.redelivery_max_ms", self.limits.redelivery_max_ms),
            ("limits.max_timeout_ms", self.limits.max_timeout_ms),
            ("log.checkpoint_bytes", self.log.checkpoint_bytes),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return refuse(format!("{name} is 0; give at least 1"));
        }
        let places = [
            ("server.inbox_inputs", self.server.inbox_inputs),
            ("server.sessions", self.server.sessions),
            ("server.streams", self.server.streams),
        ];
        if let Some((name, value)) = places.into_iter().find(|(_, value)| *value > PLACES) {
            return refuse(format!("{name} is {value}; give at most {PLACES}"));
        }
        if self.limits.operation_bytes > OPERATION_BYTES {
            return refuse(format!(
                "limits.operation_bytes is {}, and participants take frames with operations of up to {OPERATION_BYTES}; \
                 lower it",
                self.limits.operation_bytes
            ));
        }
        let record = self
            .limits
            .branches_per_transaction
            .saturating_mul(BRANCH_RECORD_BYTES)
            .saturating_add(RECORD_OVERHEAD_BYTES);
        if record > self.log.buffer_bytes || record as u64 > self.log.segment_bytes / 2 {
            return refuse(format!(
                "the record of a transaction with limits.branches_per_transaction needs {record} bytes: \
                 log.buffer_bytes is {} and log.segment_bytes {}, give at least as much and twice as much",
                self.log.buffer_bytes, self.log.segment_bytes
            ));
        }
        if self.log.buffer_bytes as u64 > self.log.segment_bytes / 2 {
            return refuse(format!(
                "log.buffer_bytes is {}, more than half of log.segment_bytes, which is {}: a batch could need two new segments, and one \
                 is reserved; lower the one or raise the other",
                self.log.buffer_bytes, self.log.segment_bytes
            ));
        }
        if self.limits.redelivery_max_ms < self.limits.redelivery_min_ms {
            return refuse(format!(
                "limits.redelivery_max_ms is {}, less than limits.redelivery_min_ms, which is {}; raise the one or lower the other",
                self.limits.redelivery_max_ms, self.limits.redelivery_min_ms
            ));
        }
        // What waits for one stuck resource may take half of what there is for all.
        let share = self.limits.unfinished_branches_per_resource;
        if share > self.server.calls / 2 {
            return refuse(format!(
                "limits.unfinished_branches_per_resource is {share}, and as many of the {} of server.calls may wait for one \
                 resource that is stuck; give at least twice as many calls, or lower the limit",
                self.server.calls
            ));
        }
        let share = self.limits.operation_bytes_per_resource;
        if share > self.limits.live_operation_bytes / 2 {
            return refuse(format!(
                "limits.operation_bytes_per_resource is {share}, and limits.live_operation_bytes {}, of which one resource that \
                 is stuck must leave half to the others; raise the one or lower the other",
                self.limits.live_operation_bytes
            ));
        }
        let room = self.limits.operation_bytes + FRAME_OVERHEAD_BYTES;
        if self.server.frame_bytes < room {
            return refuse(format!(
                "server.frame_bytes is {}, but an operation of limits.operation_bytes needs {room}; raise the one or \
                 lower the other",
                self.server.frame_bytes
            ));
        }
        if self.server.inbox_bytes < self.server.frame_bytes {
            return refuse("server.inbox_bytes is less than server.frame_bytes; raise it".to_owned());
        }
        Ok(())
    }
}

/// The most of what is counted with a semaphore, which has its own bound.
const PLACES: usize = u32::MAX as usize;

/// The longest operation that may be allowed: with it and what else gathers, a frame is one that participants take.
const OPERATION_BYTES: usize = 32 << 20;

/// What the record of a transaction takes for each branch at most: number, name and store.
const BRANCH_RECORD_BYTES: usize = 96;

/// What a record takes beside the branches: id, key, reason and words, or evidence.
const RECORD_OVERHEAD_BYTES: usize = 16 << 10;

/// What a frame needs beside the longest operation.
const FRAME_OVERHEAD_BYTES: usize = 64 << 10;

impl Server {
    /// How long a peer may be silent.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.saturating_mul(3))
    }
}

/// Only variables with a section: `HANDFAST_FAILPOINT` and its like are no settings.
fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX) && name.contains("__"))
        .collect()
}

#[cfg(test)]
mod tests;
