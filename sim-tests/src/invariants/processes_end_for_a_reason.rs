//! A process ends by itself only for what was done to it: a disk that failed or was full, a request to end, another store or an
//! older life of it behind a name. A panic, a stale log, or a damaged one would be our own doing. A coordinator whose log another has taken up may also end because
//! somebody has seen more than it knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Invariant;
use crate::oracle::Knowledge;
use crate::plan::{Fault, Plan};
use crate::scenario::Scenario;
use crate::trace::{Event, Node};

pub(super) struct ProcessesEndForAReason {
    disks_fail: bool,
    /// Why participants may be refused for good.
    refusals: Vec<&'static str>,
    scenario: Option<Arc<Scenario>>,
    /// Those whose log another has taken up.
    replaced: BTreeSet<Node>,
}

impl ProcessesEndForAReason {
    pub fn new(plan: &Plan) -> Self {
        let faults = [Fault::SyncFails, Fault::WriteFails, Fault::DiskFull];
        ProcessesEndForAReason {
            disks_fail: faults.into_iter().any(|fault| plan.has(fault)),
            refusals: [
                (Fault::OtherStore, "STORE_MISMATCH"),
                (Fault::OlderLife, "GENERATION_LOWER"),
            ]
            .into_iter()
            .filter(|(fault, _)| plan.has(*fault))
            .map(|(_, reason)| reason)
            .collect(),
            scenario: plan.scenario.clone(),
            replaced: BTreeSet::new(),
        }
    }
}

impl Invariant for ProcessesEndForAReason {
    fn name(&self) -> &'static str {
        "processes end for a reason"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let (node, why) = match event {
            Event::Ended(node, why) => (node, why),
            Event::Injected(Fault::StandbyTakesOver, Some(node)) => {
                self.replaced.insert(*node);
                return Ok(());
            }
            Event::Started(node) => {
                self.replaced.remove(node);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let is_asked = why == "drained";
        let is_disk =
            why.contains("check the disk, then start again") || why.contains("no space left on the disk");
        let is_expected = self
            .scenario
            .as_ref()
            .is_some_and(|scenario| scenario.expects_end(*node, why));
        let is_replaced = self.replaced.contains(node) && (is_disk || why.starts_with("Stale"));
        let is_refused = self.refusals.iter().any(|reason| why.contains(reason));
        if is_refused
            || is_expected
            || is_replaced
            || is_asked
            || self.disks_fail && is_disk
            || why.starts_with("Locked")
        {
            Ok(())
        } else {
            Err(format!("{node} has ended: {why}"))
        }
    }
}
