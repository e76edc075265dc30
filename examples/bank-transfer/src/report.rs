//! The verdict, for people and for programs.

use demonstration::table::VerdictTable;
use serde::Serialize;

use crate::options::Output;

/// What became of all transfers, from the stores' own state and what the clients were told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: f64,
    pub asked: u64,
    pub committed: u64,
    pub aborted: u64,
    /// A client did not know at first, and learned it by asking again with the same key.
    pub unknown_then_resolved: u64,
    /// A client never learned it.
    pub unknown: u64,
    /// Told committed, and not in the stores.
    pub lost: u64,
    /// In a store more than once.
    pub doubled: u64,
    /// In one store and not in the other.
    pub half_done: u64,
    /// Told aborted, and in the stores.
    pub aborted_but_done: u64,
    /// In the stores with another account or amount than was asked for.
    pub altered: u64,
    /// Accounts whose balance is not what they began with and all changes together.
    pub unbalanced: u64,
    pub total_before: i64,
    pub total_after: i64,
    pub left_prepared: u64,
    pub kills: Vec<(String, u64)>,
    pub recoveries: u64,
}

impl Report {
    pub fn kills(&self) -> u64 {
        self.kills.iter().map(|(_, kills)| kills).sum()
    }

    /// Transfers that came out wrong.
    fn wrong(&self) -> u64 {
        self.lost + self.doubled + self.half_done + self.aborted_but_done + self.altered
    }

    /// Without kills and recoveries the run shows nothing.
    pub fn is_void(&self) -> bool {
        self.kills() == 0 || self.recoveries == 0 || self.committed == 0
    }

    fn is_broken(&self) -> bool {
        self.wrong() + self.unbalanced + self.left_prepared > 0 || self.total_before != self.total_after
    }

    /// What a client never learned may be right or wrong.
    fn is_unresolved(&self) -> bool {
        self.unknown > 0 || self.asked != self.committed + self.aborted
    }

    pub fn is_clean(&self) -> bool {
        !self.is_void() && !self.is_unresolved() && !self.is_broken()
    }

    /// What is broken is broken, however little was killed.
    pub fn exit_code(&self) -> u8 {
        match (self.is_broken(), self.is_void() || self.is_unresolved()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    pub fn print(&self, output: Output) {
        match output {
            Output::Json => {
                println!(
                    "{}",
                    serde_json::to_string_pretty(self).expect("a report is plain data")
                );
            }
            Output::Table => println!("\n{}\n\n{}", self.table(), self.verdict()),
        }
    }

    fn table(&self) -> VerdictTable {
        let mut table = VerdictTable::default();
        table.fact("transfers asked", self.asked);
        table.fact("  committed", self.committed);
        table.fact("  aborted", self.aborted);
        table.fact("  unknown, then resolved", self.unknown_then_resolved);
        table.none("  unknown for ever", self.unknown);
        table.none("lost", self.lost);
        table.none("doubled", self.doubled);
        table.none("half done", self.half_done);
        table.none("told aborted, but done", self.aborted_but_done);
        table.none("other than asked", self.altered);
        table.none("accounts that do not add up", self.unbalanced);
        let is_kept = self.total_after == self.total_before;
        table.must(
            "money in both stores",
            self.total_after,
            self.total_before,
            is_kept,
        );
        table.none("left prepared", self.left_prepared);
        table.kills(&self.kills);
        table.must("recoveries", self.recoveries, "> 0", self.recoveries > 0);
        table
    }

    fn verdict(&self) -> String {
        let rate = self.asked as f64 / self.seconds.max(0.001);
        let measured = format!("{rate:.0} transfers a second, kills included");
        if self.is_broken() {
            format!("BROKEN: {} transfers came out wrong ({measured}).", self.wrong())
        } else if self.is_void() {
            "VOID: nothing was killed, recovered or committed, so nothing was shown.".to_owned()
        } else if self.is_unresolved() {
            format!(
                "UNRESOLVED: {} transfers are unknown for ever, so the run shows nothing ({measured}).",
                self.unknown
            )
        } else {
            format!("CLEAN: every transfer happened exactly once or not at all ({measured}).")
        }
    }
}
