//! `cargo sim shrink`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;

use crate::say::say;
use crate::{run, shrink};

/// Find the smallest part of a failing seed that still fails, and write it to a file that replays.
#[derive(Args, Clone, Debug)]
pub struct Shrink {
    /// Which seed.
    #[arg(long, value_parser = crate::seeds::parse)]
    seed: u64,
    /// Transactions of the seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
    /// Where it is written; `target/sim/seed-<seed>.toml` if it is not given.
    #[arg(long)]
    output: Option<PathBuf>,
}

impl Shrink {
    /// Shrinks it. An error if the seed does not fail.
    pub fn run(&self) -> anyhow::Result<()> {
        run::catch_panics();
        let progress = ProgressBar::new_spinner();
        let shrunk = shrink::shrink(self.seed, self.transactions, |parts| {
            progress.set_message(format!("{parts} transactions, faults and strokes are left"));
            progress.tick();
        });
        progress.finish_and_clear();
        let shrunk = shrunk.with_context(|| format!("seed {} does not fail", self.seed))?;
        let default = || PathBuf::from(format!("target/sim/seed-{}.toml", self.seed));
        let file = self.output.clone().unwrap_or_else(default);
        std::fs::write(&file, toml::to_string(&shrunk)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        say!("{}", shrunk.failure);
        say!(
            "with {} transactions and these faults: {}",
            self.transactions as usize - shrunk.left_out.len(),
            shrunk.faults.join(", ")
        );
        say!("    cargo sim replay {}", file.display());
        Ok(())
    }
}
