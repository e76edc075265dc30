//! `handfast bench log`: the log alone, beside what the disk can do.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use handfast_wal::{Log as Wal, Options, RealDisk};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::appender::Appender;
use super::deployment::Directory;
use super::report::{self, round};
use super::{failed, flags, floor, log_bare, machine, unusable};
use crate::cli::output::{Output, print, print_json, print_table};
use crate::config::Settings;
use crate::error::Error;
use crate::runtime;

/// Measure the log alone: writers that each append a record and wait until it is durable.
///
/// In the same run, in turns: a bare write and fdatasync, one after the other, and a bare group-commit loop with the same
/// queue and no more than one write and one fdatasync for a batch. The ratio to these holds on other machines too.
#[derive(Debug, Args)]
pub struct Log {
    /// Writers, each with one record under way
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    writers: Vec<usize>,
    /// Bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    record: usize,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    duration: f64,
    /// Runs of each measurement, in turns; the median and the spread are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the logs are made; must be empty or not exist [default: a temporary directory below the current one]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Log {
    pub async fn run(self) -> Result<(), Error> {
        self.check()?;
        let machine = machine::describe();
        let directory = Directory::make(self.data_dir.as_deref())?;
        let duration = Duration::from_secs_f64(self.duration);
        let mut results = Vec::new();
        for (index, writers) in self.writers.iter().enumerate() {
            let (mut floors, mut bares, mut logs) = (Vec::new(), Vec::new(), Vec::new());
            for run in 0..self.runs {
                let name = |kind: &str| directory.path().join(format!("{kind}-{index}-{run}"));
                floors.push(floor::disk(directory.path(), duration / 2).await?);
                let bare_failed = |error: std::io::Error| failed(format!("the bare loop failed: {error}"));
                let (appender, running) = log_bare::start(&name("bare")).map_err(bare_failed)?;
                let syncs = async move {
                    running
                        .await
                        .map_err(|error| failed(error.to_string()))?
                        .map_err(bare_failed)
                };
                bares.push(self.measure(appender, *writers, duration, syncs).await?);
                std::fs::remove_file(name("bare")).map_err(bare_failed)?;

                let path = name("log");
                let disk =
                    RealDisk::create(&path).map_err(|error| crate::cli::directory_error(&path, &error))?;
                let settings = Settings::default().log;
                let options = Options {
                    segment_bytes: settings.segment_bytes,
                    buffer_bytes: settings.buffer_bytes,
                };
                let log = Wal::create(disk, runtime::random_u128().to_be_bytes(), options)
                    .await?
                    .log;
                let (appender, running) = Appender::of_log(log);
                let syncs = async move {
                    let counters = running.await.map_err(|error| failed(error.to_string()))?;
                    Ok(counters?.syncs)
                };
                logs.push(self.measure(appender, *writers, duration, syncs).await?);
                std::fs::remove_dir_all(&path).map_err(bare_failed)?;
            }
            results.push(compared(*writers, &floors, &bares, &logs));
        }
        let result = json!({
            "benchmark": "log",
            "machine": machine,
            "parameters": {
                "record_bytes": self.record,
                "duration_seconds": self.duration,
                "runs": self.runs,
            },
            "results": results,
        });
        match self.output {
            Output::Json => print_json(&result),
            Output::Table => self.print(&results),
        }
    }

    fn check(&self) -> Result<(), Error> {
        flags::seconds("--duration", self.duration, 0.1)?;
        if self.writers.is_empty() || self.writers.iter().any(|writers| !(1..=16_384).contains(writers)) {
            return Err(unusable("give --writers from 1 to 16384, such as 1,16,256"));
        }
        if !(1..=65_536).contains(&self.record) {
            return Err(unusable(format!(
                "--record is {}; give 1 to 65536 bytes",
                self.record
            )));
        }
        if self.runs == 0 {
            return Err(unusable("--runs is 0; give at least 1"));
        }
        Ok(())
    }

