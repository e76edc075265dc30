//! "Two directories or a cloned database behind one name can acknowledge each other's commits. Hence store ids" (section 10),
//! and "a lower generation is refused" (section 4): the first store that is welcome under a name owns it, in its newest life.

use std::collections::BTreeMap;

use handfast_ids::{Generation, LogId, StoreId};

use super::Invariant;
use crate::oracle::Knowledge;
use crate::plan::Plan;
use crate::trace::{Event, Message, Node};

pub(super) struct NamesKeepTheirStores {
    /// Which participant a node speaks for.
    participants: BTreeMap<Node, u8>,
    /// Who has said hello over which session.
    hellos: BTreeMap<(Node, u32), (StoreId, Generation)>,
    owners: BTreeMap<(LogId, u8), (StoreId, Generation)>,
}

impl NamesKeepTheirStores {
    pub fn new(plan: &Plan) -> Self {
        let nodes = 0..plan.participant_nodes();
        NamesKeepTheirStores {
            participants: nodes
                .map(|node| (Node::Participant(node), plan.participant_of(node)))
                .collect(),
            hellos: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    fn welcome(&mut self, node: Node, session: u32, log: LogId) -> Result<(), String> {
        let participant = self.participants.get(&node);
        let (Some(participant), Some((store, generation))) = (participant, self.hellos.get(&(node, session)))
        else {
            return Ok(());
        };
        let owner = self.owners.entry((log, *participant));
        let (owning, newest) = owner.or_insert((*store, *generation));
        if owning != store {
            return Err(format!(
                "{node} is welcome with store {store}, and the name belongs to {owning}"
            ));
        }
        if *generation < *newest {
            return Err(format!(
                "{node} is welcome in its life {generation}, and has been in life {newest}"
            ));
        }
        *newest = *generation;
        Ok(())
    }
}

impl Invariant for NamesKeepTheirStores {
    fn name(&self) -> &'static str {
        "names keep their stores"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        match event {
            Event::Message(
                node,
                session,
                Message::Hello {
                    store, generation, ..
                },
            ) => {
                self.hellos.insert((*node, *session), (*store, *generation));
                Ok(())
            }
            Event::Message(node, session, Message::Welcome { log, .. }) => {
                self.welcome(*node, *session, *log)
            }
            _ => Ok(()),
        }
    }
}
