//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Orders over PostgreSQL, MariaDB, Kafka and files that survive kill -9 of every process.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes:\n  0  every order came out exactly once in all four systems, or in none\n  1  something was lost, \
                  doubled, half done, left prepared or out of step\n  2  the run was void: too little was killed or ordered\n  3  the \
                  demonstration could not be run"
)]
pub struct Options {
    /// How long orders are taken and processes are killed, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub seconds: u64,

    /// Clients that take orders at the same time, each from a partition of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: u16,

    /// With a coordinator, or without one to see the damage
    #[arg(long, value_enum, default_value_t = Mode::Handfast)]
    pub mode: Mode,

    /// Mean time between two kills, in milliseconds
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub kill_every_ms: u64,

    /// How many SIGKILLs of processes a run needs at least; with fewer it is void
    #[arg(long, default_value_t = 1)]
    pub least_kills: u64,

    /// Who is killed when, and what is ordered; printed at the start
    #[arg(long)]
    pub seed: Option<u64>,

    /// Where the processes keep their data and logs; by default a temporary folder that is removed after a clean run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// How to print the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How orders are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// One transaction over all four systems
    Handfast,
    /// One system after the other, each tried again as applications do
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
