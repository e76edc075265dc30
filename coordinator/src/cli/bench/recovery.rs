//! `handfast bench recovery`: how fast a log is read, and how long a start takes.

use std::path::{Path, PathBuf};

use clap::Args;
use handfast_core::{Coordinator, Lsn, Moment};
use handfast_ids::LogId;
use handfast_wal::{Log, Options, RealDisk};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deployment::{self, Directory};
use super::recovery_log::{self, Contents, Made};
use super::report::{self, round};
use super::{failed, machine, unusable};
use crate::cli::log_directory;
use crate::cli::output::{Output, print, print_json, print_table};
use crate::config::Settings;
use crate::driver::Replay;
use crate::error::Error;

/// Live transactions from which on the memory of one is told.
const LIVE_TO_DIVIDE_BY: u64 = 10_000;

/// Measure a restart: how fast the log is read again, and how long it takes until clients are served.
///
/// Two logs are made: one of live transactions only, each committed over two resources and acknowledged by none, and one of
/// many bytes and few live transactions. Each is read in this process, from a warm page cache: bytes alone, then decoded
/// and folded to the state of a coordinator. Then a coordinator is started on it.
#[derive(Debug, Args)]
pub struct Recovery {
    /// Live transactions of the first log
    #[arg(long, value_name = "TRANSACTIONS", default_value_t = 1_000_000)]
    live: u64,
    /// MiB of the second log
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    log_mib: u64,
    /// Live transactions of the second log
    #[arg(long, value_name = "TRANSACTIONS", default_value_t = 1000)]
    live_in_log: u64,
    /// Runs; the median and the spread are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the logs are made; must be empty or not exist [default: a temporary directory below the current one]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Recovery {
    pub async fn run(self) -> Result<(), Error> {
        let settings = Settings::default();
        let most = settings.limits.transactions as u64;
        for (name, value) in [("--live", self.live), ("--live-in-log", self.live_in_log)] {
            if value > most {
                return Err(unusable(format!(
                    "{name} is {value}; a coordinator takes {most} live transactions"
                )));
            }
        }
        if self.runs == 0 {
            return Err(unusable("--runs is 0; give at least 1"));
        }
        let machine = machine::describe();
        let directory = Directory::make(self.data_dir.as_deref())?;
        let logs = [
            (
                "live",
                Contents {
                    live: self.live,
                    bytes: 0,
                },
            ),
            (
                "long",
                Contents {
                    live: self.live_in_log,
                    bytes: self.log_mib << 20,
                },
            ),
        ];
        let empty = resident_of_nothing(directory.path(), &settings).await?;
        let mut results = Vec::new();
        for (name, contents) in logs {
            let path = directory.path().join(name);
            std::fs::create_dir_all(&path).map_err(|error| crate::cli::directory_error(&path, &error))?;
            let data = path.join("coordinator");
            let made = recovery_log::make(&data, &settings, contents).await?;
            let mut runs = Vec::new();
            for _ in 0..self.runs {
                runs.push(one_run(&path, &data, &settings, &made, contents.live, empty).await?);
            }
            results.push(json!({
                "log": name,
                "bytes": made.bytes,
                "records": made.records,
                "transactions": made.transactions,
                "live": contents.live,
                "runs": runs,
                "summary": report::summary(&runs),
            }));
            if self.data_dir.is_none() {
                std::fs::remove_dir_all(&path).map_err(|error| crate::cli::directory_error(&path, &error))?;
            }
        }
        match self.output {
            Output::Json => print_json(&json!({
                "benchmark": "recovery",
                "machine": machine,
                "runs": self.runs,
                "resident_bytes_of_an_empty_log": empty,
                "results": results,
            })),
            Output::Table => print_results(&results),
        }
    }
}

/// A start changes the log: it begins an epoch and may write a checkpoint. So what is started is a copy.
async fn one_run(
    path: &Path,
    data: &Path,
    settings: &Settings,
    made: &Made,
    live: u64,
    empty: Option<u64>,
) -> Result<Value, Error> {
    let scan = scan(data).await?;
    let copy = path.join("started");
    copy_log(data, &copy.join("coordinator")).map_err(|error| crate::cli::directory_error(&copy, &error))?;
    let (fold, start) = fold(&copy.join("coordinator"), settings).await?;
    let begun = Instant::now();
    let (child, _) = deployment::serve(&copy, 0).await?;
    let until_serving = begun.elapsed().as_secs_f64();
    let usage = child.usage();
    child.stop().await;
    std::fs::remove_dir_all(&copy).map_err(|error| crate::cli::directory_error(&copy, &error))?;
    let rate = |seconds: f64| round(made.bytes as f64 / seconds / 1e9);
    // What a coordinator takes anyhow would be most of it if there were few.
    let resident = usage.as_ref().map(|usage| usage.resident_bytes);
    let each = resident.zip(empty).filter(|_| live >= LIVE_TO_DIVIDE_BY);
    let each = each.map(|(resident, empty)| round(resident.saturating_sub(empty) as f64 / live as f64));
    Ok(json!({
        "scan_seconds": round(scan),
        "scan_gb_per_second": rate(scan),
        "replay_seconds": round(fold),
        "replay_gb_per_second": rate(fold),
        "start_seconds": round(start),
        "until_serving_seconds": round(until_serving),
        "resident_bytes": resident,
        "peak_bytes": usage.map(|usage| usage.peak_bytes),
        "resident_bytes_per_live": each,
    }))
}

