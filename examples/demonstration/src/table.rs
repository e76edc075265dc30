//! The table of the verdict: what was found, and what it must be.

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

/// A table of three columns; what must be something is green or red, unless `NO_COLOR` is set.
pub struct VerdictTable {
    table: Table,
    is_colored: bool,
}

impl Default for VerdictTable {
    fn default() -> Self {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_header(["", "found", "must be"]);
        VerdictTable {
            table,
            is_colored: std::env::var_os("NO_COLOR").is_none(),
        }
    }
}

impl VerdictTable {
    /// A row that is only told.
    pub fn fact(&mut self, name: &str, found: impl ToString) {
        self.row(name, &found.to_string(), "", None);
    }

    /// A row that must be 0.
    pub fn none(&mut self, name: &str, found: u64) {
        self.row(name, &found.to_string(), "0", Some(found == 0));
    }

    /// A row that must be something else.
    pub fn must(&mut self, name: &str, found: impl ToString, must_be: impl ToString, is_good: bool) {
        self.row(name, &found.to_string(), &must_be.to_string(), Some(is_good));
    }

    /// Who was killed how often; without kills a run shows nothing.
    pub fn kills(&mut self, kills: &[(String, u64)]) {
        let total: u64 = kills.iter().map(|(_, kills)| kills).sum();
        let each: Vec<String> = kills
            .iter()
            .map(|(name, kills)| format!("{name} {kills}"))
            .collect();
        let found = format!("{total} ({})", each.join(", "));
        self.row("kill -9", &found, "> 0", Some(total > 0));
    }

    fn row(&mut self, name: &str, found: &str, must_be: &str, is_good: Option<bool>) {
        let mut found = Cell::new(found).set_alignment(CellAlignment::Right);
        if let (true, Some(is_good)) = (self.is_colored, is_good) {
            found = found.fg(if is_good { Color::Green } else { Color::Red });
        }
        self.table.add_row([Cell::new(name), found, Cell::new(must_be)]);
    }
}

impl std::fmt::Display for VerdictTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)
    }
}
