//! `handfast completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::error::Error;

/// Print completions for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Error> {
        clap_complete::generate(
            self.shell,
            &mut super::Cli::command(),
            "handfast",
            &mut std::io::stdout(),
        );
        Ok(())
    }
}
