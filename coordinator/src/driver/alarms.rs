//! What an operator must hear of without asking. The core says what; here it becomes a line of the log.

use handfast_core::{Alarm, Effect, Moment};
use handfast_ids::{Generation, ResourceName};
use handfast_wal::Disk;

use super::Driver;
use crate::index::Index;

impl<D: Disk, I: Index> Driver<D, I> {
    /// Looks for what is owed for too long, a bounded step at a time.
    pub(super) fn raise_alarms(&mut self, now: Moment) {
        for alarm in self.overdue.look(now, &self.core) {
            tell(&alarm);
        }
    }
}

/// A branch that only an operator can resolve.
pub(super) fn tell_held(effect: &Effect) {
    let Effect::Held {
        transaction,
        branch,
        resource,
        state,
    } = effect
    else {
        return;
    };
    tracing::error!(
        %transaction,
        branch = branch.0,
        %resource,
        why = ?state,
        "a participant shows a branch that cannot be decided here; an operator must look: `handfast tx in-doubt` tells more"
    );
}

/// A store that says hello with a higher generation than the log knows is not quite the one that it was.
pub(super) fn tell_generation(
    resource: &ResourceName,
    before: Option<Generation>,
    after: Option<Generation>,
) {
    if let (Some(Generation(before)), Some(Generation(after))) = (before, after)
        && after > before
    {
        tracing::warn!(
            %resource,
            before,
            after,
            "the store has a higher generation: it has failed over, or was restored. If what it had acknowledged may be lost by that, \
             compare its data with the other resources"
        );
    }
}

fn tell(alarm: &Alarm) {
    match alarm {
        Alarm::Raised {
            resource,
            connected,
            overdue,
            repeats,
        } => tracing::error!(
            %resource,
            connected,
            overdue = overdue.transactions,
            oldest = %overdue.oldest,
            oldest_ms = overdue.oldest_ms,
            repeats,
            "a participant owes acknowledgements for too long; its transactions stay as they are until it gives them. Bring it back, \
             or look why it hangs: `handfast tx in-doubt` lists them"
        ),
        Alarm::Over { resource, lasted_ms } => tracing::warn!(
            %resource,
            lasted_ms,
            "the alarm is over: the participant owes no acknowledgement for too long any more"
        ),
    }
}
