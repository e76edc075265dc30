//! `handfast`: parses, runs, and tells how it went.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use handfast_coordinator::cli::Cli;

/// How long what runs beside the event loops may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("handfast: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(cli.run());
    // The index may still be written. It is not waited for without end: its disk may have stalled.
    runtime.shutdown_timeout(SHUTDOWN);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handfast: {error}");
            error.exit_code()
        }
    }
}
