//! Transfers between two stores, while every process is killed at random; then a table that proves what became of them.
//!
//! The example starts a coordinator and two ledgers as processes of their own (this same program, in other roles), runs
//! transfers from several clients, and kills processes with SIGKILL. At the end a checker reads what the stores themselves
//! hold and what the clients were told, and nothing else.
#![allow(clippy::disallowed_methods, reason = "a demonstration lives in real time")]

mod bare;
mod checker;
mod clients;
mod options;
mod postgres_server;
mod processes;
mod report;
mod roles;
mod run;
mod side;
mod transfers;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if let Some(code) = roles::play(arguments.by_ref().skip(1).collect()) {
        return code;
    }
    let options = options::Options::parse();
    match run::demonstrate(&options) {
        Ok(report) => {
            report.print(options.output);
            report.exit_code()
        }
        Err(error) => {
            eprintln!("bank-transfer: {error:#}");
            ExitCode::from(2)
        }
    }
}
