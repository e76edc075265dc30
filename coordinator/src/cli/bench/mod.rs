//! `handfast bench`: what a durable transaction costs on this machine, and what the machine itself can do.
//!
//! ```text
//!   bench process ── clients ──► coordinator (handfast serve) ◄── participants (bench participant)
//!                                      │ log                            │ journals
//! ```
//!
//! Every part has a process of its own, so that its processor time, memory and syncs are counted apart. `transactions`
//! measures the whole, `log` the log alone, `recovery` a restart, and `floor` what no software on this disk and transport
//! can beat: a ratio to it says more than a number from another machine.
//!
//! What must never live here: anything that the service needs.

mod appender;
mod children;
mod counted_disk;
mod deployment;
mod echo;
mod flags;
mod floor;
mod load;
mod log;
mod log_bare;
mod machine;
mod participant;
mod recovery;
mod recovery_log;
mod report;
mod resources;
mod services;
mod tally;
mod transactions;

use clap::{Args, Subcommand};

use crate::error::{Error, Kind};

/// Measure what durable transactions cost on this machine.
///
/// Without a subcommand: starts a coordinator and participants in processes of their own on a temporary directory, or takes
/// a coordinator that runs (--attach), and commits transactions from many clients at once. Everything that was started is
/// stopped at the end.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    flags: flags::Flags,
}

#[derive(Debug, Subcommand)]
enum What {
    Log(log::Log),
    Recovery(recovery::Recovery),
    Floor(floor::Floor),
    #[command(hide = true)]
    Participant(participant::Participant),
    #[command(hide = true)]
    Echo(echo::Echo),
}

impl Bench {
    pub async fn run(self) -> Result<(), Error> {
        match self.what {
            None => until_interrupted(transactions::run(self.flags)).await,
            Some(What::Log(log)) => until_interrupted(log.run()).await,
            Some(What::Recovery(recovery)) => until_interrupted(recovery.run()).await,
            Some(What::Floor(floor)) => until_interrupted(floor.run()).await,
            Some(What::Participant(participant)) => participant.run().await,
            Some(What::Echo(echo)) => echo.run().await,
        }
    }
}

/// Runs a measurement. When a signal asks to end, it is dropped, and with it the processes and the directory that it made.
async fn until_interrupted(measurement: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let termination = crate::runtime::Termination::listen()
        .map_err(|error| failed(format!("signals cannot be received: {error}")))?;
    tokio::select! {
        biased;
        () = termination.asked() => Err(failed("interrupted; what was started is stopped")),
        measured = measurement => measured,
    }
}

/// A measurement that cannot go on.
fn failed(message: impl Into<String>) -> Error {
    Error::new(Kind::Internal, message)
}

/// A flag that cannot be used.
fn unusable(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}
