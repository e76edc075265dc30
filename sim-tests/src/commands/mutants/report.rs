//! What is told of mutants: lines and a table for the terminal, and `docs/MUTANTS.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Table, presets};

use super::patch::Patch;
use super::trial::Finding;
use super::{Findings, Tried};

const TABLE: &str = "docs/MUTANTS.md";

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

/// Writes the page. The folder that commands run in is the root of the workspace.
pub(super) fn write(tried: &[Tried], seeds: u64) -> anyhow::Result<()> {
    let caught = |is: fn(&Findings) -> bool| {
        tried
            .iter()
            .filter(|tried| tried.result.as_ref().is_ok_and(is))
            .count()
    };
    let by_scenarios = caught(|findings| findings.scenario.is_caught());
    let by_seeds = caught(|findings| findings.seed.as_ref().is_some_and(Finding::is_caught));
    let mut page = format!(
        "# Planted bugs, and what catches them\n\n\
         Written by `cargo sim mutants --write-table`; change the patches of `sim-tests/mutants` instead. Each is applied to a \
         copy of the tree, and the simulator that is built from it plays all named scenarios and then up to {seeds} random \
         seeds, to the first that shows it. How it works is told in [Simulation](SIMULATION.md#mutants).\n\n\
         Of {} mutants, {by_scenarios} are caught by a scenario, {by_seeds} by a random seed, and {} by either.\n\n\
         | mutant | rule that it breaks | rows | scenario | seed | shown as |\n|---|---|---|---|---|---|\n",
        tried.len(),
        caught(Findings::is_caught),
    );
    for one in tried {
        let Patch {
            name,
            path,
            rule,
            rows,
            ..
        } = &one.patch;
        let [scenario, seed, how] = cells(one).map(|cell| cell.replace('|', "\\|"));
        let path = path.display();
        writeln!(
            page,
            "| [{name}](../{path}) | {rule} | {rows} | {scenario} | {seed} | {how} |"
        )?;
    }
    fs::write(Path::new(TABLE), page).with_context(|| format!("cannot write {TABLE}"))?;
    println!("written: {TABLE}");
    Ok(())
}

/// The scenario, the seed, and what the first of them says.
fn cells(tried: &Tried) -> [String; 3] {
    match &tried.result {
        Err(words) => ["-".to_owned(), "-".to_owned(), cut(words)],
        Ok(Findings { scenario, seed }) => {
            let both = [Some(scenario), seed.as_ref()];
            let how = both.iter().flatten().find_map(|finding| match finding {
                Finding::Caught { how, .. } => Some(cut(how)),
                _ => None,
            });
            let how = how.unwrap_or_else(|| "NOT CAUGHT".to_owned());
            [by(Some(scenario)), by(seed.as_ref()), how]
        }
    }
}

fn by(finding: Option<&Finding>) -> String {
    match finding {
        None => "not run".to_owned(),
        Some(Finding::Nothing) => "none".to_owned(),
        Some(Finding::Caught { by, .. }) => by.clone(),
        Some(Finding::Died { by }) => format!("died at {by}"),
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
