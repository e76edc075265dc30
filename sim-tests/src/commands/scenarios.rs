//! `cargo sim scenarios`

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Table, presets};

use crate::run::{self, Verdict};
use crate::say::say;
use crate::scenario::{Scenario, played};
use crate::table;

/// Run all named scenarios, and say which row of the fault list each shows and whether it holds.
#[derive(Args, Clone, Debug)]
pub struct Scenarios {
    /// Only those whose name or file contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Where they are.
    #[arg(long, default_value = "sim-tests/scenarios")]
    folder: PathBuf,
    /// Write docs/FAULTS.md: each row, and what shows it.
    #[arg(long, conflicts_with = "filter")]
    write_table: bool,
    /// Fail if docs/FAULTS.md is not what --write-table would write, and name the rows.
    #[arg(long, conflicts_with_all = ["filter", "write_table"])]
    check_table: bool,
    /// Print a line when each begins, and one when it has failed: what `mutants` reads.
    #[arg(long, hide = true)]
    lines: bool,
}

impl Scenarios {
    /// Runs them. An error if one does not come out as expected.
    pub fn run(&self) -> anyhow::Result<()> {
        run::catch_panics();
        let mut shown = Table::new();
        shown.load_preset(presets::NOTHING);
        shown.set_header(["rows", "scenario", "result"]);
        let mut results = Vec::new();
        let all = Scenario::read_all(&self.folder)?;
        anyhow::ensure!(
            !all.is_empty(),
            "there is no scenario (*.toml) in {}",
            self.folder.display()
        );
        for (path, scenario) in all {
            let is_wanted = |filter: &String| {
                scenario.name.contains(filter.as_str()) || path.to_string_lossy().contains(filter.as_str())
            };
            if !self.filter.as_ref().is_none_or(is_wanted) {
                continue;
            }
            let file = path.file_stem().unwrap_or_default().to_string_lossy();
            if self.lines {
                say!("begin {file}");
            }
            let failure = play(&scenario, false).1;
            if let (true, Some(failure)) = (self.lines, &failure) {
                say!("failed {file} {}", failure.replace('\n', " "));
            }
            let rows: Vec<String> = scenario.rows.iter().map(ToString::to_string).collect();
            let words = failure.as_deref().unwrap_or("ok").to_owned();
            shown.add_row([rows.join(", "), scenario.name.clone(), words]);
            results.push((path, scenario, failure));
        }
        if let (true, Some(filter)) = (results.is_empty(), &self.filter) {
            anyhow::bail!(
                "no scenario in {} has `{filter}` in its name or file; without --filter, all are run and named",
                self.folder.display()
            );
        }
        say!("{shown}");
        let failed = results.iter().filter(|(_, _, failure)| failure.is_some()).count();
        say!("{} scenarios, {failed} failed", results.len());
        if self.write_table {
            table::write(&results)?;
        }
        anyhow::ensure!(failed == 0, "{failed} of {} scenarios failed", results.len());
        match self.check_table {
            true => table::check(&results),
            false => Ok(()),
        }
    }
}

/// Runs a scenario: what happened, and what is not as it should be.
pub(super) fn play(scenario: &Scenario, tells_all: bool) -> (Verdict, Option<String>) {
    let (verdict, mut failures) = played(scenario, scenario.clone().plan());
    if !tells_all {
        failures.truncate(1);
    }
    let failure = (!failures.is_empty()).then(|| failures.join("\n"));
    (verdict, failure)
}
