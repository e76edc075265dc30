//! What a store has seen of coordinators' logs, as it says it in a Hello.
//!
//! A coordinator measures what was seen of an epoch that is over by the end of that epoch: an old copy of its log that was started a
//! few times is as long as the log, but the epoch in which it was copied ends too early there. So the highest LSN of each
//! epoch is kept. A fence tells the epoch alone (its LSN is 0), and must not stand in for a position.

use std::collections::BTreeMap;

use handfast_proto::ids::{Epoch, LogId};

use crate::resource::SeenLog;

/// The most coordinators' logs that are reported.
pub(in crate::resources) const MAX_LOGS: usize = 64;
/// The most epochs of one log beside its newest: the newest of those with a position. With [`MAX_LOGS`] they come to the 1,024 lines
/// that a coordinator takes in a Hello.
pub(in crate::resources) const MAX_EPOCHS: usize = 15;
/// The most rows that are read to find them.
pub(in crate::resources) const MAX_ROWS: usize = 4 * MAX_LOGS * MAX_EPOCHS;

/// The highest LSN of each epoch of each log.
#[derive(Default)]
pub(in crate::resources) struct Positions(BTreeMap<LogId, BTreeMap<Epoch, u64>>);

impl Positions {
    /// A marker, a fence or a row of those that were deleted says this.
    pub fn raise(&mut self, log: LogId, epoch: Epoch, lsn: u64) {
        let known = self.0.entry(log).or_default().entry(epoch).or_insert(lsn);
        *known = lsn.max(*known);
    }

    /// What is worth saying, oldest epoch first: the positions of the newest epochs, and the newest epoch even without one.
    pub fn seen(&self) -> Vec<SeenLog> {
        let of_log = |(log, epochs): (&LogId, &BTreeMap<Epoch, u64>)| {
            let newest = epochs.last_key_value().map(|(epoch, _)| *epoch);
            let worth = |(epoch, lsn): &(&Epoch, &u64)| **lsn > 0 || Some(**epoch) == newest;
            let mut seen: Vec<SeenLog> = epochs
                .iter()
                .rev()
                .filter(worth)
                .take(MAX_EPOCHS + 1)
                .map(|(epoch, lsn)| SeenLog {
                    log: *log,
                    epoch: *epoch,
                    lsn: *lsn,
                })
                .collect();
            seen.reverse();
            seen
        };
        self.0.iter().take(MAX_LOGS).flat_map(of_log).collect()
    }

    /// Those of these rows that say nothing more: another epoch of the same log is said instead.
    pub fn surplus(&self, rows: &[(LogId, Epoch)]) -> Vec<(LogId, Epoch)> {
        let seen = self.seen();
        let is_said = |row: &(LogId, Epoch)| seen.iter().any(|said| (said.log, said.epoch) == *row);
        let has_others = |row: &(LogId, Epoch)| seen.iter().any(|said| said.log == row.0);
        let surplus = rows.iter().filter(|row| !is_said(row) && has_others(row));
        surplus.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(1);

    fn said(positions: &Positions) -> Vec<(u32, u64)> {
        let seen = positions.seen();
        seen.iter().map(|seen| (seen.epoch.0, seen.lsn)).collect()
    }

    #[test]
    fn a_fence_hides_no_position_and_its_epoch_is_told() {
        let mut positions = Positions::default();
        for (epoch, lsn) in [(1, 40), (3, 0), (1, 30), (2, 0), (3, 0)] {
            positions.raise(LOG, Epoch(epoch), lsn);
        }
        assert_eq!(said(&positions), [(1, 40), (3, 0)]);
        let rows = [1, 2, 3].map(|epoch| (LOG, Epoch(epoch)));
        assert_eq!(positions.surplus(&rows), [(LOG, Epoch(2))]);
        assert_eq!(positions.surplus(&[(LogId(2), Epoch(1))]), []);
    }

    #[test]
    fn the_newest_epochs_with_a_position_are_told() {
        let mut positions = Positions::default();
        let last = 4 * MAX_EPOCHS as u32;
        for epoch in 1..=last {
            positions.raise(LOG, Epoch(epoch), u64::from(epoch % 2 * epoch));
        }
        let said = said(&positions);
        assert_eq!(said.len(), MAX_EPOCHS + 1);
        assert_eq!(MAX_LOGS * said.len(), 1_024);
        assert_eq!(said.last(), Some(&(last, 0)));
        assert!(
            said[..MAX_EPOCHS]
                .iter()
                .all(|(epoch, lsn)| u64::from(*epoch) == *lsn)
        );
    }
}
