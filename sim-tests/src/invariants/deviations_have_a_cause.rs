//! "No transaction has one branch committed and another aborted, or it is reported heuristic with its evidence": stores
//! that keep their promises never have anything to report.
//!
//! A store may forget a branch once the coordinator's log says that it has ended, and a process that another has replaced does not
//! know so. What a store tells such a process is not a deviation, and leads to nothing: its log takes no more records.

use std::collections::BTreeMap;

use handfast_ids::{Epoch, LogId};

use super::Invariant;
use crate::plan::{Fault, Plan};
use crate::trace::{AckKind, Event, Message, Node};

pub(super) struct DeviationsHaveACause {
    promises_expire: bool,
    /// A scenario makes participants deviate.
    is_made: bool,
    /// Whose process each session is with.
    sessions: BTreeMap<(Node, u32), (LogId, Epoch)>,
    newest: BTreeMap<LogId, Epoch>,
}

impl DeviationsHaveACause {
    pub fn new(plan: &Plan) -> Self {
        DeviationsHaveACause {
            promises_expire: plan.has(Fault::PromiseExpires),
            is_made: plan.scenario.as_ref().is_some_and(|scenario| scenario.deviates),
            sessions: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    fn is_replaced(&self, session: (Node, u32)) -> bool {
        let with = self.sessions.get(&session);
        with.is_some_and(|(log, epoch)| self.newest.get(log).is_some_and(|newest| epoch < newest))
    }
}

impl Invariant for DeviationsHaveACause {
    fn name(&self) -> &'static str {
        "deviations have a cause"
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event {
            _ if self.is_made => Ok(()),
            Event::Message(node, session, Message::Welcome { log, epoch, .. }) => {
                self.sessions.insert((*node, *session), (*log, *epoch));
                let newest = self.newest.entry(*log).or_insert(*epoch);
                *newest = (*newest).max(*epoch);
                Ok(())
            }
            Event::Message(node, _, Message::Ack { transaction, ack, .. }) if *ack == AckKind::Contrary => {
                Err(format!("{node} has ended {transaction} the other way"))
            }
            Event::Message(node, session, Message::Ack { transaction, ack, .. })
                if *ack == AckKind::Hazard
                    && !self.promises_expire
                    && !self.is_replaced((*node, *session)) =>
            {
                Err(format!("{node} has lost {transaction}"))
            }
            _ => Ok(()),
        }
    }
}
