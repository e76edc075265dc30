//! Simulates somebody's own resource: many seeds, one seed, a scenario; and says what did not hold.
//!
//! ```ignore
//! let suite = Suite::new().staged("seats", Seats);
//! let report = suite.run_seeds(0..500);
//! println!("{report}");
//! let replay = suite.replay_seed(42);
//! println!("{}", replay.timeline());
//! ```

mod command;
mod report;

use std::ops::Range;
use std::path::{Path, PathBuf};

use handfast_participant::{Resource, Staged};

use crate::own::{Own, Subject};
use crate::plan::Plan;
use crate::run::{self, Verdict};
use crate::scenario::{Scenario, played};

pub use command::Command;
pub use report::{Failure, Played, Replay, Report};

/// Transactions of a seed, if nothing else is said.
const TRANSACTIONS: u32 = 100;

/// A cluster with a resource of somebody's own in it, and what is done to it.
#[derive(Clone, Debug)]
pub struct Suite {
    name: String,
    own: Option<Own>,
    transactions: u32,
    command: String,
}

impl Default for Suite {
    fn default() -> Self {
        Suite {
            name: "the simulator's own ledger".to_owned(),
            own: None,
            transactions: TRANSACTIONS,
            command: "cargo sim".to_owned(),
        }
    }
}

impl Suite {
    /// The simulator's own cluster: nobody's resource yet.
    pub fn new() -> Suite {
        Suite::default()
    }

    /// Puts a staged service into the cluster, wherever there would be a ledger. The SDK's journal of each is on its
    /// node's simulated disk.
    #[must_use]
    pub fn staged<S: Subject<Service: Staged>>(mut self, name: &str, subject: S) -> Suite {
        self.own = Some(Own::staged(subject));
        name.clone_into(&mut self.name);
        self
    }

    /// Puts a resource with promises of its own into the cluster, wherever there would be a ledger. It keeps them on the
    /// disk of its [`Site`](crate::Site).
    #[must_use]
    pub fn resource<S: Subject<Service: Resource>>(mut self, name: &str, subject: S) -> Suite {
        self.own = Some(Own::resource(subject));
        name.clone_into(&mut self.name);
        self
    }

    /// How many transactions each seed has; 100 if nothing is said.
    #[must_use]
    pub fn transactions(mut self, transactions: u32) -> Suite {
        self.transactions = transactions;
        self
    }

    /// What to type before `replay --seed 42`, for reports; `cargo sim` if nothing is said.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Suite {
        self.command = command.into();
        self
    }

    /// Runs each of these seeds: a cluster of its own, with faults of its own. The same seed is always the same run.
    pub fn run_seeds(&self, seeds: Range<u64>) -> Report {
        self.run_seeds_and_tell(seeds, |_| {})
    }

    fn run_seeds_and_tell(&self, seeds: Range<u64>, mut tell: impl FnMut(&Report)) -> Report {
        run::catch_panics();
        let mut report = Report::new(self);
        for seed in seeds {
            report.take(run::run(self.plan(seed), false));
            tell(&report);
        }
        report
    }

    /// Runs one seed, and keeps what happened.
    pub fn replay_seed(&self, seed: u64) -> Replay {
        run::catch_panics();
        let plan = self.plan(seed);
        let words = format!(
            "{} random transactions with {}, under these faults: {}.",
            plan.intents,
            self.name,
            plan.faults
                .iter()
                .map(|fault| fault.name())
                .collect::<Vec<_>>()
                .join(", ")
        );
        let verdict = run::run(plan, true);
        let failures = verdict.failure.iter().cloned().collect();
        Replay::new(format!("{}, seed {seed}", self.name), words, verdict, failures)
    }

    /// Runs a scenario's file, and keeps what happened. A failure may be an expectation of the file, too.
    ///
    /// # Errors
    /// The file cannot be read or is no scenario, or the resource has no operation for what it asks for.
    pub fn replay_scenario(&self, file: impl AsRef<Path>) -> anyhow::Result<Replay> {
        run::catch_panics();
        let scenario = Scenario::read(file.as_ref())?;
        if let Some(lack) = self.lack(&scenario) {
            anyhow::bail!("{}: {lack}", file.as_ref().display());
        }
        let (verdict, failures) = self.play(&scenario);
        let name = format!("{}, with {}", scenario.name, self.name);
        Ok(Replay::new(name, scenario.outcome, verdict, failures))
    }

    /// Runs all scenarios of a folder that concern the resource.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn replay_scenarios(&self, folder: impl AsRef<Path>) -> anyhow::Result<Vec<(PathBuf, Played)>> {
        run::catch_panics();
        let mut all = Vec::new();
        for (path, scenario) in Scenario::read_all(folder.as_ref())? {
            let played = match self.lack(&scenario) {
                Some(lack) => Played::LeftOut(lack),
                None => Played::Ran(self.play(&scenario).1),
            };
            all.push((path, played));
        }
        Ok(all)
    }

    fn play(&self, scenario: &Scenario) -> (Verdict, Vec<String>) {
        let mut plan = scenario.clone().plan();
        plan.own.clone_from(&self.own);
        played(scenario, plan)
    }

    fn lack(&self, scenario: &Scenario) -> Option<String> {
        let (plan, intents) = (scenario.clone().plan(), scenario.intents());
        let is_own =
            |intent: &crate::intent::Intent| intent.parts.iter().any(|part| part.participant < plan.ledgers);
        if !intents.iter().any(is_own) {
            return Some("no transaction of it works at a ledger, which the resource stands for".to_owned());
        }
        self.own.as_ref()?.lacks(&plan, &intents)
    }

    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::of(seed, self.transactions);
        plan.own.clone_from(&self.own);
        plan
    }

    fn replay_command(&self, seed: u64) -> String {
        let transactions = match self.transactions {
            TRANSACTIONS => String::new(),
            transactions => format!(" --transactions {transactions}"),
        };
        format!("{} replay --seed {seed}{transactions}", self.command)
    }
}
