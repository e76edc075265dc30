//! Where the epochs of this log have ended: what tells an old copy of the log from the log itself, whatever was appended to the copy
//! since.
//!
//! ```text
//!   the log       1 2 3 4 5            epoch 1 has come to LSN 5, and a participant has seen it
//!   an old copy   1 2 | 3   | 4 5 6    epoch 1 ended at 2 here; epochs 2 and 3 have begun on the copy since
//! ```
//!
//! By its length alone the copy passes for the log once it was started a few times. By the end of epoch 1 it never does.

use std::collections::VecDeque;

use handfast_ids::Epoch;

use crate::Lsn;

/// Ends that are kept. A witness of an older epoch is measured by the oldest of these.
const KEPT: usize = 1024;

/// The last record of each epoch that is over, oldest first.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct EpochEnds(VecDeque<(Epoch, Lsn)>);

impl EpochEnds {
    /// An epoch begins behind this record.
    pub fn begins(&mut self, epoch: Epoch, predecessor_end: Lsn) {
        if epoch.0 <= 1 {
            return;
        }
        self.0.push_back((Epoch(epoch.0 - 1), predecessor_end));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The most that anybody can have seen of this epoch; `None` if it is not over.
    pub fn most_seen(&self, epoch: Epoch) -> Option<Lsn> {
        let at = self.0.partition_point(|(over, _)| *over < epoch);
        self.0.get(at).map(|(_, end)| *end)
    }

    /// Each epoch that has begun behind another one, and where that one ended.
    pub fn beginnings(&self) -> impl Iterator<Item = (Epoch, Lsn)> + '_ {
        self.0.iter().map(|(over, end)| (over.next(), *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_measured_by_its_own_end() {
        let mut ends = EpochEnds::default();
        ends.begins(Epoch(1), Lsn::ZERO);
        assert_eq!(ends.most_seen(Epoch(1)), None);
        ends.begins(Epoch(2), Lsn(7));
        ends.begins(Epoch(3), Lsn(9));
        assert_eq!(ends.most_seen(Epoch(1)), Some(Lsn(7)));
        assert_eq!(ends.most_seen(Epoch(2)), Some(Lsn(9)));
        assert_eq!(ends.most_seen(Epoch(3)), None);
    }

    #[test]
    fn the_oldest_are_let_go_and_measured_by_the_oldest_that_is_kept() {
        let mut ends = EpochEnds::default();
        for epoch in 2..KEPT as u32 + 4 {
            ends.begins(Epoch(epoch), Lsn(10 * u64::from(epoch)));
        }
        assert_eq!(ends.beginnings().count(), KEPT);
        assert_eq!(ends.most_seen(Epoch(1)), Some(Lsn(40)));
        assert_eq!(ends.most_seen(Epoch(3)), Some(Lsn(40)));
        assert_eq!(ends.most_seen(Epoch(4)), Some(Lsn(50)));
    }
}
