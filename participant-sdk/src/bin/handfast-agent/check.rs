//! Looks at every precondition of every resource of a file, changes nothing, and says in words what was found.

use std::fmt::Write;
use std::time::Duration;

use clap::ValueEnum;
use handfast_participant::resources::{Finding, Verdict};
use handfast_participant::runtime;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::config::{AgentFile, Entry};

/// How long looking at one resource may take.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// How long a coordinator may take to answer a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one array, one object for each resource.
    Json,
}

/// What was found of one resource.
#[derive(Debug)]
pub struct Checked {
    name: String,
    kind: &'static str,
    findings: Vec<Finding>,
}

impl Checked {
    /// Whether it cannot take part.
    pub fn is_broken(&self) -> bool {
        self.findings.iter().any(Finding::is_broken)
    }
}

/// Looks at all resources, all at once.
pub async fn check(file: &AgentFile) -> Vec<Checked> {
    futures_util::future::join_all(file.entries.iter().map(check_one)).await
}

async fn check_one(entry: &Entry) -> Checked {
    let store = async {
        match entry.kind() {
            Ok(kind) => timeout(CHECK_LIMIT, kind.check()).await.unwrap_or_else(|_| {
                let found = format!("not known after {} s", CHECK_LIMIT.as_secs());
                vec![Finding::broken(
                    "the store",
                    found,
                    "see whether it hangs, and check again",
                )]
            }),
            Err(error) => vec![Finding::broken(
                "the file",
                "cannot be used",
                format!("{error:#}"),
            )],
        }
    };
    let (mut findings, store) = futures_util::future::join(coordinator(&entry.coordinators), store).await;
    findings.extend(store);
    Checked {
        name: entry.name.clone(),
        kind: entry.kind,
        findings,
    }
}

/// One address that answers is enough to take part.
async fn coordinator(addresses: &[String]) -> Vec<Finding> {
    let tries = addresses
        .iter()
        .map(|address| runtime::connect(address, CONNECT_LIMIT));
    let tried = futures_util::future::join_all(tries).await;
    let is_any = tried.iter().any(Result::is_ok);
    let finding = |(address, connected): (&String, Result<_, runtime::Unreachable>)| {
        let what = format!("coordinator {address}");
        match connected {
            Ok(_) => Finding::holds(what, "answers"),
            Err(error) if is_any => {
                Finding::advice(what, error.why, "another address answers; start this one too")
            }
            Err(error) => Finding::broken(
                what,
                error.why,
                "start the coordinator there, or correct the address",
            ),
        }
    };
    addresses.iter().zip(tried).map(finding).collect()
}

/// As text or as JSON.
pub fn render(checked: &[Checked], format: Format) -> String {
    match format {
        Format::Text => text(checked),
        Format::Json => {
            let all: Vec<Value> = checked.iter().map(object).collect();
            format!("{:#}\n", Value::Array(all))
        }
    }
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for Checked { name, kind, findings } in checked {
        let _ = writeln!(text, "{name} ({kind})");
        for finding in findings {
            let word = match finding.verdict {
                Verdict::Holds => "holds",
                Verdict::Advice(_) => "advice",
                Verdict::Broken(_) => "BROKEN",
            };
            let _ = writeln!(text, "  {word:<6}  {finding}");
        }
    }
    let broken = checked.iter().filter(|checked| checked.is_broken()).count();
    let _ = match (broken, checked.len()) {
        (0, all) => writeln!(text, "{all} of {all} resources can take part"),
        (broken, all) => writeln!(
            text,
            "{broken} of {all} resources cannot take part; mend what is BROKEN and check again"
        ),
    };
    text
}

fn object(checked: &Checked) -> Value {
    let finding = |finding: &Finding| {
        let (verdict, todo) = match &finding.verdict {
            Verdict::Holds => ("holds", None),
            Verdict::Advice(todo) => ("advice", Some(todo)),
            Verdict::Broken(todo) => ("broken", Some(todo)),
        };
        json!({ "what": finding.what, "found": finding.found, "verdict": verdict, "todo": todo })
    };
    json!({
        "resource": checked.name,
        "kind": checked.kind,
        "can_take_part": !checked.is_broken(),
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
