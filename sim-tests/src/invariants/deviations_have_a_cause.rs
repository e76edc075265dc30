//! "No transaction has one branch committed and another aborted, or it is reported heuristic with its evidence": stores
//! that keep their promises never have anything to report.

use super::Invariant;
use crate::plan::{Fault, Plan};
use crate::trace::{AckKind, Event, Message};

pub(super) struct DeviationsHaveACause {
    promises_expire: bool,
    /// A scenario makes participants deviate.
    is_made: bool,
}

impl DeviationsHaveACause {
    pub fn new(plan: &Plan) -> Self {
        DeviationsHaveACause {
            promises_expire: plan.has(Fault::PromiseExpires),
            is_made: plan.scenario.as_ref().is_some_and(|scenario| scenario.deviates),
        }
    }
}

impl Invariant for DeviationsHaveACause {
    fn name(&self) -> &'static str {
        "deviations have a cause"
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event {
            _ if self.is_made => Ok(()),
            Event::Message(node, _, Message::Ack { transaction, ack, .. }) if *ack == AckKind::Contrary => {
                Err(format!("{node} has ended {transaction} the other way"))
            }
            Event::Message(node, _, Message::Ack { transaction, ack, .. })
                if *ack == AckKind::Hazard && !self.promises_expire =>
            {
                Err(format!("{node} has lost {transaction}"))
            }
            _ => Ok(()),
        }
    }
}
