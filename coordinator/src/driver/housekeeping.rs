//! What is looked after from time to time, because nobody asks for it: room on the disk, the tail of the log, checkpoints.
//!
//! Without a reserve for the log, new work is refused, so that the log hardly grows any more and no checkpoint becomes due by its
//! growth. So one is taken for the sake of room:
//!
//! ```text
//!   room is low ──► the core writes one small record ──► a checkpoint covers all but the open segment
//!       ▲                                                    │
//!       └── not yet two checkpoints, or no room for one ◄────┴──► segments go ──► one of them becomes the reserve
//! ```

use handfast_core::{Event, LogSpace, Moment};
use handfast_wal::Disk;

use super::Driver;
use super::checkpoints::Written;
use crate::error::Error;
use crate::index::Index;

/// How often. A record that nobody demands is durable after about twice this.
pub const HOUSEKEEPING_MS: u64 = 250;

impl<D: Disk, I: Index> Driver<D, I> {
    pub(super) fn look_after_the_house(&mut self, now: Moment) -> Result<(), Error> {
        self.housekeeping = Moment(now.0 + HOUSEKEEPING_MS);
        for call in self.calls.take_gone() {
            self.handle(now, Event::CallGone { call })?;
        }
        self.look_at_the_room(now)?;
        self.journal.reserve(now);
        self.begin_checkpoint(now)?;
        self.journal.force_tail();
        self.outbox.heartbeat(now);
        self.index.flush(self.journal.durable());
        self.raise_alarms(now);
        Ok(())
    }

    /// With every batch that is durable too: what is reserved would not last long under load.
    pub(super) fn look_at_the_room(&mut self, now: Moment) -> Result<(), Error> {
        let space = self.journal.space();
        if space != self.space {
            self.space = space;
            tracing::error!(?space, "room for the log has changed");
            self.handle(now, Event::LogSpace(space))?;
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self, now: Moment) -> Result<(), Error> {
        let bytes = self.journal.counters().bytes;
        let for_room = self.space == LogSpace::Low && self.checkpoints.may_give_room(now, self.journal.log());
        if for_room {
            self.handle(now, Event::LogSpace(self.space))?;
        }
        if for_room || self.checkpoints.is_due(now, bytes) {
            self.checkpoints.begin(now, self.core.snapshot(), bytes);
            self.checkpoints.advance(self.journal.log());
        }
        Ok(())
    }

    /// What it took out of the log can become the reserve.
    pub(super) fn checkpoint_ended(&mut self, written: Written) {
        if matches!(written, Written::Whole { segments: 1.. }) {
            self.journal.room_was_made();
        }
    }
}
