//! `handfast completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::print;
use crate::error::Error;

/// Print completions for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Error> {
        // In memory first: it panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "handfast", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())
    }
}
