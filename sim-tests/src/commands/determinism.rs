//! `cargo sim determinism`

use std::collections::BTreeMap;

use clap::Args;
use indicatif::ProgressBar;

use super::run::spread;

use crate::say::say;

/// Run every seed twice, in different processes and behind different seeds, and compare what happened.
#[derive(Args, Clone, Debug)]
pub struct Determinism {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_parser = crate::seeds::parse)]
    from: u64,
    /// Transactions of each seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
}

impl Determinism {
    /// Runs them. An error if two runs of a seed differ.
    pub fn run(&self) -> anyhow::Result<()> {
        let progress = ProgressBar::new(2 * self.seeds);
        let hashes = |jobs| -> anyhow::Result<BTreeMap<u64, (u64, u64)>> {
            let findings = spread(self.from, self.seeds, Some(jobs), self.transactions, |_| {
                progress.inc(1)
            })?;
            Ok(findings
                .lines
                .into_iter()
                .map(|line| (line.seed, (line.hash, line.events)))
                .collect())
        };
        let (first, second) = (hashes(2)?, hashes(3)?);
        progress.finish_and_clear();
        let differ: Vec<u64> = first
            .iter()
            .filter(|(seed, hash)| second.get(seed) != Some(hash))
            .map(|(seed, _)| *seed)
            .collect();
        say!("{} seeds ran twice, {} differ", first.len(), differ.len());
        anyhow::ensure!(differ.is_empty(), "these seeds do not replay: {differ:?}");
        Ok(())
    }
}
