//! Runs a ready-made resource.
//!
//! What must never live here: anything that a program using the SDK could not do.

mod kinds;
mod ledger;
#[cfg(feature = "postgres")]
mod postgres;
mod start;

use clap::{Parser, Subcommand};

/// Frames and branches are many small pieces of memory; this allocator makes less of them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "Exit codes:
  0  asked to stop (SIGTERM or SIGINT), and said goodbye
  1  only a person can mend it; the message says what to do
  2  the command line makes no sense

A coordinator that cannot be reached is no error: the agent dials again until it is asked to stop.
Logs go to standard error; RUST_LOG=debug shows more.";

/// Lets a store take part in Handfast transactions.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    resource: ResourceArguments,
}

#[derive(Subcommand)]
enum ResourceArguments {
    /// Embedded accounts in a directory of this agent.
    Ledger(ledger::Arguments),
    /// A PostgreSQL database, through its own prepared transactions.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    start::logging();
    handfast_participant::failpoint::check().map_err(anyhow::Error::msg)?;
    match arguments.resource {
        ResourceArguments::Ledger(arguments) => ledger::run(arguments).await,
        #[cfg(feature = "postgres")]
        ResourceArguments::Postgres(arguments) => postgres::run(arguments).await,
    }
}
