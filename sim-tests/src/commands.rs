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
