//! `order-flow`: parses, plays a role or demonstrates, and tells how it went.

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use demonstration::roles;
use order_flow::{options, run};

/// The exit code of a demonstration that could not be run.
const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    if let Some(code) = roles::play(arguments, |role, _| bail!("there is no role {role:?}")) {
        return code;
    }
    let options = options::Options::parse();
    match run::demonstrate(&options) {
        Ok(report) => {
            report.print(options.output);
            report.exit_code()
        }
        Err(error) => {
            eprintln!("order-flow: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}
