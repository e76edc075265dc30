//! Printing: tables for people, JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use handfast_proto::v1;
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Prints text to standard output. A reader that has gone away is no error.
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Kind::Internal,
            format!("the output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub fn print_json(value: &Value) -> Result<(), Error> {
    print(&format!("{value:#}"))
}

/// Prints rows below a header; words if there are none.
pub fn print_table(header: &[&str], rows: Vec<Vec<String>>, none: &str) -> Result<(), Error> {
    if rows.is_empty() {
        return print(none);
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header).add_rows(rows);
    print(&table.trim_fmt())
}

/// Milliseconds for people.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// An enum value without its prefix, in small letters: `OUTCOME_COMMITTED` becomes `committed`.
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// A state as a word.
pub fn state(transaction: &v1::Transaction) -> String {
    word(transaction.state().as_str_name(), "TRANSACTION_STATE_")
}

/// An outcome as a word; nothing while there is none.
pub fn outcome(transaction: &v1::Transaction) -> String {
    match transaction.outcome() {
        v1::Outcome::Unspecified => String::new(),
        outcome => word(outcome.as_str_name(), "OUTCOME_"),
    }
}

/// A branch's state as a word.
pub fn branch_state(branch: &v1::Branch) -> String {
    word(branch.state().as_str_name(), "BRANCH_STATE_")
}

/// A transaction for programs.
pub fn transaction_json(transaction: &v1::Transaction) -> Value {
    let branches = transaction.branches.iter().map(|branch| {
        json!({
            "branch": branch.branch,
            "resource": branch.resource,
            "state": branch_state(branch),
            "connected": branch.connected,
        })
    });
    let evidence = transaction.evidence.iter().map(|evidence| {
        json!({
            "resource": evidence.resource,
            "branch": evidence.branch,
            "kind": evidence.kind,
            "message": evidence.message,
        })
    });
    json!({
        "transaction_id": transaction.transaction_id,
        "state": state(transaction),
        "outcome": outcome(transaction),
        "reason": transaction.reason,
        "message": transaction.message,
        "key": transaction.key,
        "age_ms": transaction.age_ms,
        "branches": branches.collect::<Vec<_>>(),
        "evidence": evidence.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let texts: Vec<_> = [0, 999, 1_500, 61_000, 3_600_000, 90_000_000]
            .map(duration)
            .into();
        assert_eq!(texts, ["0ms", "999ms", "1.5s", "1m01s", "1h00m", "1d01h"]);
    }
}