/// What a coordinator takes that has nothing to remember.
async fn resident_of_nothing(path: &Path, settings: &Settings) -> Result<Option<u64>, Error> {
    let path = path.join("empty");
    let nothing = Contents { live: 0, bytes: 0 };
    recovery_log::make(&path.join("coordinator"), settings, nothing).await?;
    let (child, _) = deployment::serve(&path, 0).await?;
    let usage = child.usage();
    child.stop().await;
    std::fs::remove_dir_all(&path).map_err(|error| crate::cli::directory_error(&path, &error))?;
    Ok(usage.map(|usage| usage.resident_bytes))
}

/// Seconds to read and check every byte, which also warms the page cache.
async fn scan(data: &Path) -> Result<f64, Error> {
    let disk = open(data)?;
    let mut records = 0u64;
    handfast_wal::visit(&disk, |_| records += 1).await?;
    records = 0;
    let begun = Instant::now();
    let report = handfast_wal::visit(&disk, |_| records += 1).await?;
    let seconds = begun.elapsed().as_secs_f64();
    if !report.is_sound() || records == 0 {
        return Err(failed("the log that was made is not sound; report this"));
    }
    Ok(seconds)
}

/// Seconds to open the log and fold its records, and then to make a coordinator of them.
async fn fold(data: &Path, settings: &Settings) -> Result<(f64, f64), Error> {
    let disk = open(data)?;
    let options = Options {
        segment_bytes: settings.log.segment_bytes,
        buffer_bytes: settings.log.buffer_bytes,
    };
    let mut replay = Replay::new(settings);
    let begun = Instant::now();
    let opened = Log::open(disk, options, |entry| replay.entry(entry)).await?;
    let recovery = replay.finish(LogId(u128::from_be_bytes(opened.log_id)))?;
    let replayed = begun.elapsed().as_secs_f64();
    let last = opened.recovered.last;
    let mut effects = Vec::new();
    let begun = Instant::now();
    let wall_ms = crate::runtime::wall_ms();
    let _started = Coordinator::start(recovery, Lsn(last.0 + 1), Moment(0), wall_ms, &mut effects);
    Ok((replayed, begun.elapsed().as_secs_f64()))
}

fn open(data: &Path) -> Result<RealDisk, Error> {
    crate::cli::serve::open_disk(&log_directory(data))
}

fn copy_log(from: &Path, to: &Path) -> std::io::Result<()> {
    let (from, to) = (log_directory(from), log_directory(to));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn print_results(results: &[Value]) -> Result<(), Error> {
    for result in results {
        print(&format!(
            "{} MiB of log, {} transactions, {} of them live",
            result["bytes"].as_u64().unwrap_or_default() >> 20,
            result["transactions"],
            result["live"]
        ))?;
        let summary = &result["summary"];
        let row = |name: &str, key: &str, digits: usize, unit: &str, factor: f64| {
            let number = |which: &str| match summary[key][which].as_f64() {
                Some(number) => format!("{:.digits$}{unit}", number * factor),
                None => "unknown".to_owned(),
            };
            vec![name.to_owned(), number("median"), number("min"), number("max")]
        };
        let rows = vec![
            row("read and checked", "scan_gb_per_second", 3, " GB/s", 1.0),
            row(
                "read, decoded and folded",
                "replay_gb_per_second",
                3,
                " GB/s",
                1.0,
            ),
            row("state made from it", "start_seconds", 3, " s", 1.0),
            row(
                "process started until serving",
                "until_serving_seconds",
                3,
                " s",
                1.0,
            ),
            row("resident", "resident_bytes", 0, " MiB", 1.0 / (1 << 20) as f64),
            row(
                "resident for each live one",
                "resident_bytes_per_live",
                0,
                " bytes",
                1.0,
            ),
        ];
        print_table(&["", "MEDIAN", "LEAST", "MOST"], rows, "Nothing was measured.")?;
        print("")?;
    }
    Ok(())
}
