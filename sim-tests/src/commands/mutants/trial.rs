//! Runs a built simulator, and sees whether it notices that something is wrong with the product.
//!
//! What counts as a catch: a property that does not hold, an expectation that is not met, a panic that the run reports, and
//! a run that does not end. A simulator that dies has noticed nothing.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context;

use super::scratch::Scratch;
use crate::commands::worker::Line;

/// No scenario and no seed takes longer in real time, unless it turns in circles.
const SILENCE: Duration = Duration::from_secs(60);

/// Nor do all of a mutant's together.
const WHOLE: Duration = Duration::from_secs(900);

/// Seeds of one process. What a run leaves behind in its process stays small by this.
const SEEDS_PER_PROCESS: u64 = 500;

const DID_NOT_END: &str = "did not end";

/// What a simulator has noticed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    Nothing,
    Caught {
        /// The scenario or the seed.
        by: String,
        /// What did not hold.
        how: String,
    },
    /// The simulator's process has died, at this scenario or seed.
    Died {
        by: String,
    },
}

impl Finding {
    pub fn is_caught(&self) -> bool {
        matches!(self, Finding::Caught { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Nothing => write!(f, "nothing"),
            Finding::Caught { by, how } => write!(f, "{by}: {how}"),
            Finding::Died { by } => write!(f, "the simulator itself died at {by}"),
        }
    }
}

/// A built simulator.
pub(super) struct Program {
    path: PathBuf,
    tree: PathBuf,
}

impl Program {
    pub fn of(scratch: &Scratch) -> Program {
        Program {
            path: scratch.program(),
            tree: scratch.tree().to_owned(),
        }
    }

    /// Plays the scenarios of the copy until one does not come out as expected.
    pub fn scenarios(&self) -> anyhow::Result<Finding> {
        let mut playing = String::new();
        let mut caught = None;
        let end = self.hear(&["scenarios", "--lines"], |line| {
            if let Some(name) = line.strip_prefix("begin ") {
                name.clone_into(&mut playing);
            }
            if let Some((by, how)) = line
                .strip_prefix("failed ")
                .and_then(|words| words.split_once(' '))
            {
                caught = Some((by.to_owned(), how.to_owned()));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(finding(&end, caught, playing))
    }

    /// Runs this many seeds, from 0, until one does not come out well.
    pub fn seeds(&self, seeds: u64) -> anyhow::Result<Finding> {
        let mut next = 0;
        while next < seeds {
            let to = seeds.min(next + SEEDS_PER_PROCESS);
            let arguments = ["worker", "--from", &next.to_string(), "--to", &to.to_string()];
            let mut caught = None;
            let end = self.hear(&arguments, |line| {
                let Some(line) = Line::decode(line) else {
                    return ControlFlow::Continue(());
                };
                next = line.seed + 1;
                match line.failure {
                    None => ControlFlow::Continue(()),
                    Some(failure) => {
                        caught = Some((line.seed.to_string(), failure));
                        ControlFlow::Break(())
                    }
                }
            })?;
            let finding = finding(&end, caught, next.to_string());
            if finding != Finding::Nothing {
                return Ok(finding);
            }
            anyhow::ensure!(next == to, "a worker has ended before its last seed");
        }
        Ok(Finding::Nothing)
    }

    fn hear(&self, arguments: &[&str], heard: impl FnMut(&str) -> ControlFlow<()>) -> anyhow::Result<End> {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .current_dir(&self.tree)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let output = child.stdout.take().context("a simulator has an output")?;
        let limits = Limits {
            silence: SILENCE,
            whole: WHOLE,
        };
        listen(child, output, &limits, heard)
    }
}

fn finding(end: &End, caught: Option<(String, String)>, running: String) -> Finding {
    match (caught, end) {
        (Some((by, how)), _) => Finding::Caught { by, how },
        (None, End::Silent) => Finding::Caught {
            by: running,
            how: DID_NOT_END.to_owned(),
        },
        (None, End::Exited(false)) => Finding::Died { by: running },
        (None, End::Exited(true) | End::Stopped) => Finding::Nothing,
    }
}

/// How long a process may take.
pub(super) struct Limits {
    /// Between two lines.
    pub silence: Duration,
    pub whole: Duration,
}

/// How listening to a process came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// By itself; whether it says that all is well.
    Exited(bool),
    /// The listener had heard enough.
    Stopped,
    /// It took too long.
    Silent,
}

/// Hears a process line by line until it ends, is too slow, or enough was heard. Then it has ended in any case.
#[allow(clippy::disallowed_methods)] // outside of any simulation
pub(super) fn listen(
    mut child: Child,
    output: impl Read + Send + 'static,
    limits: &Limits,
    mut heard: impl FnMut(&str) -> ControlFlow<()>,
) -> anyhow::Result<End> {
    let give_up_at = std::time::Instant::now() + limits.whole;
    let (lines, arrived) = mpsc::sync_channel(1024);
    // It ends when the process has, or when nobody listens any more.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let end = loop {
        let left = give_up_at.saturating_duration_since(std::time::Instant::now());
        match arrived.recv_timeout(left.min(limits.silence)) {
            Ok(line) => {
                if heard(&line).is_break() {
                    break End::Stopped;
                }
            }
            Err(RecvTimeoutError::Timeout) => break End::Silent,
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Exited(child.wait()?.success())),
        }
    };
    // If it has ended by itself meanwhile, so much the better.
    let _ = child.kill();
    child.wait()?;
    Ok(end)
}
