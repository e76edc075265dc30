//! `cargo sim run`

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::replay_command;
use super::worker::{Line, add_coverage};
use crate::coverage::{self, Coverage};
use crate::plan::Fault;
use crate::say::say;
use crate::seeds;

/// Failures that are told in full; more are only counted.
const FAILURES_TOLD: usize = 10;

/// Run many seeds, each a cluster of its own with its own faults, and say which properties did not hold.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_parser = crate::seeds::parse)]
    from: u64,
    /// Processes at a time; as many as there are processors if it is not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Transactions of each seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
    /// Say which edges of the protocol were hit how often.
    #[arg(long)]
    edges: bool,
    /// Fail if an edge of sim-tests/edges.txt is never hit, or a kind of fault never injected. It takes some thousands of seeds
    /// to hit them all.
    #[arg(long)]
    all_edges: bool,
}

/// What all workers have found.
#[derive(Default)]
pub(super) struct Findings {
    pub lines: Vec<Line>,
    pub coverage: Coverage,
}

impl Run {
    /// Runs them. An error if a property does not hold.
    #[allow(clippy::disallowed_methods)] // how long it really took
    pub fn run(&self) -> anyhow::Result<()> {
        let begun = std::time::Instant::now();
        let progress = ProgressBar::new(self.seeds).with_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} seeds, {per_sec}, {msg} failed, {eta} left",
        )?);
        progress.set_message("0");
        let mut failed = 0;
        let findings = spread(self.from, self.seeds, self.jobs, self.transactions, |line| {
            progress.inc(1);
            let Some(failure) = &line.failure else { return };
            failed += 1;
            progress.set_message(failed.to_string());
            if failed <= FAILURES_TOLD {
                let command = replay_command(line.seed, self.transactions);
                progress.suspend(|| say!("seed {}: {failure}\n    {command}", line.seed));
            }
        })?;
        progress.finish_and_clear();
        let never = self.summarize(&findings, begun.elapsed())?;
        anyhow::ensure!(failed == 0, "{failed} of {} seeds failed", self.seeds);
        match self.all_edges {
            true => all_was_tried(never, &findings.coverage),
            false => Ok(()),
        }
    }

    /// How many edges were never hit.
    fn summarize(&self, findings: &Findings, took: Duration) -> anyhow::Result<usize> {
        let events: u64 = findings.lines.iter().map(|line| line.events).sum();
        let virtual_s = findings.lines.iter().map(|line| line.virtual_ms).sum::<u64>() / 1000;
        let seconds = took.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // it is printed with one digit
        let rate = findings.lines.len() as f64 / seconds;
        say!(
            "{} seeds in {seconds:.1} s, {rate:.1} a second; {events} events, {virtual_s} s of virtual time",
            findings.lines.len()
        );
        let faults = &findings.coverage.faults;
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        for faults_of_row in Fault::ALL.chunks(3) {
            let cell = |fault: &Fault| {
                let count = faults.get(fault).copied().unwrap_or(0);
                [fault.name().to_owned(), count.to_string()]
            };
            table.add_row(faults_of_row.iter().flat_map(cell));
        }
        say!("faults that were injected:\n{table}");
        let outcomes = findings
            .coverage
            .outcomes
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"));
        say!(
            "answers to applications: {}",
            outcomes.collect::<Vec<_>>().join(", ")
        );
        self.tell_edges(&findings.coverage)
    }

    fn tell_edges(&self, coverage: &Coverage) -> anyhow::Result<usize> {
        let required = coverage::required()?;
        let never: Vec<_> = required
            .iter()
            .filter(|edge| !coverage.edges.contains_key(edge))
            .collect();
        let hit = required.len() - never.len();
        say!(
            "edges of transactions and branches: {hit} of {} were taken",
            required.len()
        );
        for edge in &never {
            say!("  never: {}", coverage::name(**edge));
        }
        let unlisted = coverage.edges.keys().filter(|edge| !required.contains(edge));
        say!(
            "edges that sim-tests/edges.txt does not list: {} were taken",
            unlisted.count()
        );
        if self.edges {
            let mut edges: Vec<_> = coverage.edges.iter().collect();
            edges.sort();
            for (edge, count) in edges {
                let mark = if required.contains(edge) { ' ' } else { '+' };
                say!("{mark} {count:>10}  {}", coverage::name(*edge));
            }
        }
        Ok(never.len())
    }
}

