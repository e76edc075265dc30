//! Votes by an instance that was not asked: a participant in another language may take a line of its scan, or a prepare that
//! it has heard of, for its own. The other instance may still be at work, and may yet refuse, so such a vote must count for
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::v1;
use madsim::time::Instant;

use super::{Wire, now, wires};
use crate::plan::Fault;
use crate::trace::{Event, Node};

/// A stray vote goes with a frame that its instance sends within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// What instances will say of branches that others were asked for: the newest one only. By node and coordinator.
pub(super) type Strays = BTreeMap<(u8, u8), Stray>;

/// A branch that somebody is asked to prepare.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    transaction: Bytes,
    branch: u32,
    until: Instant,
}

impl Stray {
    pub fn of(prepare: &v1::Prepare) -> Stray {
        Stray {
            transaction: prepare.transaction_id.clone(),
            branch: prepare.branch,
            until: now() + PATIENCE,
        }
    }

    fn vote(self) -> v1::Vote {
        let mut vote = v1::Vote {
            transaction_id: self.transaction,
            branch: self.branch,
            ..v1::Vote::default()
        };
        vote.set_kind(v1::VoteKind::Prepared);
        vote
    }
}

impl Wire {
    /// The other instances of the resource hear what this one is asked.
    pub(super) fn overheard(&self, prepare: Stray) {
        let plan = &self.world.plan;
        let all = plan.instances_of(plan.participant_of(self.node));
        for other in all.filter(|other| *other != self.node) {
            let session = (other, self.coordinator());
            wires(&self.world).strays.insert(session, prepare.clone());
        }
    }

    /// The vote that goes astray with the frame at hand.
    pub(super) fn stray(&self) -> Option<v1::Vote> {
        let session = (self.node, self.coordinator());
        let stray = wires(&self.world).strays.remove(&session)?;
        if stray.until < now() {
            return None;
        }
        let node = Node::Participant(self.node);
        self.world.record(&Event::Injected(Fault::VoteStrays, Some(node)));
        Some(stray.vote())
    }
}
