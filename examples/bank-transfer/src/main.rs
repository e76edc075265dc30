//! `bank-transfer`: parses, plays or demonstrates, and tells how it went.

use std::process::ExitCode;

use bank_transfer::{options, roles, run};
use clap::Parser;

/// The exit code of a demonstration that could not be run.
const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    if let Some(code) = roles::play(std::env::args_os().skip(1).collect()) {
        return code;
    }
    let options = options::Options::parse();
    match run::demonstrate(&options) {
        Ok(report) => {
            report.print(options.output);
            ExitCode::from(report.exit_code())
        }
        Err(error) => {
            eprintln!("bank-transfer: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}
