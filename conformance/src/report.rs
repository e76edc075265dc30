//! What was tried, what is right, what is wrong and why it matters.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::Case;

/// What a case came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Everything is as it must be.
    Right,
    /// What could be looked at is as it must be, and something could not.
    Partly,
    /// The participant does what it must not do, or does not do what it must.
    Wrong,
    /// It was not tried.
    NotChecked,
}

impl Verdict {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Partly => "partly checked",
            Verdict::Wrong => "WRONG",
            Verdict::NotChecked => "not checked",
        }
    }
}

/// A case that was tried, or was not.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The group that it is in.
    pub group: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it checks.
    pub checks: &'static str,
    /// What happens to people if this is wrong.
    pub why: &'static str,
    /// Where the rule stands in the documentation.
    pub rule: String,
    /// What it came to.
    pub verdict: Verdict,
    /// For a wrong one what was seen; for one that was not or not wholly checked what to give so that it is.
    pub words: String,
    /// How long it took.
    pub took: Duration,
}

/// Everything that was tried.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which participant: its name.
    pub resource: String,
    /// How it was started.
    pub exec: String,
    /// In the order in which they were tried.
    pub cases: Vec<CaseReport>,
}

impl CaseReport {
    pub(crate) fn new(
        group: &'static str,
        case: &'static Case,
        verdict: Verdict,
        words: String,
        took: Duration,
    ) -> Self {
        CaseReport {
            group,
            name: case.name,
            checks: case.checks,
            why: case.why,
            rule: case.reference(),
            verdict,
            words,
            took,
        }
    }
}

impl Report {
    /// Whether nothing is wrong. What was not checked is not wrong, and not right either.
    pub fn is_right(&self) -> bool {
        self.count(Verdict::Wrong) == 0
    }

    /// How many cases came to this.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// The names of the cases that came to this.
    pub fn names(&self, verdict: Verdict) -> Vec<&'static str> {
        let named = self.cases.iter().filter(|case| case.verdict == verdict);
        named.map(|case| case.name).collect()
    }

    /// The last line: how many are right, wrong, and not checked.
    pub fn summary(&self) -> String {
        let count = |verdict: Verdict| format!("{} {}", self.count(verdict), verdict.as_str().to_lowercase());
        [
            Verdict::Right,
            Verdict::Wrong,
            Verdict::Partly,
            Verdict::NotChecked,
        ]
        .map(count)
        .join(", ")
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let case = |case: &CaseReport| {
            json!({
                "group": case.group,
                "name": case.name,
                "checks": case.checks,
                "verdict": case.verdict.as_str().to_lowercase().replace(' ', "_"),
                "words": case.words,
                "why": case.why,
                "rule": case.rule,
                "took_ms": u64::try_from(case.took.as_millis()).unwrap_or(u64::MAX),
            })
        };
        json!({
            "resource": self.resource,
            "exec": self.exec,
            "right": self.count(Verdict::Right),
            "wrong": self.count(Verdict::Wrong),
            "partly_checked": self.count(Verdict::Partly),
            "not_checked": self.count(Verdict::NotChecked),
            "cases": self.cases.iter().map(case).collect::<Vec<_>>(),
        })
    }
}

/// One line; a wrong case has more, which say what was seen, why it matters, and where the rule stands.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.verdict.as_str();
        write!(
            f,
            "  {verdict:<14}  {}/{}: {}",
            self.group, self.name, self.checks
        )?;
        match self.verdict {
            Verdict::Right => Ok(()),
            Verdict::Partly | Verdict::NotChecked => {
                write!(f, "\n                  not checked: {}", self.words)
            }
            Verdict::Wrong => write!(
                f,
                "\n                  seen: {}\n                  why it matters: {}\n                  rule: {}",
                self.words, self.why, self.rule
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, started by: {}", self.resource, self.exec)?;
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        write!(f, "{}", self.summary())
    }
}
