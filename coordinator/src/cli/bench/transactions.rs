//! `handfast bench`: transactions over participants, from many clients.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::deployment::{Deployment, SETTLE};
use super::flags::Flags;
use super::load::Load;
use super::report::{self, round};
use super::{floor, machine};
use crate::cli::output::{Output, print, print_json, print_table};
use crate::error::Error;

/// How long transactions of participants that never vote may take to come to their end.
const STUCK_END: Duration = Duration::from_millis(1500);

/// Measures, and prints what came of it.
pub async fn run(flags: Flags) -> Result<(), Error> {
    flags.check()?;
    let machine = machine::describe();
    let mut deployment = Deployment::start(&flags).await?;
    let disk = floor::disk(deployment.path(), Duration::from_secs_f64(floor::DISK_SECONDS)).await?;
    let transport = match flags.floor {
        true => {
            let seconds = Duration::from_secs(2);
            Some(floor::transport(deployment.path(), flags.clients, flags.connections, seconds).await?)
        }
        false => None,
    };
    let load = Load::start(&flags, &deployment).await?;
    tokio::time::sleep(flags.warm_up()).await;
    let mut runs = Vec::new();
    let mut stuck_runs = Vec::new();
    for _ in 0..flags.runs {
        runs.push(one_run(&flags, &load, &mut deployment).await?);
        if flags.stuck > 0 {
            stuck_runs.push(stuck_run(&flags, &load, &mut deployment).await?);
        }
    }
    load.stop().await;
    deployment.stop().await;

    let mut result = json!({
        "benchmark": "transactions",
        "version": env!("CARGO_PKG_VERSION"),
        "parameters": flags.as_json(),
        "machine": machine,
        "floor": { "disk": disk, "transport": transport },
        "runs": runs,
        "summary": report::summary(&runs),
    });
    if flags.stuck > 0 {
        result["with_stuck"] = with_stuck(&runs, &stuck_runs);
    }
    match flags.output {
        Output::Json => print_json(&result),
        Output::Table => print_result(&flags, &result),
    }
}

async fn one_run(flags: &Flags, load: &Load, deployment: &mut Deployment) -> Result<Value, Error> {
    let before = deployment.snapshot().await?;
    // What came to its end before is another run's.
    load.tally.take()?;
    let begun = Instant::now();
    tokio::time::sleep(flags.duration()).await;
    let counts = load.tally.take()?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = deployment.snapshot().await?;
    Ok(report::run(&counts, seconds, &before, &after, load.overdue()))
}

/// The same clients, while others wait for participants that never vote.
async fn stuck_run(flags: &Flags, load: &Load, deployment: &mut Deployment) -> Result<Value, Error> {
    load.set_stuck(true);
    tokio::time::sleep(SETTLE).await;
    load.stuck_tally.take()?;
    let mut run = one_run(flags, load, deployment).await?;
    let stuck = load.stuck_tally.take()?;
    run["stuck_clients"] = json!({
        "committed": stuck.committed(),
        "aborted": stuck.aborted,
        "abort_reasons": stuck.reasons,
        "failed": stuck.failed(),
        "errors": stuck.errors,
    });
    load.set_stuck(false);
    tokio::time::sleep(STUCK_END).await;
    Ok(run)
}

fn with_stuck(runs: &[Value], stuck_runs: &[Value]) -> Value {
    let throughput = |run: &Value| run["committed_per_second"].as_f64().unwrap_or_default();
    let ratios = runs
        .iter()
        .zip(stuck_runs)
        .map(|(without, with)| round(throughput(with) / throughput(without)));
    json!({
        "runs": stuck_runs,
        "summary": report::summary(stuck_runs),
        "throughput_ratio": report::spread(ratios.collect()),
    })
}

