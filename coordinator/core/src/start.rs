//! The start: a recovered log becomes a coordinator of a new epoch.

use std::collections::BTreeMap;

use crate::coordinator::{Coordinator, Cursors, Totals};
use crate::mint::Mint;
use crate::timer::Timers;
use crate::{Effect, LogSpace, Lsn, Moment, Record, Recovery};

impl Coordinator {
    /// Takes up a recovered log: `next_lsn` is the LSN that the next record gets, `wall_ms` Unix time at `now`.
    ///
    /// Appends the record of the new epoch, which must be durable before any session or client is accepted: ids of this
    /// epoch are told from then on.
    pub fn start(
        mut recovery: Recovery,
        next_lsn: Lsn,
        now: Moment,
        wall_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Coordinator {
        assert!(next_lsn > recovery.last_lsn, "the next record follows the last");
        recovery.settle_all();
        let Recovery {
            identity,
            limits,
            epoch,
            mut epoch_ends,
            floor_ms,
            key_floor_ms,
            table,
            mut resources,
            keys,
            mut history,
            ..
        } = recovery;
        history.complete();
        let epoch = epoch.next();
        let mint = Mint::new(identity.partition, epoch, now, wall_ms, floor_ms, key_floor_ms);
        for branch in table.values().flat_map(|entry| &entry.branches) {
            if branch.state.is_unfinished() {
                resources.get_mut(branch.resource).unfinished += 1;
            }
        }
        let durable = Lsn(next_lsn.0 - 1);
        epoch_ends.begins(epoch, durable);
        let mut coordinator = Coordinator {
            log: identity.log,
            limits,
            mint,
            epoch_ends,
            now,
            cursors: Cursors {
                durable,
                next: next_lsn,
            },
            table,
            operation_bytes: 0,
            timers: Timers::default(),
            resources,
            keys,
            next_key_expiry: now,
            history,
            held: BTreeMap::new(),
            watchers: BTreeMap::new(),
            draining: false,
            space: LogSpace::Ample,
            stopped: None,
            totals: Totals::default(),
        };
        let record = Record::EpochStarted {
            log: identity.log,
            epoch,
            predecessor_end: durable,
            wall_ms: coordinator.mint.wall_ms(now),
            key_ms: coordinator.mint.key_ms(now),
        };
        coordinator.append(record, true, effects);
        coordinator
    }
}
