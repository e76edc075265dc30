//! `cargo sim mutants`: is the checker awake?
//!
//! A mutant is a bug planted by a small patch of `sim-tests/mutants`, in a copy of the tree and never in the tree itself.
//!
//! ```text
//!   tree ──copy──► target/mutants/tree ──┬─ apply ─► build ─► scenarios ─► seeds ─┐
//!                                        └──────────────── revert ◄───────────────┘──► table
//! ```
//!
//! The copy is built and run without any mutant first: what fails there would be taken for a catch.

mod patch;
mod report;
mod scratch;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use patch::Patch;
use scratch::Scratch;
use trial::{Finding, Program};

use crate::say::say;

/// Seeds that must come out well without a mutant.
const BASE_SEEDS: u64 = 20;

/// Plant each known bug in a copy of the tree, and say which scenario and which seed catch it.
#[derive(Args, Clone, Debug)]
pub struct Mutants {
    /// Only those whose name contains one of these.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Seeds that each mutant is run with, until one catches it.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// Run no seeds for a mutant that a scenario has caught.
    #[arg(long)]
    first: bool,
    /// Where the patches are.
    #[arg(long, default_value = "sim-tests/mutants")]
    folder: PathBuf,
    /// Leave the copy and its build in target/mutants; the next run builds only what has changed.
    #[arg(long)]
    keep: bool,
    /// Say what each mutant breaks, and run nothing.
    #[arg(long)]
    list: bool,
    /// Only see whether every patch still applies.
    #[arg(long, conflicts_with = "list")]
    check: bool,
    /// Write docs/MUTANTS.md: each mutant, and what catches it. With --only, the rows of the others stay.
    #[arg(long, conflicts_with_all = ["first", "list", "check"])]
    write_table: bool,
}

/// What became of a mutant.
#[derive(Debug)]
struct Tried {
    patch: Patch,
    result: Result<Findings, String>,
    took: Duration,
}

/// What has shown a mutant.
#[derive(Debug)]
struct Findings {
    scenario: Finding,
    /// `None` if no seed was run.
    seed: Option<Finding>,
}

impl Findings {
    fn is_caught(&self) -> bool {
        self.scenario.is_caught() || self.seed.as_ref().is_some_and(Finding::is_caught)
    }
}

impl Mutants {
    /// Runs them. An error if one is not caught, or cannot be tried.
    pub fn run(&self) -> anyhow::Result<()> {
        let patches = self.wanted()?;
        if self.list {
            say!("{}", report::list(&patches));
            return Ok(());
        }
        if self.check {
            return check(&patches);
        }
        let scratch = Scratch::copy(Path::new("."))?;
        let tried = self.try_all(&scratch, patches);
        if !self.keep {
            scratch.remove()?;
        }
        let tried = tried?;
        say!("{}", report::table(&tried));
        let is_caught = |tried: &&Tried| tried.result.as_ref().is_ok_and(Findings::is_caught);
        let caught = tried.iter().filter(is_caught).count();
        say!("{} mutants, {caught} caught", tried.len());
        if self.write_table {
            report::write(&tried, &Patch::read_all(&self.folder)?)?;
        }
        let escaped: Vec<_> = tried.iter().filter(|tried| !is_caught(tried)).collect();
        let names: Vec<_> = escaped.iter().map(|tried| tried.patch.name.as_str()).collect();
        anyhow::ensure!(names.is_empty(), "not caught: {}", names.join(", "));
        Ok(())
    }

    fn wanted(&self) -> anyhow::Result<Vec<Patch>> {
        let all = Patch::read_all(&self.folder)?;
        for wanted in &self.only {
            anyhow::ensure!(
                all.iter().any(|patch| patch.name.contains(wanted)),
                "no mutant is named like {wanted}; see them with --list"
            );
        }
        let is_wanted = |patch: &Patch| {
            self.only.is_empty() || self.only.iter().any(|wanted| patch.name.contains(wanted))
        };
        Ok(all.into_iter().filter(is_wanted).collect())
    }

    fn try_all(&self, scratch: &Scratch, patches: Vec<Patch>) -> anyhow::Result<Vec<Tried>> {
        say!("building the copy without a mutant");
        scratch
            .build()?
            .map_err(|words| anyhow::anyhow!("the tree does not build without a mutant:\n{words}"))?;
        let program = Program::of(scratch);
        for finding in [program.scenarios()?, program.seeds(BASE_SEEDS)?] {
            anyhow::ensure!(
                finding == Finding::Nothing,
                "without a mutant there must be nothing to catch: {finding}"
            );
        }
        let count = patches.len();
        let tried = patches.into_iter().enumerate().map(|(index, patch)| {
            let tried = self.try_one(scratch, &program, patch)?;
            say!("{:>3}/{count}  {}", index + 1, report::line(&tried));
            Ok(tried)
        });
        tried.collect()
    }

    #[allow(clippy::disallowed_methods)] // how long it really took
    fn try_one(&self, scratch: &Scratch, program: &Program, patch: Patch) -> anyhow::Result<Tried> {
        let begun = std::time::Instant::now();
        let planted = scratch.plant(&patch)?;
        let result = match planted {
            Ok(()) => scratch
                .build()?
                .map_err(|words| format!("does not build: {words}")),
            Err(words) => Err(format!("does not apply: {words}")),
        };
        let result = match result {
            Ok(()) => Ok(self.look(program)?),
            Err(words) => Err(words),
        };
        scratch.revert(&patch)?;
        Ok(Tried {
            patch,
            result,
            took: begun.elapsed(),
        })
    }

    fn look(&self, program: &Program) -> anyhow::Result<Findings> {
        let scenario = program.scenarios()?;
        let is_enough = self.first && scenario.is_caught();
        let seed = match is_enough {
            true => None,
            false => Some(program.seeds(self.seeds)?),
        };
        Ok(Findings { scenario, seed })
    }
}

fn check(patches: &[Patch]) -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for patch in patches {
        if let Err(words) = scratch::applies(patch)? {
            say!("{}: {words}", patch.name);
            broken.push(patch.name.as_str());
        }
    }
    say!(
        "{} mutants, {} apply",
        patches.len(),
        patches.len() - broken.len()
    );
    anyhow::ensure!(
        broken.is_empty(),
        "these do not apply any more: {}; write them anew against the code as it is, or say why they cannot be",
        broken.join(", ")
    );
    Ok(())
}