fn print_result(flags: &Flags, result: &Value) -> Result<(), Error> {
    let summary = &result["summary"];
    let kind = if flags.interactive {
        "interactive"
    } else {
        "one-shot"
    };
    let load = match flags.rate {
        None => String::new(),
        Some(rate) => format!(", {rate} a second due"),
    };
    print(&format!(
        "{} clients{load}, {kind} transactions of {} branches over {} participants, {} bytes each; {} runs of {} s\n",
        flags.clients, flags.branches, flags.participants, flags.payload, flags.runs, flags.duration
    ))?;
    let latency = &summary["latency_us"];
    let milliseconds = |name: &str| text(&latency[name], 1e-3, 2, " ms");
    let coordinator = &summary["coordinator"];
    let mut rows = vec![
        row(
            "committed a second",
            text(&summary["committed_per_second"], 1.0, 0, ""),
        ),
        row("latency p50", milliseconds("p50")),
        row("latency p90", milliseconds("p90")),
        row("latency p99", milliseconds("p99")),
        row("latency p99.9", milliseconds("p999")),
        row("latency max", milliseconds("max")),
        row("aborted", text(&summary["aborted"], 1.0, 0, "")),
        row("failed", text(&summary["failed"], 1.0, 0, "")),
        row(
            "coordinator syncs per transaction",
            text(&coordinator["syncs_per_transaction"], 1.0, 4, ""),
        ),
        row(
            "coordinator syncs a second",
            text(&coordinator["syncs_per_second"], 1.0, 0, ""),
        ),
        row(
            "participants' syncs per transaction",
            text(&summary["participants"]["syncs_per_transaction"], 1.0, 4, ""),
        ),
        row(
            "coordinator log bytes per transaction",
            text(&coordinator["log_bytes_per_transaction"], 1.0, 0, ""),
        ),
    ];
    if flags.rate.is_some() {
        rows.push(row("overdue at the end", text(&summary["overdue"], 1.0, 0, "")));
    }
    if flags.stuck > 0 {
        let ratio = &result["with_stuck"]["throughput_ratio"];
        rows.push(row(
            "throughput beside stuck participants",
            text(ratio, 1.0, 3, ""),
        ));
    }
    print_table(&["", "MEDIAN", "LEAST", "MOST"], rows, "Nothing was measured.")?;
    print("")?;
    let processes = [
        ("coordinator", &coordinator["process"]),
        ("participants", &summary["participants"]["processes"]),
        ("clients", &summary["clients"]["process"]),
    ];
    let used = processes.map(|(name, process)| {
        vec![
            name.to_owned(),
            median(&process["cpu_us_per_transaction"], 1.0, 1, " µs"),
            median(&process["cores"], 1.0, 2, ""),
            median(&process["resident_bytes"], 1.0 / (1 << 20) as f64, 1, " MiB"),
            median(&process["peak_bytes"], 1.0 / (1 << 20) as f64, 1, " MiB"),
        ]
    });
    let header = ["PROCESS", "CPU PER TRANSACTION", "CORES", "RESIDENT", "PEAK"];
    print_table(&header, used.into(), "Nothing was measured.")?;
    print("")?;
    let transport = Some(&result["floor"]["transport"]).filter(|transport| !transport.is_null());
    let floor = floor::rows(Some(&result["floor"]["disk"]), transport);
    print_table(
        &["FLOOR", "A SECOND", "P50", "P99"],
        floor,
        "Nothing was measured.",
    )?;
    for run in result["runs"].as_array().into_iter().flatten() {
        for (words, count) in run["errors"].as_object().into_iter().flatten() {
            print(&format!("failed {count}: {words}"))?;
        }
    }
    Ok(())
}

fn row(name: &str, values: [String; 3]) -> Vec<String> {
    let [median, least, most] = values;
    vec![name.to_owned(), median, least, most]
}

fn text(spread: &Value, factor: f64, digits: usize, unit: &str) -> [String; 3] {
    ["median", "min", "max"].map(|name| number(&spread[name], factor, digits, unit))
}

fn median(spread: &Value, factor: f64, digits: usize, unit: &str) -> String {
    number(&spread["median"], factor, digits, unit)
}

fn number(value: &Value, factor: f64, digits: usize, unit: &str) -> String {
    match value.as_f64() {
        Some(number) => format!("{:.digits$}{unit}", number * factor),
        None => "unknown".to_owned(),
    }
}
