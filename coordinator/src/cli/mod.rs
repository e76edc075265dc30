//! The command line: one file a subcommand. Results go to standard output, everything else to standard error.
//!
//! What must never live here: anything that a test of the service would need.

#[cfg(feature = "bench")]
mod bench;
mod completions;
#[cfg(feature = "conformance")]
mod conformance;
mod connect;
mod init;
mod log;
mod output;
mod serve;
mod slow_disk;
mod status;
mod tx;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::error::{EXIT_CODES, Error, Kind};

/// The coordinator of distributed transactions.
///
/// Runs a coordinator, and looks at one: what is live, what is stuck and why, and whether a log is sound.
#[derive(Debug, Parser)]
#[command(name = "handfast", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Serve(Box<serve::Serve>),
    Status(status::Status),
    #[command(subcommand)]
    Tx(tx::Tx),
    #[command(subcommand)]
    Log(log::Log),
    #[cfg(feature = "bench")]
    Bench(Box<bench::Bench>),
    #[cfg(feature = "conformance")]
    Conformance(Box<conformance::Conformance>),
    Completions(completions::Completions),
}

impl Cli {
    /// Does what the command line asks for.
    pub async fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Init(init) => init.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Status(status) => status.run().await,
            Command::Tx(tx) => tx.run().await,
            Command::Log(log) => log.run().await,
            #[cfg(feature = "bench")]
            Command::Bench(bench) => bench.run().await,
            #[cfg(feature = "conformance")]
            Command::Conformance(conformance) => conformance.run().await,
            Command::Completions(completions) => completions.run(),
        }
    }
}

/// Where the log lies in a data directory.
fn log_directory(data: &Path) -> PathBuf {
    data.join("log")
}

/// Where the index lies in a data directory.
fn index_directory(data: &Path) -> PathBuf {
    data.join("index")
}

/// A directory that cannot be made or used.
fn directory_error(path: &Path, error: &std::io::Error) -> Error {
    let message = format!(
        "the directory {} cannot be used: {error}; check the path, and to whom it and the directories above it belong (chown)",
        path.display()
    );
    Error::new(Kind::Usage, message)
}
