//! `handfast conformance`: the flags and the output; the work is `handfast-conformance`'s.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use handfast_conformance::{ConformanceError, Effects, GROUPS, Operations, Options, Template};

use super::output::{Output, print, print_json};
use crate::error::{Error, Kind};
use crate::runtime::Termination;

/// The place of the number, for texts that clap prints: it would make a line break of the plain letters. The style in between changes
/// nothing, and is left out where no styles are printed.
macro_rules! place {
    () => {
        "{\u{1b}[0mn}"
    };
}

const AFTER_HELP: &str = concat!(
    "Exit codes:
  0   everything that was tried is right
  1   something is wrong, or the participant could not be tried; the report or the message says what
  2   the command line makes no sense

The participant gets the coordinator's address as {coordinator} in its command and as HANDFAST_COORDINATOR in its environment.
It must dial in as the resource named here, keep its store over restarts, and may be killed at any time. Give it a store that
you can throw away.

Example:
  handfast conformance --resource seats --exec 'seats --coordinator {coordinator} serve --data-dir /tmp/seats' \\
    --operation '",
    place!(),
    " ada' --refused '0 bob'"
);

/// Prove that a participant keeps its promises, in whatever language it is written.
///
/// Plays the coordinator: starts the participant, kills it at every step, repeats, reorders and withholds messages, cuts
/// connections, lies about epochs and logs, and reports what was tried, what is right, what is wrong and why it matters.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Conformance {
    /// What starts the participant in the foreground: a command line for sh
    #[arg(long, value_name = "COMMAND", required_unless_present = "list")]
    exec: Option<String>,
    /// The name under which it takes part
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    resource: Option<String>,
    #[arg(long = "operation", value_name = "FILE|TEXT", help = concat!(
        "An operation that succeeds, leaves one effect if committed and none otherwise; ", place!(), " in it becomes a new number each \
         time. May be given again"
    ))]
    operations: Vec<String>,
    /// An operation that is always refused
    #[arg(long, value_name = "FILE|TEXT")]
    refused: Vec<String>,
    /// An operation that changes nothing
    #[arg(long, value_name = "FILE|TEXT")]
    read_only: Vec<String>,
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help = concat!(
        "What ", place!(), " becomes first; raise it to try again upon the same store"
    ))]
    first_number: u64,
    /// Prints one line for each operation that was applied; run by sh while the participant is dead
    #[arg(long, value_name = "COMMAND", conflicts_with = "effects_file")]
    effects: Option<String>,
    /// A file with one line for each operation that was applied
    #[arg(long, value_name = "PATH")]
    effects_file: Option<PathBuf>,
    /// How long an answer is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = handfast_conformance::DEFAULT_PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// Only this case or group of cases. May be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print the cases, and try nothing
    #[arg(long)]
    list: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Conformance {
    pub async fn run(self) -> Result<(), Error> {
        if self.list {
            return list();
        }
        let output = self.output;
        let options = self.options()?;
        let termination = Termination::listen()
            .map_err(|error| Error::new(Kind::Internal, format!("signals cannot be received: {error}")))?;
        let tell = |case: &handfast_conformance::CaseReport| {
            // What cannot be printed now is in the report, whose printing fails too and says so.
            let _ = match output {
                Output::Table => print(&case.to_string()),
                Output::Json => Ok(()),
            };
        };
        // When it is dropped, the participant's process goes with it.
        let report = tokio::select! { biased;
            () = termination.asked() => {
                let message = "interrupted; the participant that was started is stopped";
                return Err(Error::new(Kind::Internal, message));
            }
            report = handfast_conformance::run(&options, tell) => report?,
        };
        match output {
            Output::Table => print(&report.summary())?,
            Output::Json => print_json(&report.to_json())?,
        }
        match report.is_right() {
            true => Ok(()),
            false => {
                let message = format!(
                    "{} does not keep to the protocol: {}",
                    report.resource,
                    report.summary()
                );
                Err(Error::new(Kind::Internal, message))
            }
        }
    }

    fn options(self) -> Result<Options, Error> {
        let templates = |texts: &[String]| {
            let made: Result<Vec<Template>, String> = texts
                .iter()
                .map(|text| Template::from_file_or_text(text))
                .collect();
            made.map_err(|message| Error::new(Kind::Usage, message))
        };
        let effects = self.effects.map(Effects::Command);
        Ok(Options {
            operations: Operations {
                succeed: templates(&self.operations)?,
                refused: templates(&self.refused)?,
                read_only: templates(&self.read_only)?,
            },
            first_number: self.first_number,
            effects: effects.or_else(|| self.effects_file.map(Effects::File)),
            patience: Duration::from_secs(self.patience),
            only: self.only,
            ..Options::new(self.exec.unwrap_or_default(), self.resource.unwrap_or_default())
        })
    }
}

fn list() -> Result<(), Error> {
    for group in GROUPS {
        for case in group.cases {
            print(&format!("{}/{}: {}", group.name, case.name, case.checks))?;
        }
    }
    Ok(())
}

impl From<ConformanceError> for Error {
    fn from(error: ConformanceError) -> Self {
        let kind = match error {
            ConformanceError::Usage(_) => Kind::Usage,
            ConformanceError::Failed(_) => Kind::Internal,
        };
        Error::new(kind, error.to_string())
    }
}
