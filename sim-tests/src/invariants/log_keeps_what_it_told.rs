//! "Any crash image recovers a prefix that holds every acknowledged force", and "nothing is appended by a fenced epoch":
//! whoever takes up a log has every record that an earlier epoch said was durable, and a higher epoch.

use std::collections::BTreeMap;

use handfast_ids::{Epoch, LogId};

use super::Invariant;
use crate::digest::Table;
use crate::oracle::Knowledge;
use crate::trace::{Event, Message, Node};

#[derive(Default)]
pub(super) struct LogKeepsWhatItTold {
    /// By log and epoch: the least that it was durable to when it welcomed somebody first, and the most that it told.
    logs: BTreeMap<LogId, BTreeMap<Epoch, Span>>,
    /// Whose frames come over which session.
    sessions: Table<(Node, u32), (LogId, Epoch)>,
}

#[derive(Clone, Copy)]
struct Span {
    least: u64,
    most: u64,
}

impl LogKeepsWhatItTold {
    fn told(&mut self, log: LogId, epoch: Epoch, durable: u64) -> Result<(), String> {
        let epochs = self.logs.entry(log).or_default();
        let span = epochs.entry(epoch).or_insert(Span {
            least: durable,
            most: durable,
        });
        span.least = span.least.min(durable);
        span.most = span.most.max(durable);
        let Span { least, most } = *span;
        let before = epochs
            .range(..epoch)
            .map(|(_, span)| span.most)
            .max()
            .unwrap_or(0);
        let after = epochs
            .range(epoch..)
            .skip(1)
            .map(|(_, span)| span.least)
            .min()
            .unwrap_or(u64::MAX);
        if least < before {
            return Err(format!(
                "epoch {epoch} is durable to {least}, and an earlier one told {before}"
            ));
        }
        if most > after {
            return Err(format!(
                "epoch {epoch} told {most}, and a later one is durable to {after}"
            ));
        }
        Ok(())
    }
}

impl Invariant for LogKeepsWhatItTold {
    fn name(&self) -> &'static str {
        "a log keeps what it told"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        match event {
            Event::Message(node, session, Message::Welcome { log, epoch, durable }) => {
                self.sessions.insert((*node, *session), (*log, *epoch));
                self.told(*log, *epoch, *durable)
            }
            Event::Message(node, session, Message::Durable { durable }) => {
                match self.sessions.get(&(*node, *session)).copied() {
                    Some((log, epoch)) => self.told(log, epoch, *durable),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