/// An error if an edge was never hit, or a kind of fault never injected.
fn all_was_tried(never_hit: usize, coverage: &Coverage) -> anyhow::Result<()> {
    anyhow::ensure!(
        never_hit == 0,
        "{never_hit} edges of sim-tests/edges.txt were never hit: what used to be tried is not tried any more"
    );
    let never: Vec<&str> = Fault::ALL
        .iter()
        .filter(|fault| !coverage.faults.contains_key(fault))
        .map(|fault| fault.name())
        .collect();
    anyhow::ensure!(
        never.is_empty(),
        "these kinds of faults were never injected: {}; run more seeds, or see why nothing injects them",
        never.join(", ")
    );
    Ok(())
}

/// Seeds of one worker process. What a run leaves behind in its process stays small by this.
const SEEDS_PER_WORKER: u64 = 500;

/// Spreads seeds over worker processes, and calls `seen` for each seed that is done.
pub(super) fn spread(
    from: u64,
    seeds: u64,
    jobs: Option<usize>,
    transactions: u32,
    mut seen: impl FnMut(&Line),
) -> anyhow::Result<Findings> {
    let all = seeds::range(from, seeds)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.unwrap_or(processors).max(1);
    let ranges: Vec<(u64, u64)> = ranges(all.start, all.end, jobs as u64);
    let ranges = Arc::new(Mutex::new(VecDeque::from(ranges)));
    let (lines, heard) = mpsc::channel();
    let jobs: Vec<_> = (0..jobs)
        .map(|_| job(ranges.clone(), lines.clone(), transactions))
        .collect();
    drop(lines);
    let mut findings = Findings::default();
    for line in heard {
        match Line::decode(&line) {
            Some(line) => {
                seen(&line);
                findings.lines.push(line);
            }
            None => add_coverage(&mut findings.coverage, &line)
                .with_context(|| format!("a worker says {line:?}"))?,
        }
    }
    for job in jobs {
        job.join().map_err(|_| anyhow::anyhow!("a job has panicked"))??;
    }
    findings.lines.sort_by_key(|line| line.seed);
    Ok(findings)
}

/// As many seeds each as a worker runs, or fewer, so that every job has some.
fn ranges(from: u64, to: u64, jobs: u64) -> Vec<(u64, u64)> {
    let length = ((to - from) / jobs).clamp(1, SEEDS_PER_WORKER);
    let starts = (from..to).step_by(usize::try_from(length).unwrap_or(usize::MAX));
    starts
        .map(|start| (start, to.min(start.saturating_add(length))))
        .collect()
}

/// Runs one worker after the other until there are no more ranges.
#[allow(clippy::disallowed_methods)] // outside of any simulation
fn job(
    ranges: Arc<Mutex<VecDeque<(u64, u64)>>>,
    lines: mpsc::Sender<String>,
    transactions: u32,
) -> JoinHandle<anyhow::Result<()>> {
    let next = move || ranges.lock().ok().and_then(|mut ranges| ranges.pop_front());
    std::thread::spawn(move || {
        while let Some((from, to)) = next() {
            let mut worker = start(from, to, transactions)?;
            let output = worker.stdout.take().context("a worker has an output")?;
            for line in BufReader::new(output).lines() {
                lines.send(line?)?;
            }
            let status = worker.wait()?;
            anyhow::ensure!(
                status.success(),
                "the worker of seeds {from} to {to} has ended with {status}"
            );
        }
        Ok(())
    })
}

fn start(from: u64, to: u64, transactions: u32) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    let worker = Command::new(program)
        .arg("worker")
        .args(["--from", &from.to_string()])
        .args(["--to", &to.to_string()])
        .args(["--transactions", &transactions.to_string()])
        .stdout(Stdio::piped())
        .spawn();
    worker.context("cannot start a worker process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_fault_that_was_never_injected_is_named() {
        let mut coverage = Coverage::default();
        coverage.faults = Fault::ALL.iter().map(|fault| (*fault, 1)).collect();
        assert!(all_was_tried(0, &coverage).is_ok());
        assert!(
            all_was_tried(1, &coverage)
                .unwrap_err()
                .to_string()
                .contains("1 edges")
        );
        coverage.faults.remove(&Fault::BitFlips);
        let error = all_was_tried(0, &coverage).unwrap_err().to_string();
        assert!(
            error.contains("BitFlips") && !error.contains("DiskFull"),
            "{error}"
        );
    }

    #[test]
    fn ranges_reach_to_the_last_seed() {
        let last = u64::MAX;
        assert_eq!(
            ranges(last - 3, last, 2),
            [(last - 3, last - 2), (last - 2, last - 1), (last - 1, last)]
        );
    }
}
