//! What a suite has found.

use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use super::Suite;
use crate::run::Verdict;
use crate::timeline::html;
use crate::trace::{Event, Message};

/// Failures that are told in full; more are only counted.
const FAILURES_TOLD: usize = 10;

/// What many seeds came to. As text: a summary for a terminal.
#[derive(Clone, Debug)]
pub struct Report {
    suite: Suite,
    /// How many seeds were run.
    pub seeds: u64,
    /// Those in which a property did not hold.
    pub failures: Vec<Failure>,
    /// Events of all runs.
    pub events: u64,
    /// How long all runs together took in virtual time.
    pub virtual_time: Duration,
    /// Faults that were injected.
    pub faults: u64,
    /// Transactions of which a client was told that they are committed.
    pub committed: u64,
}

/// A seed in which a property did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The property, and what shows that it does not hold.
    pub property: String,
}

/// What a scenario came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Played {
    /// What did not hold or was not as expected; nothing, if all is well.
    Ran(Vec<String>),
    /// It says nothing of this resource; why.
    LeftOut(String),
}

/// One run with everything that happened in it.
#[derive(Debug)]
pub struct Replay {
    name: String,
    words: String,
    verdict: Verdict,
    failures: Vec<String>,
}

impl Report {
    pub(super) fn new(suite: &Suite) -> Report {
        Report {
            suite: suite.clone(),
            seeds: 0,
            failures: Vec::new(),
            events: 0,
            virtual_time: Duration::ZERO,
            faults: 0,
            committed: 0,
        }
    }

    pub(super) fn take(&mut self, verdict: Verdict) {
        self.seeds += 1;
        self.events += verdict.events;
        self.virtual_time += verdict.virtual_time;
        self.faults += verdict.coverage.faults.values().sum::<u64>();
        self.committed += verdict
            .coverage
            .outcomes
            .get("committed")
            .copied()
            .unwrap_or_default();
        let seed = verdict.seed;
        self.failures
            .extend(verdict.failure.map(|property| Failure { seed, property }));
    }

    /// Whether every property held in every seed.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { seed, property } in self.failures.iter().take(FAILURES_TOLD) {
            writeln!(
                f,
                "seed {seed}: {property}\n    {}",
                self.suite.replay_command(*seed)
            )?;
        }
        if self.failures.len() > FAILURES_TOLD {
            writeln!(f, "… and {} more", self.failures.len() - FAILURES_TOLD)?;
        }
        write!(
            f,
            "{}: {} seeds, {} failed; {} transactions told committed, {} faults injected, {} events, {} s of virtual time",
            self.suite.name,
            self.seeds,
            self.failures.len(),
            self.committed,
            self.faults,
            self.events,
            self.virtual_time.as_secs()
        )
    }
}

impl Replay {
    pub(super) fn new(name: String, words: String, verdict: Verdict, failures: Vec<String>) -> Replay {
        Replay {
            name,
            words,
            verdict,
            failures,
        }
    }

    /// What did not hold, or was not as the scenario expects. Nothing, if all is well.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The same in two runs that were the same.
    pub fn hash(&self) -> u64 {
        self.verdict.hash
    }

    /// What happened, a line an event, without heartbeats.
    pub fn timeline(&self) -> String {
        let mut text = String::new();
        for (at, event) in &self.verdict.lines {
            let is_heartbeat = matches!(
                event,
                Event::Message(_, _, Message::Durable { .. } | Message::ScanComplete)
            );
            if !is_heartbeat {
                let _ = writeln!(text, "{:>10.4}s  {event}", at.as_secs_f64());
            }
        }
        let _ = write!(
            text,
            "{}: {} events, hash {:016x}",
            self.name, self.verdict.events, self.verdict.hash
        );
        text
    }

    /// What happened, as a page for a browser that needs nothing else.
    pub fn html(&self) -> String {
        let title = html::Title {
            name: self.name.clone(),
            words: self.words.clone(),
        };
        let failure = (!self.failures.is_empty()).then(|| self.failures.join("\n"));
        html::page(&title, &self.verdict.lines, failure.as_deref())
    }
}
