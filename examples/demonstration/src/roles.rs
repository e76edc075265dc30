//! The other roles of a demonstration's program, each a process of its own, so that one build is enough for all. Here is the
//! coordinator's (what `handfast serve` is) and what all roles need.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use handfast_coordinator::cli::Cli;

/// `PROGRAM role NAME ARGUMENTS`.
const ROLE: &str = "role";
pub const COORDINATOR: &str = "coordinator";

/// The command line that begins a role.
pub fn arguments(name: &str) -> Vec<OsString> {
    vec![ROLE.into(), name.into()]
}

/// Plays a role if the arguments (without the program) ask for one: the coordinator's, or one that `others` knows by its name and
/// by arguments that begin with that name, as a program's do.
pub fn play(
    arguments: Vec<OsString>,
    others: impl FnOnce(&str, Vec<OsString>) -> anyhow::Result<()>,
) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    if arguments.next()? != ROLE {
        return None;
    }
    die_with_parent();
    let role = arguments.next()?;
    let arguments = std::iter::once(role.clone()).chain(arguments).collect::<Vec<_>>();
    let played = match role.to_str()? {
        COORDINATOR => block_on(async { Ok(Cli::parse_from(arguments).run().await?) }),
        other => others(other, arguments),
    };
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Completes at SIGTERM.
pub fn terminated() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        signal.recv().await;
    })
}

/// Runs a role to its end.
pub fn block_on(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(role)
}

/// Logs to standard error, which is a file of the run's folder.
pub fn start_logging() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

/// A demonstration that is interrupted leaves no process behind: its end closes this process's standard input.
fn die_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::abort();
    });
}
