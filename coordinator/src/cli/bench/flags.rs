//! What `handfast bench` can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::unusable;
use crate::cli::connect::Operator;
use crate::cli::output::Output;
use crate::error::Error;

/// The most that is taken of anything that is started.
const MANY: usize = 100_000;
/// The longest operation that a coordinator takes by default.
const PAYLOAD_BYTES: usize = 1 << 20;
/// Participants share processes when there are more than this.
pub const PROCESSES: usize = 16;

#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Clients that each run one transaction at a time
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Participants that dial in under names of their own
    #[arg(long, default_value_t = 2)]
    pub participants: usize,
    /// Processes that the participants are spread over [default: one each, at most 16]
    #[arg(long)]
    pub processes: Option<usize>,
    /// Branches of each transaction, at as many different participants if there are enough
    #[arg(long, default_value_t = 2)]
    pub branches: usize,
    /// Bytes of each branch's operation
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub payload: usize,
    /// Share of the transactions that one participant refuses, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    pub abort_ratio: f64,
    /// Share of the branches that change nothing, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    pub read_only_ratio: f64,
    /// When a commit is answered
    #[arg(long, value_enum, default_value_t = WaitFor::Decided)]
    pub wait: WaitFor,
    /// Begin, let services join and work, commit; instead of one request that carries everything
    #[arg(long)]
    pub interactive: bool,
    /// How one-shot transactions travel to the coordinator; interactive ones are always calls
    #[arg(long, value_enum, default_value_t = Transport::Stream)]
    pub transport: Transport,
    /// Connections that the clients share
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Transactions that are due in a second, whether or not earlier ones are answered (open loop); latency counts from
    /// when a transaction was due. --clients bounds how many are under way
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Seconds of each run
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub duration: f64,
    /// Seconds before the first run that are not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
    /// Runs; the median and the spread are printed
    #[arg(long, default_value_t = 1)]
    pub runs: usize,
    /// A coordinator that runs already; its processor time and memory are not known
    #[arg(long, value_name = "ADDRESS")]
    pub attach: Option<String>,
    /// Where the coordinator and the participants keep their logs, and which is left as it is at the end; must be empty or
    /// not exist [default: a temporary directory below the current one]
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Participants that dial in and do nothing
    #[arg(long, value_name = "PARTICIPANTS", default_value_t = 0)]
    pub connect_idle: usize,
    /// Participants that never vote. Clients of their own run transactions there; each run is measured without and with them
    #[arg(long, value_name = "PARTICIPANTS", default_value_t = 0)]
    pub stuck: usize,
    /// Clients of the participants that never vote. With more than limits.unfinished_branches_per_resource, the rest is
    /// refused [default: one for each ten of --clients]
    #[arg(long, value_name = "CLIENTS", requires = "stuck")]
    pub stuck_clients: Option<usize>,
    /// Milliseconds by which each sync of the coordinator's log is delayed, as on a slow disk
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub sync_delay_ms: u64,
    /// Also measure bare calls and streams at the same number of callers
    #[arg(long)]
    pub floor: bool,
    #[command(flatten)]
    pub operator: Operator,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// When a commit is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// Once the decision is durable
    Decided,
    /// Once all participants have acknowledged durable effects
    Applied,
}

/// How requests travel to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// All of a connection on one stream
    Stream,
    /// One call each
    Unary,
}

impl Flags {
    /// Refuses what cannot be measured.
    pub fn check(&self) -> Result<(), Error> {
        let counts = [
            ("--clients", self.clients, 1),
            ("--participants", self.participants, 1),
            ("--processes", self.processes.unwrap_or(1), 1),
            ("--branches", self.branches, 1),
            ("--connections", self.connections, 1),
            ("--runs", self.runs, 1),
            ("--connect-idle", self.connect_idle, 0),
            ("--stuck", self.stuck, 0),
        ];
        for (name, value, least) in counts {
            if value < least || value > MANY {
                return Err(unusable(format!("{name} is {value}; give {least} to {MANY}")));
            }
        }
        if self.payload < 1 || self.payload > PAYLOAD_BYTES {
            return Err(unusable(format!(
                "--payload is {}; give 1 to {PAYLOAD_BYTES} bytes, the first of which says how to vote",
                self.payload
            )));
        }
        for (name, value) in [
            ("--abort-ratio", self.abort_ratio),
            ("--read-only-ratio", self.read_only_ratio),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(unusable(format!("{name} is {value}; give a share from 0 to 1")));
            }
        }
        seconds("--duration", self.duration, 0.1)?;
        seconds("--warm-up", self.warm_up, 0.0)?;
        if let Some(rate) = self.rate
            && !(0.01..=1e7).contains(&rate)
        {
            return Err(unusable(format!(
                "--rate is {rate}; give 0.01 to 10000000 a second"
            )));
        }
        if self.attach.is_some() && self.sync_delay_ms > 0 {
            return Err(unusable(
                "--sync-delay-ms needs a coordinator that this program starts; leave out --attach",
            ));
        }
        if self.interactive && self.stuck > 0 {
            return Err(unusable(
                "--stuck measures one-shot transactions; leave out --interactive",
            ));
        }
        Ok(())
    }

    /// How long a run takes. After [`Flags::check`].
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration)
    }

    /// How long is not counted. After [`Flags::check`].
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// Over how many processes the participants are spread.
    pub fn processes(&self) -> usize {
        self.processes.unwrap_or(PROCESSES).min(self.participants)
    }

    /// Clients of the participants that never vote.
    pub fn stuck_clients(&self) -> usize {
        match self.stuck {
            0 => 0,
            _ => self.stuck_clients.unwrap_or(self.clients.div_ceil(10)),
        }
    }

    /// As the report names them.
    pub fn as_json(&self) -> Value {
        let word =
            |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        json!({
            "clients": self.clients,
            "participants": self.participants,
            "participant_processes": self.processes(),
            "branches": self.branches,
            "payload_bytes": self.payload,
            "abort_ratio": self.abort_ratio,
            "read_only_ratio": self.read_only_ratio,
            "wait": word(self.wait.to_possible_value()),
            "interactive": self.interactive,
            "transport": word(self.transport.to_possible_value()),
            "connections": self.connections,
            "rate_per_second": self.rate,
            "duration_seconds": self.duration,
            "warm_up_seconds": self.warm_up,
            "runs": self.runs,
            "attached": self.attach.is_some(),
            "idle_participants": self.connect_idle,
            "stuck_participants": self.stuck,
            "stuck_clients": self.stuck_clients(),
            "sync_delay_ms": self.sync_delay_ms,
        })
    }
}

/// Refuses a duration that is too short to mean anything or too long to be meant.
pub fn seconds(name: &str, value: f64, least: f64) -> Result<(), Error> {
    const DAY: f64 = 24.0 * 3600.0;
    if (least..=DAY).contains(&value) {
        return Ok(());
    }
    Err(unusable(format!(
        "{name} is {value}; give {least} to {DAY} seconds"
    )))
}
