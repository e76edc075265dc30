//! Minting of transaction ids.

use handfast_ids::{Epoch, Partition, TransactionId};

use crate::Moment;

/// Mints ids that never repeat and never go back.
///
/// Unix time is read once, at the start, and then follows the monotonic clock: a jump of the wall clock moves nothing.
/// The floor comes from the log, so that a clock that was set back over a restart moves nothing either.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Mint {
    partition: Partition,
    epoch: Epoch,
    started: Moment,
    started_wall_ms: u64,
    started_key_ms: u64,
    last: TransactionId,
}

/// How far the clock may have been set forward over a restart without any effect on keys.
const CLOCK_SET_FORWARD_MS: u64 = 3_600_000;

impl Mint {
    /// `floor_ms` is the last time that the log has seen, and `key_floor_ms` the same by the time by which keys expire.
    pub fn new(
        partition: Partition,
        epoch: Epoch,
        started: Moment,
        wall_ms: u64,
        floor_ms: u64,
        key_floor_ms: u64,
    ) -> Self {
        let started_wall_ms = wall_ms.max(floor_ms + 1);
        let started_key_ms = match key_floor_ms {
            // A new log: nobody has a key.
            0 => wall_ms,
            _ => wall_ms.min(key_floor_ms.max(wall_ms.saturating_sub(CLOCK_SET_FORWARD_MS))),
        };
        let last = TransactionId::new(started_wall_ms - 1, partition, epoch, u32::MAX);
        Mint {
            partition,
            epoch,
            started,
            started_wall_ms,
            started_key_ms,
            last,
        }
    }

    /// Unix milliseconds as the coordinator counts them.
    pub fn wall_ms(&self, now: Moment) -> u64 {
        self.started_wall_ms + now.0.saturating_sub(self.started.0)
    }

    /// Unix milliseconds by which keys expire: late rather than early.
    ///
    /// Over a restart nobody can tell a clock that was set forward from a long stop. So it goes on from the last time that the
    /// log has seen, unless the clock is ahead by more than the bound. A clock behind the log is believed: it is the one before
    /// that was ahead.
    pub fn key_ms(&self, now: Moment) -> u64 {
        self.started_key_ms + now.0.saturating_sub(self.started.0)
    }

    pub fn next(&mut self, now: Moment) -> TransactionId {
        self.next_of(now, 0)
    }

    /// The same for a transaction that may be left to its participant without a durable record.
    pub fn next_unrecorded(&mut self, now: Moment) -> TransactionId {
        self.next_of(now, 1)
    }

    /// The lowest id above the last whose sequence is even (0) or odd (1).
    fn next_of(&mut self, now: Moment, parity: u32) -> TransactionId {
        let wall_ms = self.wall_ms(now).max(self.last.milliseconds());
        let same_millisecond = wall_ms == self.last.milliseconds();
        let next = self.last.sequence().checked_add(1);
        let next = next.and_then(|next| next.checked_add((next ^ parity) & 1));
        let (milliseconds, sequence) = match next {
            Some(next) if same_millisecond => (wall_ms, next),
            None if same_millisecond => (wall_ms + 1, parity),
            _ => (wall_ms, parity),
        };
        self.last = TransactionId::new(milliseconds, self.partition, self.epoch, sequence);
        self.last
    }

    /// The latest id that this process has minted, or a bound below its first.
    pub fn last(&self) -> TransactionId {
        self.last
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The monotonic moment at which the coordinator's Unix time will be `wall_ms`.
    pub fn moment_of(&self, wall_ms: u64) -> Moment {
        Moment(self.started.0 + wall_ms.saturating_sub(self.started_wall_ms))
    }
}

#[cfg(test)]
mod tests;
