//! The embedded ledger: transfers of one unit from alice to bob.

use handfast_conformance::{Effects, Operations, Options, Template};
use handfast_participant::resources::ledger::{self, LedgerOperation};

use crate::Subject;

pub fn subject() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let agent = env!("CARGO_BIN_EXE_handfast-agent");
    let exec = format!(
        "exec {agent} ledger --name {{resource}} --coordinator {{coordinator}} --data-dir {} --account alice=100000 --account bob=0",
        path.display()
    );
    let transfer = |amount| {
        Template::from_bytes(LedgerOperation::transfer("order-{n}", "alice", "bob", amount).encode())
    };
    let read = LedgerOperation::Read {
        account: "alice".to_owned(),
        at_least: None,
    };
    let mut options = Options::new(exec, "ledger");
    options.operations = Operations {
        succeed: vec![transfer(1)],
        refused: vec![transfer(1_000_000)],
        read_only: vec![Template::from_bytes(read.encode())],
    };
    options.effects = Some(Effects::function(move || {
        let path = path.clone();
        async move {
            match ledger::inspect(&path).await {
                Ok(report) => Ok(report
                    .applied
                    .into_iter()
                    .map(|applied| applied.reference)
                    .collect()),
                // Before the first start there is no ledger.
                Err(_) if !ledger::journal_directory(&path).exists() => Ok(Vec::new()),
                Err(error) => Err(error.to_string()),
            }
        }
    }));
    Subject {
        options,
        _keep: Box::new(directory),
        not_checked: Vec::new(),
    }
}
