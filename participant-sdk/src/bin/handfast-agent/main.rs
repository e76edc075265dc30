//! Runs ready-made resources: all of a file, or one from the command line.
//!
//! ```text
//!   main ─┬─ config ── kinds ── one file a kind       what takes part
//!         ├─ run ── report                            serves, each resource by itself
//!         └─ check                                    looks, and changes nothing
//! ```
//!
//! What must never live here: anything that a program using the SDK could not do.

mod check;
mod config;
mod kinds;
mod report;
mod run;
mod secret;
mod start;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use config::AgentFile;
use kinds::Kind;
use start::Connection;

/// Frames and branches are many small pieces of memory; this allocator makes less of them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "Exit codes:
  0  asked to stop (SIGTERM or SIGINT), and said goodbye; of check: every resource can take part
  1  only a person can mend it; the message says what to do
  2  the command line or the file makes no sense

A coordinator that cannot be reached is no error: the agent dials again until it is asked to stop.
Logs go to standard error; RUST_LOG=debug shows more.";

/// Lets stores take part in Handfast transactions.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve all resources of a file.
    ///
    /// What stops one resource is told in the log, and that one is tried again; the others go on.
    Run(File),
    /// Look at every precondition of all resources of a file, and change nothing.
    Check {
        #[command(flatten)]
        file: File,
        /// How to print what was found
        #[arg(short, long, value_enum, default_value = "text")]
        output: check::Format,
    },
    /// Serve embedded accounts in a directory of this agent.
    Ledger(Single<kinds::ledger::LedgerKind>),
    /// Serve a PostgreSQL database, through its own prepared transactions.
    #[cfg(feature = "postgres")]
    Postgres(Single<kinds::postgres::PostgresKind>),
}

/// Which file.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct File {
    /// The agent's file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One resource, all of it on the command line.
#[derive(Args)]
struct Single<K: Args> {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    kind: K,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start::logging();
    if let Err(message) = handfast_participant::failpoint::check() {
        return fail(&anyhow::Error::msg(message));
    }
    let done = match arguments.command {
        Command::Run(file) => run(&file),
        Command::Check { file, output } => check(&file, output),
        Command::Ledger(ledger) => single(ledger),
        #[cfg(feature = "postgres")]
        Command::Postgres(postgres) => single(postgres),
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("Error: {error:#}");
    match error.is::<config::FileError>() {
        true => ExitCode::from(2),
        false => ExitCode::FAILURE,
    }
}

fn run(file: &File) -> anyhow::Result<ExitCode> {
    let file = file.read()?;
    // Each resource is a loop of its own, and none may keep another waiting.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads.min(file.entries.len()))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        run::run(file, start::stopped()?).await;
        anyhow::Ok(())
    })?;
    // What a resource left running has its own bound, and is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

fn check(file: &File, output: check::Format) -> anyhow::Result<ExitCode> {
    let file = file.read()?;
    let checked = one_thread()?.block_on(check::check(&file));
    print(&check::render(&checked, output))?;
    Ok(match checked.iter().any(check::Checked::is_broken) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Prints to standard output. A reader that has gone away is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("the output cannot be written")
        }
        _ => Ok(()),
    }
}

fn single<K: Kind + Args>(single: Single<K>) -> anyhow::Result<ExitCode> {
    let Single { connection, kind } = single;
    one_thread()?.block_on(async {
        let seat = kinds::Seat {
            name: connection.name,
            coordinators: connection.coordinator,
            stopped: Box::pin(start::stopped()?),
            reporting: report::Reporting::default(),
        };
        kind.run(seat).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl File {
    fn read(&self) -> Result<AgentFile, config::FileError> {
        let path = self.file.as_ref().or(self.config.as_ref());
        AgentFile::read(path.expect("one of the two is required"))
    }
}
