//! What is tried: one file a group. A case says what it checks, why that matters, and where the rule stands.
//!
//! A case is written for a participant that is right: each step is what the rule demands, and the first that is not so ends it.
//! What every case has in common (nothing stays prepared, each committed branch has one effect) is checked by the trial.

mod crashes;
mod decisions;
mod epochs;
mod forgetting;
mod handshake;
mod liveness;
mod one_phase;
mod voting;
mod waiting;

use std::future::Future;
use std::pin::Pin;

use crate::fault::Checked;
use crate::trial::Trial;

type Run = for<'a, 'b> fn(&'a mut Trial<'b>) -> Pin<Box<dyn Future<Output = Checked> + 'a>>;

/// Something that is tried.
#[derive(Debug)]
pub struct Case {
    /// Stable, for `--only`.
    pub name: &'static str,
    /// What a right participant does.
    pub checks: &'static str,
    /// What happens to people if it does not.
    pub why: &'static str,
    /// The heading of the rule in `docs/guide/another-language.md`, as a link has it.
    pub rule: &'static str,
    /// The rows of `docs/FAULTS.md` that it is about.
    pub faults: &'static [u8],
    pub(crate) run: Run,
}

/// Cases about one thing.
#[derive(Debug)]
pub struct Group {
    /// Stable, for `--only`.
    pub name: &'static str,
    /// In the order in which they are tried.
    pub cases: &'static [Case],
}

/// Everything that is tried, in order. The first case is the least that a participant must do to be tried at all.
pub const GROUPS: &[Group] = &[
    handshake::GROUP,
    voting::GROUP,
    crashes::GROUP,
    decisions::GROUP,
    waiting::GROUP,
    forgetting::GROUP,
    epochs::GROUP,
    liveness::GROUP,
    one_phase::GROUP,
];

impl Case {
    /// Where the rule stands.
    pub fn reference(&self) -> String {
        let rows: Vec<String> = self.faults.iter().map(u8::to_string).collect();
        let rows = match rows.len() {
            0 => String::new(),
            1 => format!(", docs/FAULTS.md row {}", rows[0]),
            _ => format!(", docs/FAULTS.md rows {}", rows.join(", ")),
        };
        format!("docs/guide/another-language.md#{}{rows}", self.rule)
    }
}
