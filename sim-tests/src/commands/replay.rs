//! `cargo sim replay`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::scenarios::play;
use crate::plan::Plan;
use crate::run::{self, Verdict};
use crate::say::say;
use crate::scenario::Scenario;
use crate::shrink::Shrunk;
use crate::timeline::html;
use crate::trace::{Event, Message};

/// Run one seed, scenario or shrunk seed, and print what happened, in order.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// A scenario's file, or what `shrink` has written.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// Which seed.
    #[arg(long, value_parser = crate::seeds::parse)]
    seed: Option<u64>,
    /// Transactions of the seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
    /// Only lines that contain this, such as an id or `p1`.
    #[arg(long)]
    only: Option<String>,
    /// Heartbeats too.
    #[arg(long)]
    all: bool,
    /// Write what happened to this file too, as a page to look at in a browser.
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Replay {
    /// Runs it. An error if a property or an expectation does not hold.
    pub fn run(&self) -> anyhow::Result<()> {
        run::catch_panics();
        let (title, verdict, failure) = self.replay()?;
        for (at, event) in &verdict.lines {
            let is_heartbeat = matches!(
                event,
                Event::Message(_, _, Message::Durable { .. } | Message::ScanComplete)
            );
            if is_heartbeat && !self.all {
                continue;
            }
            let line = format!("{:>10.4}s  {event}", at.as_secs_f64());
            if self.only.as_ref().is_none_or(|only| line.contains(only)) {
                say!("{line}");
            }
        }
        say!(
            "{}: {} events, hash {:016x}",
            title.name,
            verdict.events,
            verdict.hash
        );
        if let Some(file) = &self.html {
            let page = html::page(&title, &verdict.lines, failure.as_deref());
            std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
            say!("written: {}", file.display());
        }
        match failure {
            None => Ok(()),
            Some(failure) => anyhow::bail!("{failure}"),
        }
    }

    fn replay(&self) -> anyhow::Result<(html::Title, Verdict, Option<String>)> {
        let (name, plan) = match (&self.file, self.seed) {
            (Some(file), _) if Shrunk::is_one(file) => (stem(file), Shrunk::read(file)?.plan()),
            (Some(file), _) => {
                let scenario = Scenario::read(file)?;
                say!("{}\nexpected: {}", scenario.name, scenario.outcome);
                let title = html::Title {
                    name: scenario.name.clone(),
                    words: scenario.outcome.clone(),
                };
                let (verdict, failure) = play(&scenario, true);
                return Ok((title, verdict, failure));
            }
            (None, seed) => {
                let seed = seed.context("neither a file nor a seed is given")?;
                (format!("seed {seed}"), Plan::of(seed, self.transactions))
            }
        };
        say!("{plan:#?}");
        let words = format!("{} transactions at random", plan.intents);
        let verdict = run::run(plan, true);
        let failure = verdict.failure.clone();
        Ok((html::Title { name, words }, verdict, failure))
    }
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem();
    stem.map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}
