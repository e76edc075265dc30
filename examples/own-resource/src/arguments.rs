//! What can be typed.

use clap::{Parser, ValueEnum};
use handfast_sim::Suite;
use handfast_sim::suite::Command;
use own_resource::simulation;
use own_resource::vouchers::Mistake;

/// Simulate a resource of one's own: the vouchers of this example, or the tutorial's theatre.
#[derive(Parser, Debug)]
#[command(name = "cargo sim-own")]
pub struct Arguments {
    /// Which resource
    #[arg(long, value_enum, default_value_t = Service::Vouchers)]
    service: Service,
    /// Make it wrong, in this way
    #[arg(long, value_enum)]
    wrong: Option<Wrong>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Service {
    /// A `Resource` that keeps its promises itself
    Vouchers,
    /// A `Staged` service on the SDK's journal
    Theatre,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Wrong {
    /// Vouchers: a commit that is repeated is applied again
    AppliesTwice,
    /// Vouchers: the vote is given before the promise is on the disk
    ForgetsToJournal,
    /// Theatre: what was sold is missing in the snapshot
    ForgetsSnapshot,
}

impl Arguments {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let (suite, words) = self.suite()?;
        suite
            .command(format!("cargo sim-own{words}"))
            .execute(&self.command)
    }

    fn suite(&self) -> anyhow::Result<(Suite, &'static str)> {
        Ok(match (self.service, self.wrong) {
            (Service::Vouchers, None) => (simulation::vouchers(None), ""),
            (Service::Vouchers, Some(Wrong::AppliesTwice)) => (
                simulation::vouchers(Some(Mistake::AppliesTwice)),
                " --wrong applies-twice",
            ),
            (Service::Vouchers, Some(Wrong::ForgetsToJournal)) => (
                simulation::vouchers(Some(Mistake::ForgetsToJournal)),
                " --wrong forgets-to-journal",
            ),
            (Service::Theatre, None) => (simulation::theatre(false), " --service theatre"),
            (Service::Theatre, Some(Wrong::ForgetsSnapshot)) => (
                simulation::theatre(true),
                " --service theatre --wrong forgets-snapshot",
            ),
            (service, Some(wrong)) => anyhow::bail!(
                "{service:?} cannot be wrong like that ({wrong:?}): vouchers can with applies-twice and \
                 forgets-to-journal, the theatre with forgets-snapshot"
            ),
        })
    }
}
