//! `docs/FAULTS.md`: each row of the fault list, and what shows that it holds.
//!
//! The rows are `sim-tests/faults.txt`. What shows them is found where it lives: scenarios by their `rows`, transcripts of
//! the core by their first line, tests of real processes by a comment `FAULTS n` or by `sim-tests/fault-tests.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::scenario::Scenario;

/// Rows of the fault list are numbered from 1 to this one.
pub const LAST_ROW: u8 = 76;

const ROWS: &str = "sim-tests/faults.txt";
const TESTS: &str = "sim-tests/fault-tests.txt";
const TRANSCRIPTS: &str = "coordinator/core/tests/transcripts";
const SOURCES: &[&str] = &[
    "coordinator/core",
    "coordinator/src",
    "coordinator/tests",
    "coordinator/wal",
    "participant-sdk/src",
    "participant-sdk/tests",
    "examples",
];
const TABLE: &str = "docs/FAULTS.md";

/// A scenario's file, the scenario, and what is not as expected.
pub type Played = (PathBuf, Scenario, Option<String>);

#[derive(Default)]
struct Shown {
    scenarios: Vec<String>,
    transcripts: Vec<String>,
    tests: Vec<String>,
    failed: bool,
}

/// How a line begins that says what of the row before it is open.
const OPEN: &str = "open: ";

/// Writes the table. The folder that commands run in is the repository's root.
pub fn write(played: &[Played]) -> anyhow::Result<()> {
    let text = table(played)?;
    fs::write(TABLE, text).with_context(|| format!("cannot write {TABLE}"))
}

/// An error names the rows in which the table is not what [`write`] would make of it.
pub fn check(played: &[Played]) -> anyhow::Result<()> {
    let wanted = table(played)?;
    let found = fs::read_to_string(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
    match difference(&found, &wanted) {
        None => Ok(()),
        Some(where_) => anyhow::bail!(
            "{TABLE} is not what the scenarios, transcripts and tests show, {where_}: write it anew with \
             `cargo sim scenarios --write-table`"
        ),
    }
}

/// Where two tables differ.
fn difference(found: &str, wanted: &str) -> Option<String> {
    if found == wanted {
        return None;
    }
    let (found, wanted) = (by_row(found), by_row(wanted));
    let rows: BTreeSet<u8> = found.keys().chain(wanted.keys()).copied().collect();
    let rows: Vec<String> = rows
        .into_iter()
        .filter(|row| found.get(row) != wanted.get(row))
        .map(|row| row.to_string())
        .collect();
    Some(match rows.is_empty() {
        true => "outside of its rows".to_owned(),
        false => format!("in rows {}", rows.join(", ")),
    })
}

fn by_row(table: &str) -> BTreeMap<u8, &str> {
    table
        .lines()
        .filter_map(|line| {
            let number = line.strip_prefix("| ")?.split(' ').next()?;
            Some((number.parse().ok()?, line))
        })
        .collect()
}

fn table(played: &[Played]) -> anyhow::Result<String> {
    let mut shown: BTreeMap<u8, Shown> = BTreeMap::new();
    for (path, scenario, failure) in played {
        for row in &scenario.rows {
            let row = shown.entry(*row).or_default();
            row.scenarios.push(link(&scenario.name, path));
            row.failed |= failure.is_some();
        }
    }
    for path in files(Path::new(TRANSCRIPTS), "txt")? {
        let text = fs::read_to_string(&path)?;
        for row in rows_in(text.lines().next().unwrap_or_default()) {
            shown
                .entry(row)
                .or_default()
                .transcripts
                .push(link(&stem(&path), &path));
        }
    }
    for folder in SOURCES {
        for path in files(Path::new(folder), "rs")? {
            for (row, test) in tests_of(&fs::read_to_string(&path)?) {
                shown.entry(row).or_default().tests.push(link(&test, &path));
            }
        }
    }
    for (row, test, path) in listed()? {
        shown.entry(row).or_default().tests.push(link(&test, &path));
    }
    text(&shown)
}

fn text(shown: &BTreeMap<u8, Shown>) -> anyhow::Result<String> {
    let rows = fs::read_to_string(ROWS).with_context(|| format!("cannot read {ROWS}"))?;
    let mut text = String::from(
        "# What Handfast must survive, and what shows that it does\n\n\
         Written by `cargo sim scenarios --write-table`; change `sim-tests/faults.txt`, the scenarios, the transcripts or \
         the tests instead. A scenario replays with `cargo sim replay sim-tests/scenarios/<name>.toml`.\n",
    );
    let (mut total, mut missing, mut open) = (0, 0, 0);
    let mut body = String::new();
    let mut lines = rows.lines().filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("# ") {
            write!(
                body,
                "\n## {title}\n\n| | fault → the only acceptable result | shown by | last result |\n|---|---|---|---|\n"
            )?;
            continue;
        }
        let (number, fault) = line
            .split_once(' ')
            .with_context(|| format!("{ROWS}: `{line}` has no number"))?;
        let number: u8 = number
            .parse()
            .with_context(|| format!("{ROWS}: `{line}` has no number"))?;
        total += 1;
        anyhow::ensure!(
            number <= LAST_ROW,
            "{ROWS}: `{line}` is behind the last row, {LAST_ROW}"
        );
        let (by, mut result) = match shown.get(&number) {
            Some(shown) => (shown.by(), shown.result().to_owned()),
            None => {
                missing += 1;
                ("**missing**".to_owned(), "—".to_owned())
            }
        };
        if let Some(words) = lines.next_if(|line| line.starts_with(OPEN)) {
            open += 1;
            write!(result, "; **open**: {}", &words[OPEN.len()..])?;
        }
        writeln!(body, "| {number} | {fault} | {by} | {result} |")?;
    }
    let simulated = shown.values().filter(|row| !row.scenarios.is_empty()).count();
    let covered = total - missing - open;
    writeln!(
        text,
        "\n{covered} of {total} rows are shown in full, and {open} in part: what is open stands there. {simulated} rows have \
         scenarios of the simulator.\n{body}"
    )?;
    Ok(text.trim_end().to_owned() + "\n")
}

