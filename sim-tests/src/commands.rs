//! `cargo sim run | replay | scenarios | shrink | determinism | mutants`.
//!
//! ```text
//!   run ── ranges of seeds ──► worker processes ── a line a seed, coverage at the end ──► progress, summary
//! ```

mod determinism;
mod mutants;
mod replay;
mod run;
mod scenarios;
mod shrink;
mod worker;

pub use determinism::Determinism;
pub use mutants::Mutants;
pub use replay::Replay;
pub use run::Run;
pub use scenarios::Scenarios;
pub use shrink::Shrink;
pub use worker::Worker;

/// Transactions of a seed, if nothing else is said.
const TRANSACTIONS: u32 = 100;

/// The one command that replays a seed.
fn replay_command(seed: u64, transactions: u32) -> String {
    if transactions == TRANSACTIONS {
        format!("cargo sim replay --seed {seed}")
    } else {
        format!("cargo sim replay --seed {seed} --transactions {transactions}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Determinism, Replay, Run, Shrink};

    #[derive(Parser, Debug)]
    enum Cli {
        Run(Run),
        Replay(Replay),
        Shrink(Shrink),
        Determinism(Determinism),
    }

    #[test]
    fn what_is_no_seed_is_refused_with_what_is() {
        for arguments in [
            ["sim", "run", "--from", "x1"],
            ["sim", "replay", "--seed", "x1"],
            ["sim", "shrink", "--seed", "18446744073709551616"],
            ["sim", "determinism", "--from", "1.5"],
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err().to_string();
            assert!(error.contains(arguments[3]), "{error}");
            assert!(error.contains("from 0 to 18446744073709551615"), "{error}");
        }
    }

    #[test]
    fn neither_a_file_nor_a_seed_is_refused() {
        let error = Cli::try_parse_from(["sim", "replay"]).unwrap_err().to_string();
        assert!(error.contains("<FILE>"), "{error}");
    }
}
