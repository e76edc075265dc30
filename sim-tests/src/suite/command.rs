//! A command line for a suite: `run`, `replay`, `scenarios`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Played, Suite, TRANSACTIONS};
use crate::say::say;
use crate::seeds;

/// What to do with a suite; to be flattened into a program's own command line.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Run many seeds, each a cluster of its own with its own faults, and say which properties did not hold
    Run {
        /// How many seeds
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first one
        #[arg(long, default_value_t = 0, value_parser = seeds::parse)]
        from: u64,
        /// Transactions of each seed
        #[arg(long, default_value_t = TRANSACTIONS)]
        transactions: u32,
    },
    /// Run one seed or scenario, and print what happened, in order
    Replay {
        /// A scenario's file
        #[arg(required_unless_present = "seed", conflicts_with = "seed")]
        file: Option<PathBuf>,
        /// Which seed
        #[arg(long, value_parser = seeds::parse)]
        seed: Option<u64>,
        /// Transactions of the seed
        #[arg(long, default_value_t = TRANSACTIONS)]
        transactions: u32,
        /// Only lines that contain this, such as `t12` or `p1`
        #[arg(long)]
        only: Option<String>,
        /// Write what happened to this file too, as a page to look at in a browser
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Run all scenarios that concern the resource, and say which do not come out as they expect
    Scenarios {
        /// Where they are
        #[arg(long, default_value = "sim-tests/scenarios")]
        folder: PathBuf,
    },
}

impl Suite {
    /// Does what the command line says, and prints what comes of it.
    ///
    /// # Errors
    /// A property or an expectation does not hold, or a file cannot be read or written.
    pub fn execute(self, command: &Command) -> anyhow::Result<()> {
        match command {
            Command::Run {
                seeds,
                from,
                transactions,
            } => self.transactions(*transactions).run_and_print(*from, *seeds),
            Command::Replay {
                file,
                seed,
                transactions,
                only,
                html,
            } => {
                let suite = self.transactions(*transactions);
                let replay = match (file, seed) {
                    (Some(file), _) => suite.replay_scenario(file)?,
                    (None, seed) => suite.replay_seed(seed.context("neither a file nor a seed is given")?),
                };
                for line in replay.timeline().lines() {
                    if only.as_ref().is_none_or(|only| line.contains(only)) {
                        say!("{line}");
                    }
                }
                if let Some(file) = html {
                    std::fs::write(file, replay.html())
                        .with_context(|| format!("cannot write {}", file.display()))?;
                    say!("written: {}", file.display());
                }
                anyhow::ensure!(replay.failures().is_empty(), "{}", replay.failures().join("\n"));
                Ok(())
            }
            Command::Scenarios { folder } => self.play_and_print(folder),
        }
    }

    fn run_and_print(&self, from: u64, seeds: u64) -> anyhow::Result<()> {
        let progress = ProgressBar::new(seeds).with_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} seeds, {per_sec}, {msg} failed, {eta} left",
        )?);
        let report = self.run_seeds_and_tell(seeds::range(from, seeds)?, |report| {
            progress.set_message(report.failures.len().to_string());
            progress.inc(1);
        });
        progress.finish_and_clear();
        say!("{report}");
        let failed = report.failures.len();
        anyhow::ensure!(report.is_clean(), "{failed} of {seeds} seeds failed");
        Ok(())
    }

    fn play_and_print(&self, folder: &PathBuf) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let (mut ran, mut failed, mut left_out) = (0, 0, 0);
        for (path, played) in self.replay_scenarios(folder)? {
            let name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            match played {
                Played::LeftOut(_) => left_out += 1,
                Played::Ran(failures) => {
                    ran += 1;
                    failed += usize::from(!failures.is_empty());
                    let result = failures.first().map_or("ok", String::as_str);
                    table.add_row([&name, result]);
                }
            }
        }
        say!(
            "{table}\n{ran} scenarios, {failed} failed; {left_out} do not concern {}",
            self.name
        );
        anyhow::ensure!(failed == 0, "{failed} of {ran} scenarios failed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Command;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn what_is_no_seed_is_refused_with_what_is() {
        for arguments in [["own", "run", "--from", "x1"], ["own", "replay", "--seed", "x1"]] {
            let error = Cli::try_parse_from(arguments).unwrap_err().to_string();
            assert!(
                error.contains("from 0 to 18446744073709551615"),
                "{arguments:?}: {error}"
            );
        }
    }
}
