//! What is told of mutants: lines and a table for the terminal, and `docs/MUTANTS.md`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use comfy_table::{Table, presets};

use super::patch::Patch;
use super::trial::Finding;
use super::{Findings, Tried};

use crate::say::say;

const TABLE: &str = "docs/MUTANTS.md";

/// In place of a scenario or a seed.
const NONE: &str = "none";
const NOT_RUN: &str = "not run";

/// So much of a verdict fits into a table.
const WORDS: usize = 110;

pub(super) fn list(patches: &[Patch]) -> Table {
    let mut table = plain(&["mutant", "rule that it breaks", "rows"]);
    for patch in patches {
        table.add_row([&patch.name, &patch.rule, &patch.rows]);
    }
    table
}

pub(super) fn line(tried: &Tried) -> String {
    let seconds = tried.took.as_secs_f64();
    let [scenario, seed, how] = cells(tried);
    format!(
        "{:44} {seconds:6.1} s  scenario {scenario}, seed {seed}: {how}",
        tried.patch.name
    )
}

pub(super) fn table(tried: &[Tried]) -> Table {
    let mut table = plain(&["mutant", "scenario", "seed", "as", "seconds"]);
    for one in tried {
        let [scenario, seed, how] = cells(one);
        let seconds = format!("{:.1}", one.took.as_secs_f64());
        table.add_row([one.patch.name.clone(), scenario, seed, how, seconds]);
    }
    table
}

/// Writes the page: what was tried now, and the rest as it stood. The folder that commands run in is the root of the
/// workspace.
pub(super) fn write(tried: &[Tried], all: &[Patch]) -> anyhow::Result<()> {
    let before = fs::read_to_string(TABLE).unwrap_or_default();
    let now = |patch: &Patch| {
        tried
            .iter()
            .find(|tried| tried.patch.name == patch.name)
            .map(cells)
    };
    let rows: Vec<(&Patch, [String; 3])> = all
        .iter()
        .map(|patch| {
            let found = now(patch).or_else(|| stood(&before, patch));
            (
                patch,
                found.unwrap_or_else(|| [NOT_RUN.to_owned(), NOT_RUN.to_owned(), String::new()]),
            )
        })
        .collect();
    let is_caught = |cell: &String| ![NONE, NOT_RUN].contains(&cell.as_str());
    let count = |is: &dyn Fn(&[String; 3]) -> bool| rows.iter().filter(|(_, cells)| is(cells)).count();
    let mut page = format!(
        "# Planted bugs, and what catches them\n\n\
         Written by `cargo sim mutants --write-table`; change the patches of `sim-tests/mutants` instead. Each is applied to a \
         copy of the tree, and the simulator that is built from it plays the named scenarios and then random seeds from 0 \
         on, each to the first that shows it. How it works is told in [Simulation](SIMULATION.md#mutants).\n\n\
         Of {} mutants, {} are caught by a scenario, {} by a random seed, and {} by either.\n\n\
         | mutant | rule that it breaks | rows | scenario | seed | shown as |\n|---|---|---|---|---|---|\n",
        rows.len(),
        count(&|[scenario, ..]| is_caught(scenario)),
        count(&|[_, seed, _]| is_caught(seed)),
        count(&|[scenario, seed, _]| is_caught(scenario) || is_caught(seed)),
    );
    for (patch, cells) in &rows {
        let [scenario, seed, how] = cells.each_ref().map(|cell| cell.replace('|', "\\|"));
        let Patch { rule, rows, .. } = patch;
        writeln!(
            page,
            "| {} | {rule} | {rows} | {scenario} | {seed} | {how} |",
            link(patch)
        )?;
    }
    fs::write(TABLE, page).with_context(|| format!("cannot write {TABLE}"))?;
    say!("written: {TABLE}");
    Ok(())
}

fn link(patch: &Patch) -> String {
    format!("[{}](../{})", patch.name, patch.path.display())
}

/// The last three cells of a mutant's row in the page as it is.
fn stood(page: &str, patch: &Patch) -> Option<[String; 3]> {
    let start = format!("| {} |", link(patch));
    let row = page.lines().find(|line| line.starts_with(&start))?;
    let cells: Vec<&str> = row.trim_end_matches(" |").rsplitn(4, " | ").collect();
    let [how, seed, scenario, _] = cells.as_slice() else {
        return None;
    };
    Some([scenario, seed, how].map(|cell| cell.replace("\\|", "|")))
}

/// The scenario, the seed, and what the first of them says.
fn cells(tried: &Tried) -> [String; 3] {
    match &tried.result {
        Err(words) => [NONE.to_owned(), NONE.to_owned(), cut(words)],
        Ok(Findings { scenario, seed }) => {
            let both = [Some(scenario), seed.as_ref()];
            let how = both.iter().flatten().find_map(|finding| match finding {
                Finding::Caught { how, .. } => Some(cut(how)),
                Finding::Died { by } => Some(format!("NOT CAUGHT: the simulator died at {by}")),
                Finding::Nothing => None,
            });
            let how = how.unwrap_or_else(|| "NOT CAUGHT".to_owned());
            [by(Some(scenario)), by(seed.as_ref()), how]
        }
    }
}

fn by(finding: Option<&Finding>) -> String {
    match finding {
        None => NOT_RUN.to_owned(),
        Some(Finding::Nothing) => NONE.to_owned(),
        Some(Finding::Caught { by, .. }) => by.clone(),
        // Not a catch: nobody has noticed anything.
        Some(Finding::Died { .. }) => NONE.to_owned(),
    }
}

fn cut(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let words = words.join(" ");
    match words.char_indices().nth(WORDS) {
        None => words,
        Some((end, _)) => format!("{} …", words[..end].trim_end()),
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    table
}