impl Shown {
    fn by(&self) -> String {
        let kinds = [
            ("scenario", &self.scenarios),
            ("transcript", &self.transcripts),
            ("test", &self.tests),
        ];
        let kinds: Vec<String> = kinds
            .into_iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(kind, all)| format!("{kind}: {}", all.join(", ")))
            .collect();
        kinds.join("; ")
    }

    fn result(&self) -> &'static str {
        match (self.failed, self.scenarios.is_empty()) {
            (true, _) => "**failed**",
            (false, true) => "with the tests",
            (false, false) => "ok",
        }
    }
}

fn link(name: &str, path: &Path) -> String {
    format!("[{name}](../{})", path.display())
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Files of this extension, in order, however deep.
fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}; is this the repository's root?", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The numbers that follow the word FAULTS: `FAULTS 18, 65, DESIGN 10.3` names 18 and 65.
fn rows_in(line: &str) -> Vec<u8> {
    let Some((_, behind)) = line.split_once("FAULTS ") else {
        return Vec::new();
    };
    behind
        .split([',', ':'])
        .map_while(|word| word.trim().trim_end_matches('.').parse().ok())
        .collect()
}

/// Tests with a comment that names rows, just before them.
fn tests_of(source: &str) -> Vec<(u8, String)> {
    let mut rows = Vec::new();
    let mut tests = Vec::new();
    for line in source.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            rows.extend(rows_in(line));
        } else if let Some(name) = line
            .strip_prefix("async fn ")
            .or_else(|| line.strip_prefix("fn "))
        {
            let name = name.split(['(', '<']).next().unwrap_or_default();
            tests.extend(rows.drain(..).map(|row| (row, name.to_owned())));
        } else if !line.starts_with('#') {
            rows.clear();
        }
    }
    tests
}

/// A test is a function, or a line `name: …` of a macro that makes functions.
fn has_test(source: &str, test: &str) -> bool {
    let (function, listed) = (format!("fn {test}("), format!("{test}:"));
    source.contains(&function) || source.lines().any(|line| line.trim_start().starts_with(&listed))
}

/// Lines `row test file`, kept by hand for tests that do not say it themselves.
fn listed() -> anyhow::Result<Vec<(u8, String, PathBuf)>> {
    let text = fs::read_to_string(TESTS).with_context(|| format!("cannot read {TESTS}"))?;
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (row, test, path) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        Some((row, test.to_owned(), PathBuf::from(path)))
    };
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut listed = Vec::new();
    for line in lines {
        let (row, test, path) =
            parse(line).with_context(|| format!("{TESTS}: `{line}` is not `row test file`"))?;
        let source =
            fs::read_to_string(&path).with_context(|| format!("{TESTS}: there is no {}", path.display()))?;
        anyhow::ensure!(
            has_test(&source, &test),
            "{TESTS}: there is no test {test} in {}",
            path.display()
        );
        listed.push((row, test, path));
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::difference;

    const TABLE: &str = "# Head\n\n| 1 | a | b | ok |\n| 2 | c | d | ok |\n";

    #[test]
    fn the_rows_that_differ_are_named() {
        assert_eq!(difference(TABLE, TABLE), None);
        let stale = TABLE.replace("| d |", "| e |");
        assert_eq!(difference(&stale, TABLE).as_deref(), Some("in rows 2"));
        let shorter = TABLE.replace("| 1 | a | b | ok |\n", "");
        assert_eq!(difference(&shorter, TABLE).as_deref(), Some("in rows 1"));
        let head = TABLE.replace("Head", "Heap");
        assert_eq!(difference(&head, TABLE).as_deref(), Some("outside of its rows"));
    }
}
