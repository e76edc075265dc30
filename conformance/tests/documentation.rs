//! Every case points to a rule that stands in the documentation, and every rule there is tried.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use handfast_conformance::{Case, GROUPS};

fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(document);
    std::fs::read_to_string(path).unwrap()
}

fn cases() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|group| group.cases)
}

/// What a link to a heading looks like.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|it| it.is_alphanumeric() || *it == '-')
        .collect()
}

#[test]
fn rules_and_cases_know_each_other() {
    let guide = read("guide/another-language.md");
    let rules = guide
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(anchor);
    let written: BTreeSet<String> = rules.collect();
    let tried: BTreeSet<String> = cases().map(|case| case.rule.to_owned()).collect();
    assert_eq!(written, tried);
}

#[test]
fn rows_of_the_fault_table_are_there() {
    let table = read("FAULTS.md");
    for case in cases() {
        for row in case.faults {
            assert!(
                table.contains(&format!("\n| {row} |")),
                "{}: there is no row {row}",
                case.name
            );
        }
    }
}

#[test]
fn names_are_given_once() {
    let groups: BTreeSet<&str> = GROUPS.iter().map(|group| group.name).collect();
    let names: Vec<&str> = cases().map(|case| case.name).collect();
    let once: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!((names.len(), groups.len()), (once.len(), GROUPS.len()));
    assert!(groups.is_disjoint(&once), "--only takes both");
    for name in names {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{name}"
        );
    }
}
