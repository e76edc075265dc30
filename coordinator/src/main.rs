//! `handfast`: parses, runs, and tells how it went.

use std::process::ExitCode;

use clap::Parser;
use handfast_coordinator::cli::Cli;
use handfast_coordinator::runtime::shut_down;

/// Frames and transactions are many small pieces of memory; this allocator makes less of them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: the driver is one loop, and handing frames from thread to thread costs more than the transport's work.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("handfast: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(cli.run());
    shut_down(runtime);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handfast: {error}");
            error.exit_code()
        }
    }
}
