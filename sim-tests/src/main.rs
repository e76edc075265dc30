//! The command line of the checks that are too long for a test run: `cargo sim`.

use clap::Parser;
use handfast_sim::model::ModelArgs;

/// A run makes and drops many small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Handfast under scrutiny.
///
/// All but `model` run the real programs in a simulated world, and exist only in the build that `cargo sim` makes.
#[derive(Parser, Debug)]
#[command(name = "cargo sim", arg_required_else_help = true)]
enum Cli {
    Model(ModelArgs),
    #[cfg(madsim)]
    Run(handfast_sim::commands::Run),
    #[cfg(madsim)]
    Replay(handfast_sim::commands::Replay),
    #[cfg(madsim)]
    Scenarios(handfast_sim::commands::Scenarios),
    #[cfg(madsim)]
    Shrink(handfast_sim::commands::Shrink),
    #[cfg(madsim)]
    Determinism(handfast_sim::commands::Determinism),
    #[cfg(madsim)]
    Mutants(handfast_sim::commands::Mutants),
    #[cfg(madsim)]
    #[command(hide = true)]
    Worker(handfast_sim::commands::Worker),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::Model(model) => model.run(),
        #[cfg(madsim)]
        Cli::Run(run) => run.run(),
        #[cfg(madsim)]
        Cli::Replay(replay) => replay.run(),
        #[cfg(madsim)]
        Cli::Scenarios(scenarios) => scenarios.run(),
        #[cfg(madsim)]
        Cli::Shrink(shrink) => shrink.run(),
        #[cfg(madsim)]
        Cli::Determinism(determinism) => determinism.run(),
        #[cfg(madsim)]
        Cli::Mutants(mutants) => mutants.run(),
        #[cfg(madsim)]
        Cli::Worker(worker) => worker.run(),
    }
}
