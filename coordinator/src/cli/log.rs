//! `handfast log`: offline, on a stopped or copied data directory. Nothing is changed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use handfast_ids::LogId;
use handfast_wal::{Entry, Report, Tail};
use serde_json::json;

use super::log_directory;
use super::output::print;
use super::serve::open_disk;
use crate::driver::codec;
use crate::error::{Error, Kind};

mod record;

/// Look at the log of a coordinator that is stopped, or at a copy. Nothing is changed.
#[derive(Debug, Subcommand)]
pub enum Log {
    Verify(Verify),
    Dump(Dump),
}

/// Check every byte and every record of a log.
#[derive(Debug, Args)]
pub struct Verify {
    /// The data directory
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
}

/// Print the records of a log.
#[derive(Debug, Args)]
pub struct Dump {
    /// The data directory
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Lines::Text)]
    output: Lines,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// One line of text each
    Text,
    /// One JSON object a line
    Json,
}

impl Log {
    pub async fn run(self) -> Result<(), Error> {
        match self {
            Log::Verify(verify) => verify.run().await,
            Log::Dump(dump) => dump.run().await,
        }
    }
}

impl Verify {
    async fn run(self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut records = 0u64;
        let report = visit(&self.data_dir, |entry| {
            records += 1;
            let (from, bytes) = parts(entry);
            if let Err(error) = codec::decode(bytes) {
                problems.push(format!("{from}: {error}"));
            }
        })
        .await?;
        problems.extend(report.problems.iter().map(ToString::to_string));
        print_report(&report, records)?;
        if problems.is_empty() {
            return print("sound");
        }
        for problem in &problems {
            print(&format!("PROBLEM {problem}"))?;
        }
        Err(Error::new(
            Kind::ProblemsFound,
            match problems.len() {
                1 => "1 problem was found; see above for what to do".to_owned(),
                count => format!("{count} problems were found; see above for what to do"),
            },
        ))
    }
}

fn print_report(report: &Report, records: u64) -> Result<(), Error> {
    if let Some(id) = report.log_id {
        print(&format!("log {}", LogId(u128::from_be_bytes(id))))?;
    }
    for checkpoint in &report.checkpoints {
        print(&format!("checkpoint through {}", checkpoint.through))?;
    }
    for segment in &report.segments {
        let tail = match segment.tail {
            Tail::Sealed => "sealed".to_owned(),
            Tail::Open => "open".to_owned(),
            Tail::Torn { from, to } => {
                format!("open; bytes {from} to {to} are an interrupted write, which the next start cuts")
            }
            Tail::Damaged => "DAMAGED".to_owned(),
        };
        print(&format!(
            "{} records {} to {}, {tail}",
            segment.file, segment.first, segment.last
        ))?;
    }
    for leftover in &report.leftovers {
        print(&format!(
            "{leftover} counts for nothing; the next start removes it"
        ))?;
    }
    print(&format!("{records} records read, the last is {}", report.last()))
}

impl Dump {
    async fn run(self) -> Result<(), Error> {
        let mut printed = Ok(());
        let report = visit(&self.data_dir, |entry| {
            if printed.is_ok() {
                printed = print(&line(entry, self.output));
            }
        })
        .await?;
        printed?;
        match report.problems.first() {
            None => Ok(()),
            Some(problem) => Err(Error::new(
                Kind::ProblemsFound,
                format!("the dump ends at a problem: {problem}"),
            )),
        }
    }
}

async fn visit(data: &std::path::Path, visitor: impl FnMut(Entry<'_>) + Send) -> Result<Report, Error> {
    let path = log_directory(data);
    let disk = open_disk(&path)?;
    handfast_wal::visit(&disk, visitor)
        .await
        .map_err(|error| Error::from(error).about(path.display()))
}

/// Where an entry stands, and its bytes.
fn parts(entry: Entry<'_>) -> (String, &[u8]) {
    match entry {
        Entry::Checkpoint { through, record } => (format!("checkpoint {through}"), record),
        Entry::Record { lsn, record } => (lsn.to_string(), record),
    }
}

fn line(entry: Entry<'_>, output: Lines) -> String {
    let (from, bytes) = parts(entry);
    let decoded = codec::decode(bytes);
    match (output, decoded) {
        (Lines::Text, Ok(record)) => format!("{from:>8}  {}", record::text(&record)),
        (Lines::Text, Err(error)) => format!("{from:>8}  UNREADABLE {error}"),
        (Lines::Json, Ok(record)) => {
            let mut value = record::json(&record);
            value["at"] = json!(from);
            value.to_string()
        }
        (Lines::Json, Err(error)) => json!({"at": from, "unreadable": error.to_string()}).to_string(),
    }
}
