//! A process that runs a range of seeds and tells its parent, line by line.

use std::io::{self, Write};

use clap::Args;

use crate::coverage::{Coverage, Layer, State, Trigger};
use crate::plan::{Fault, Plan};
use crate::run;

/// What a worker says of a seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub seed: u64,
    pub hash: u64,
    pub events: u64,
    pub virtual_ms: u64,
    pub failure: Option<String>,
}

/// Run some seeds and print a line for each; what `run` starts.
#[derive(Args, Clone, Debug)]
pub struct Worker {
    /// The first seed.
    #[arg(long)]
    from: u64,
    /// One more than the last seed.
    #[arg(long)]
    to: u64,
    /// Transactions of each seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
}

impl Worker {
    /// Runs them.
    pub fn run(&self) -> anyhow::Result<()> {
        run::catch_panics();
        let mut out = io::stdout().lock();
        let mut coverage = Coverage::default();
        for seed in self.from..self.to {
            let verdict = run::run(Plan::of(seed, self.transactions), false);
            coverage.add(&verdict.coverage);
            let line = Line {
                seed,
                hash: verdict.hash,
                events: verdict.events,
                virtual_ms: u64::try_from(verdict.virtual_time.as_millis())?,
                failure: verdict.failure,
            };
            writeln!(out, "{}", line.encode())?;
            out.flush()?;
        }
        for (fault, count) in &coverage.faults {
            writeln!(out, "fault {} {count}", fault.name())?;
        }
        for (outcome, count) in &coverage.outcomes {
            writeln!(out, "outcome {outcome} {count}")?;
        }
        for ((layer, state, trigger), count) in &coverage.edges {
            writeln!(out, "edge {layer:?} {state:?} {trigger:?} {count}")?;
        }
        Ok(())
    }
}

impl Line {
    fn encode(&self) -> String {
        let Line {
            seed,
            hash,
            events,
            virtual_ms,
            failure,
        } = self;
        let failure = failure.as_deref().unwrap_or_default().replace('\n', " ");
        format!("seed {seed} {hash:016x} {events} {virtual_ms} {failure}")
    }

    /// A line of a worker's output that is about a seed.
    pub fn decode(line: &str) -> Option<Line> {
        let mut words = line.strip_prefix("seed ")?.splitn(5, ' ');
        let seed = words.next()?.parse().ok()?;
        let hash = u64::from_str_radix(words.next()?, 16).ok()?;
        let events = words.next()?.parse().ok()?;
        let virtual_ms = words.next()?.parse().ok()?;
        let failure = words.next().filter(|words| !words.is_empty()).map(str::to_owned);
        Some(Line {
            seed,
            hash,
            events,
            virtual_ms,
            failure,
        })
    }
}

/// Adds a line of a worker's output that is about coverage.
pub(super) fn add_coverage(coverage: &mut Coverage, line: &str) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["fault", name, count] => {
            let fault = Fault::ALL.iter().find(|fault| fault.name() == *name)?;
            *coverage.faults.entry(*fault).or_default() += count.parse::<u64>().ok()?;
        }
        ["outcome", outcome, count] => {
            *coverage.outcomes.entry((*outcome).to_owned()).or_default() += count.parse::<u64>().ok()?;
        }
        ["edge", layer, state, trigger, count] => {
            let edge = (
                Layer::named(layer)?,
                State::named(state)?,
                Trigger::named(trigger)?,
            );
            *coverage.edges.entry(edge).or_default() += count.parse::<u64>().ok()?;
        }
        _ => return None,
    }
    Some(())
}
