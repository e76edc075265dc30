//! The smallest part of a seed's run that still fails: fewer transactions, clients, and kinds of faults, and no stroke of
//! the nemesis that is not needed.
//!
//! ```text
//!   seed ──► what it does ──► leave something out ──► run ──► fails the same way? keep it left out
//!                ▲                                                                     │
//!                └─────────────── again, until nothing more can be left out ◄──────────┘
//! ```
//!
//! What is left is a plan with something left out, which is no seed's plan; so it is written to a file of its own.
//! Every user of chance has its own stream, so leaving one thing out moves little else.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::plan::{Fault, Plan};
use crate::run;

/// What is left out of a seed's plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shrunk {
    /// The seed.
    pub shrunk_seed: u64,
    /// Transactions of the seed.
    pub transactions: u32,
    /// What fails, in the words of the verdict.
    pub failure: String,
    /// Kinds of faults that still happen.
    pub faults: Vec<String>,
    /// Transactions that nobody asks for.
    pub left_out: BTreeSet<u32>,
    /// Strokes of the nemesis that are not made, by their number.
    pub spared: BTreeSet<u32>,
}

/// Strokes of a run that can be left out one by one.
const STROKES: u32 = 200;

impl Shrunk {
    /// Whether a file is one of these; a scenario begins otherwise.
    pub fn is_one(file: &Path) -> bool {
        std::fs::read_to_string(file)
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("shrunk_seed")))
    }

    /// Reads one.
    pub fn read(file: &Path) -> anyhow::Result<Shrunk> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Shrunk::parse(&text)
            .map_err(|(line, problem)| anyhow::anyhow!("{}:{line}: {problem}", file.display()))
    }

    /// Reads its text. An error is the line, and what is wrong there.
    fn parse(text: &str) -> Result<Shrunk, (usize, String)> {
        let line_at = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let shrunk: Shrunk = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (line_at(at), error.to_string())
        })?;
        match shrunk.faults.iter().find(|name| fault(name).is_none()) {
            None => Ok(shrunk),
            Some(name) => {
                let known: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
                let at = text.find(&format!("\"{name}\"")).unwrap_or(0);
                Err((
                    line_at(at),
                    format!("there is no fault `{name}`; there are {}", known.join(", ")),
                ))
            }
        }
    }

    /// The plan that it stands for.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::of(self.shrunk_seed, self.transactions);
        plan.faults = self.faults.iter().filter_map(|name| fault(name)).collect();
        plan.left_out = self.left_out.clone();
        plan.spared = self.spared.clone();
        plan
    }

    fn fails(&self) -> bool {
        let verdict = run::run(self.plan(), false);
        verdict
            .failure
            .is_some_and(|failure| kind(&failure) == kind(&self.failure))
    }

    /// What is needed, and what it is called.
    fn parts(&self) -> Vec<Part> {
        let faults = self.faults.iter().cloned().map(Part::Fault);
        let strokes = (0..STROKES).filter(|stroke| !self.spared.contains(stroke));
        let transactions = (0..self.transactions).filter(|number| !self.left_out.contains(number));
        faults
            .chain(transactions.map(Part::Transaction))
            .chain(strokes.map(Part::Stroke))
            .collect()
    }

    fn without(&self, parts: &[Part]) -> Shrunk {
        let mut smaller = self.clone();
        for part in parts {
            match part {
                Part::Fault(name) => smaller.faults.retain(|fault| fault != name),
                Part::Transaction(number) => _ = smaller.left_out.insert(*number),
                Part::Stroke(number) => _ = smaller.spared.insert(*number),
            }
        }
        smaller
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Fault(String),
    Transaction(u32),
    Stroke(u32),
}

/// Shrinks a seed; `None` if it does not fail. `tell` hears how many parts are left.
pub fn shrink(seed: u64, transactions: u32, mut tell: impl FnMut(usize)) -> Option<Shrunk> {
    let plan = Plan::of(seed, transactions);
    let faults = plan.faults.iter().map(|fault| fault.name().to_owned()).collect();
    let mut shrunk = Shrunk {
        shrunk_seed: seed,
        transactions,
        failure: run::run(plan, false).failure?,
        faults,
        left_out: BTreeSet::new(),
        spared: BTreeSet::new(),
    };
    // Halves first, then quarters, and so on: as delta debugging does (Zeller and Hildebrandt, *Simplifying and Isolating
    // Failure-Inducing Input*, IEEE TSE 28(2), 2002).
    let mut pieces = 2;
    loop {
        let parts = shrunk.parts();
        tell(parts.len());
        let size = parts.len().div_ceil(pieces).max(1);
        let smaller = parts
            .chunks(size)
            .map(|chunk| shrunk.without(chunk))
            .find(Shrunk::fails);
        match smaller {
            Some(smaller) => {
                shrunk = smaller;
                pieces = (pieces - 1).max(2);
            }
            None if size <= 1 => break,
            None => pieces *= 2,
        }
    }
    shrunk.failure = run::run(shrunk.plan(), false).failure?;
    Some(shrunk)
}

fn fault(name: &str) -> Option<Fault> {
    Fault::ALL.iter().copied().find(|fault| fault.name() == name)
}

/// The property, without whom it concerns.
fn kind(failure: &str) -> &str {
    failure.split_once(": ").map_or(failure, |(property, _)| property)
}

#[cfg(test)]
mod tests;
