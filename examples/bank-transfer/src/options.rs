//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Transfers between two stores that survive kill -9 of every process.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes:\n  0  every transfer came out exactly once or not at all\n  1  something was lost, doubled, half done or \
                  left prepared\n  2  the run showed nothing: nothing was killed, recovered or committed, or an outcome was never learned\n  3  the demonstration could not be run"
)]
pub struct Options {
    /// How long transfers are made and processes are killed, in seconds
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,

    /// Clients that make transfers at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub clients: u16,

    /// Accounts on each side
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub accounts: u16,

    /// With a coordinator, or without one to see the damage
    #[arg(long, value_enum, default_value_t = Mode::Handfast)]
    pub mode: Mode,

    /// Make the transfers of this CSV file (id,from,to,amount; accounts as left:acct-00 and right:acct-00) instead of random
    /// ones; they are spread over the run, which ends with the last of them
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Put PostgreSQL on the right side: a URL such as postgres://user:password@host/database, or "start" to start a private
    /// server (Debian's package postgresql) that is killed at random too. A database given by URL gets the schema
    /// handfast_bank_transfer, made anew for each run
    #[arg(long, value_name = "URL|start", conflicts_with = "mode")]
    pub postgres: Option<String>,

    /// Mean time between two kills, in milliseconds
    #[arg(long, default_value_t = 700, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub kill_every_ms: u64,

    /// Who is killed when, and who pays whom; printed at the start
    #[arg(long)]
    pub seed: Option<u64>,

    /// Where the processes keep their data and logs; by default a temporary folder that is removed after a clean run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// How to print the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How transfers are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// One transaction over both sides
    Handfast,
    /// A debit, then a credit, each retried as applications do
    None,
}

/// How the result is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}