    /// Writers in a closed loop; `syncs` completes when the loop behind them has ended.
    async fn measure(
        &self,
        appender: Appender,
        writers: usize,
        duration: Duration,
        syncs: impl Future<Output = Result<u64, Error>>,
    ) -> Result<Value, Error> {
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..writers {
            let (appender, record) = (appender.clone(), vec![0x5A; self.record]);
            running.spawn(async move {
                let mut latencies = Vec::new();
                while begun.elapsed() < duration {
                    let append_begun = Instant::now();
                    appender.append(record.clone()).await?;
                    latencies.push(u32::try_from(append_begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                Ok::<_, Error>(latencies)
            });
        }
        drop(appender);
        let mut latencies = Histogram::<u64>::new(3).map_err(|error| failed(error.to_string()))?;
        while let Some(ended) = running.join_next().await {
            for micros in ended.map_err(|error| failed(error.to_string()))?? {
                // It resizes itself.
                let _ = latencies.record(u64::from(micros).max(1));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (records, syncs) = (latencies.len() as f64, syncs.await?);
        Ok(json!({
            "records_per_second": round(records / seconds),
            "syncs": syncs,
            "syncs_per_second": round(syncs as f64 / seconds),
            "records_per_sync": round(records / syncs.max(1) as f64),
            "latency_us": report::percentiles(&latencies),
        }))
    }

    fn print(&self, results: &[Value]) -> Result<(), Error> {
        print(&format!(
            "records of {} bytes, each waited for; medians of {} runs of {} s\n",
            self.record, self.runs, self.duration
        ))?;
        let mut rows = Vec::new();
        for result in results {
            for (name, what) in [
                ("floor", "write + fdatasync"),
                ("bare", "bare group commit"),
                ("log", "log"),
            ] {
                let summary = &result[name];
                let whole = |value: &Value| match value["median"].as_f64() {
                    Some(number) => format!("{number:.0}"),
                    None => String::new(),
                };
                let latency = if name == "floor" {
                    &summary["sync_us"]
                } else {
                    &summary["latency_us"]
                };
                let records = match name {
                    "floor" => &summary["syncs_per_second"],
                    _ => &summary["records_per_second"],
                };
                rows.push(vec![
                    result["writers"].to_string(),
                    what.to_owned(),
                    whole(records),
                    whole(&summary["syncs_per_second"]),
                    format!("{} µs", whole(&latency["p50"])),
                    format!("{} µs", whole(&latency["p99"])),
                ]);
            }
        }
        let header = [
            "WRITERS",
            "WHAT",
            "RECORDS A SECOND",
            "SYNCS A SECOND",
            "P50",
            "P99",
        ];
        print_table(&header, rows, "Nothing was measured.")?;
        print("")?;
        for result in results {
            let ratio = |name: &str| result[name]["median"].as_f64().unwrap_or_default();
            print(&format!(
                "{} writers: the log does {:.2} of the bare group commit's records, {:.2} of the bare disk's syncs",
                result["writers"],
                ratio("records_to_bare"),
                ratio("syncs_to_floor")
            ))?;
        }
        Ok(())
    }
}

fn compared(writers: usize, floors: &[Value], bares: &[Value], logs: &[Value]) -> Value {
    let ratios = |name: &str, others: &[Value]| {
        let pairs = logs.iter().zip(others);
        let ratio = |(log, other): (&Value, &Value)| {
            let number = |value: &Value| value[name].as_f64().unwrap_or_default();
            round(number(log) / number(other).max(1.0))
        };
        report::spread(pairs.map(ratio).collect())
    };
    json!({
        "writers": writers,
        "floor": report::summary(floors),
        "bare": report::summary(bares),
        "log": report::summary(logs),
        "records_to_bare": ratios("records_per_second", bares),
        "syncs_to_floor": ratios("syncs_per_second", floors),
    })
}
