//! The theatre passes the conformance kit, as the tutorial has it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use handfast_conformance::{Effects, Options, Template, Verdict};
use handfast_participant::journal;
use handfast_wal::RealDisk;
use seats::theatre::Theatre;

/// More than the kit buys.
const SEATS: u32 = 100_000;

#[tokio::test]
async fn the_theatre_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seats");
    let program = env!("CARGO_BIN_EXE_seats");
    let data = path.display();
    let exec =
        format!("exec {program} --coordinator {{coordinator}} serve --data-dir {data} --seats {SEATS}");
    let mut options = Options::new(exec, "seats");
    options.operations.succeed = vec![Template::from_bytes("{n} ada")];
    options.operations.refused = vec![Template::from_bytes("0 bob")];
    options.effects = Some(Effects::function(move || sold(path.clone())));
    let report = handfast_conformance::run(&options, |case| println!("{case}"))
        .await
        .unwrap();
    assert!(report.is_right(), "{report}");
    assert_eq!(
        report.names(Verdict::NotChecked),
        ["read-only"],
        "selling is all that a theatre does"
    );
    assert_eq!(report.names(Verdict::Partly), [""; 0]);
}

/// What the journal says, before the theatre was ever opened: nothing.
async fn sold(path: PathBuf) -> Result<Vec<String>, String> {
    if !Path::exists(&path) {
        return Ok(Vec::new());
    }
    let disk = RealDisk::open(&path).map_err(|error| error.to_string())?;
    let inspected = journal::inspect(Theatre::new(SEATS), &disk)
        .await
        .map_err(|error| error.to_string())?;
    let seats = inspected.staged.sold().iter();
    Ok(seats.map(|(seat, buyer)| format!("{seat} {buyer}")).collect())
}
