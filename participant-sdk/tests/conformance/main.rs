//! Every ready-made resource, as `handfast-agent` runs it, passes the conformance kit.
//!
//! One more resource is one more line below, and a module that says how it is started, what it is asked to do, and where its
//! effects can be read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent_file;
#[path = "../support/certificates.rs"]
mod certificates;
mod files;
#[path = "../support/hotel.rs"]
mod hotel;
mod kafka;
mod ledger;
mod mariadb;
mod postgres;
mod tcc;

use std::any::Any;

use handfast_conformance::{Options, Report, Verdict};
use hotel::Wire;

/// A resource under test.
struct Subject {
    options: Options,
    /// What must live as long as the test: folders, servers.
    _keep: Box<dyn Any>,
    /// The cases that cannot be tried with it, each known by name so that none falls silent by accident.
    not_checked: Vec<&'static str>,
}

/// What is tried only with those that take a decision upon themselves, `one_phase` in their hello. A store behind somebody
/// else's transactions takes two phases.
const TWO_PHASES: [&str; 6] = [
    "delegated-kill",
    "delegated-kill-amid",
    "delegated-twice",
    "resolve-fences",
    "resolve-after-commit",
    "resolve-of-a-promise",
];

macro_rules! subjects {
    ($($name:ident: $subject:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            passes($subject).await;
        }
    )*};
}

subjects! {
    files: files::subject();
    kafka: kafka::subject();
    ledger: ledger::subject();
    mariadb: mariadb::subject();
    postgres: postgres::subject();
    tcc_over_grpc: tcc::subject(Wire::Grpc).await;
    tcc_over_http: tcc::subject(Wire::Http).await;
}

async fn passes(subject: Subject) {
    let report = handfast_conformance::run(&subject.options, |case| println!("{case}"))
        .await
        .unwrap();
    assert!(report.is_right(), "{}", wrong_cases(&report));
    assert_eq!(report.names(Verdict::NotChecked), subject.not_checked);
    assert_eq!(report.names(Verdict::Partly), [""; 0]);
}

fn wrong_cases(report: &Report) -> String {
    let wrong = report.cases.iter().filter(|case| case.verdict == Verdict::Wrong);
    wrong.map(|case| format!("\n{case}")).collect()
}
