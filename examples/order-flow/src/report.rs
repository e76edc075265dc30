//! The verdict, for people and for programs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use demonstration::table::VerdictTable;
use serde::Serialize;

use crate::options::Output;

/// How many failures are told in words.
const MAX_TOLD: usize = 5;

/// What became of all orders, from the four systems' own state and what the clients were told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: f64,
    pub asked: u64,
    pub committed: u64,
    /// Not enough was in stock.
    pub refused: u64,
    /// A client did not know at first, or died over it; it was learned by asking again with the same key.
    pub unknown_then_resolved: u64,
    /// Nobody ever learned it.
    pub unknown: u64,
    /// Ended in a hazard, or refused for a reason that this example does not know.
    pub failed: u64,
    /// In words, by order.
    pub failures: BTreeMap<String, String>,
    /// How many orders each system holds.
    pub held: Vec<(String, u64)>,
    /// Told committed, and nowhere.
    pub lost: u64,
    /// In a system more than once.
    pub doubled: u64,
    /// In one system and not in another.
    pub half_done: u64,
    /// Told refused, and everywhere.
    pub refused_but_done: u64,
    pub left_prepared: u64,
    pub offsets_out_of_step: u64,
    /// Transactions that ended in a hazard, as the coordinator has them.
    pub hazards: u64,
    pub pieces_before: i64,
    pub pieces_after: i64,
    /// SIGKILLs, by process.
    pub kills: Vec<(String, u64)>,
    /// Clients that lost their connections and all that they know. No process ends with them.
    pub client_deaths: u64,
    /// Fewer kills show too little.
    pub least_kills: u64,
    pub recoveries: u64,
    /// At least as many orders were committed as anything was killed, and some were refused.
    pub is_enough: bool,
}

impl Report {
    /// How often any process was killed.
    pub fn kills(&self) -> u64 {
        self.kills.iter().map(|(_, kills)| kills).sum()
    }

    /// Unless everybody was killed, and enough was ordered meanwhile, the run shows nothing.
    pub fn is_void(&self) -> bool {
        self.kills.is_empty()
            || self.kills.iter().any(|&(_, kills)| kills == 0)
            || self.kills() < self.least_kills
            || self.client_deaths == 0
            || !self.is_enough
    }

    fn damage(&self) -> u64 {
        self.lost + self.doubled + self.half_done + self.refused_but_done
    }

    fn is_broken(&self) -> bool {
        self.damage() + self.left_prepared + self.offsets_out_of_step + self.hazards > 0
            || self.unknown + self.failed > 0
            || self.pieces_before != self.pieces_after
            || self.asked != self.committed + self.refused
            || self.held.iter().any(|&(_, held)| held != self.committed)
    }

    pub fn is_clean(&self) -> bool {
        !self.is_void() && !self.is_broken()
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match (self.is_broken(), self.is_void()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        })
    }

    pub fn print(&self, output: Output) {
        match output {
            Output::Json => {
                println!(
                    "{}",
                    serde_json::to_string_pretty(self).expect("a report is plain data")
                );
            }
            Output::Table => {
                println!("\n{}\n", self.table());
                for (order, words) in self.failures.iter().take(MAX_TOLD) {
                    println!("{order}: {words}");
                }
                println!("{}", self.verdict());
            }
        }
    }

    fn table(&self) -> VerdictTable {
        let mut table = VerdictTable::default();
        table.fact("orders asked", self.asked);
        table.fact("  committed", self.committed);
        table.fact("  refused: out of stock", self.refused);
        table.fact("  unknown, then resolved", self.unknown_then_resolved);
        table.none("  unknown for ever", self.unknown);
        table.none("  failed for another reason", self.failed);
        for (name, held) in &self.held {
            table.must(
                &format!("orders in {name}"),
                held,
                self.committed,
                *held == self.committed,
            );
        }
        table.none("lost", self.lost);
        table.none("doubled", self.doubled);
        table.none("half done", self.half_done);
        table.none("refused, but done", self.refused_but_done);
        table.none("left prepared", self.left_prepared);
        table.none("offsets out of step", self.offsets_out_of_step);
        table.none("hazards", self.hazards);
        let is_kept = self.pieces_after == self.pieces_before;
        table.must(
            "pieces in stock and sold",
            self.pieces_after,
            self.pieces_before,
            is_kept,
        );
        table.kills(&self.kills);
        table.must(
            "clients that died",
            self.client_deaths,
            "> 0",
            self.client_deaths > 0,
        );
        table.must("recoveries", self.recoveries, "> 0", self.recoveries > 0);
        table
    }

    fn verdict(&self) -> String {
        let rate = self.asked as f64 / self.seconds.max(0.001);
        let measured = format!("{rate:.0} orders a second, {} kills included", self.kills());
        if self.is_broken() {
            format!("BROKEN: {} orders came out wrong ({measured}).", self.damage())
        } else if self.is_void() {
            "VOID: somebody was never killed, or too little was ordered, so nothing was shown.".to_owned()
        } else {
            format!("CLEAN: every order is in all four systems exactly once, or in none ({measured}).")
        }
    }
}
