//! A resource of somebody else in the simulated cluster: it stands wherever a plan or a scenario has a ledger.
//!
//! ```text
//!   wish (tag, item) ── Subject::change ──► operation ── the real coordinator, SDK, network, disk ──► the service
//!        │                                                                                              │
//!        └──────────── which tags must be there, and how often ◄── compared ── Subject::effects ◄──────┘
//! ```
//!
//! What must never live here: a service. Those that the simulator brings itself are in [`crate::stores`].

mod process;
mod register;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use handfast_participant::{Resource, Staged};

use crate::disk::SimDisk;
use crate::intent::{Intent, Work};
use crate::plan::Plan;

pub(crate) use process::{Kind, Running};
use process::{NativeKind, StagedKind};
pub(crate) use register::Register;

/// Somebody's service under simulation: how a process of it starts, what it is asked to do, and what shows that it was
/// done.
///
/// One value serves all nodes of all runs, so it keeps nothing: what a service knows is in the service, and what it must
/// not forget is on the disk of its [`Site`].
pub trait Subject: Send + Sync + 'static {
    /// What takes part: a [`Staged`] service or a [`Resource`].
    type Service: Send + 'static;

    /// A process begins. A staged service begins empty, and the journal brings it to where it was. A resource reads its
    /// disk in [`Resource::open`].
    fn start(&self, site: &Site) -> Self::Service;

    /// An operation that leaves an effect. It carries the tag to where [`Subject::effects`] finds it again.
    ///
    /// `item` says what it works on: operations on different items should not stand in each other's way, as seats in a
    /// theatre do not; those on the same one may. Random seeds draw items from few numbers, scenarios never twice the same.
    fn change(&self, tag: Tag, item: u64) -> Bytes;

    /// An operation that changes nothing. `None`, if the service has no such thing: seeds then ask for a change instead.
    fn read(&self, tag: Tag) -> Option<Bytes> {
        let _ = tag;
        None
    }

    /// An operation that is refused whatever the state is. `None`, if there is no such thing: seeds then ask for a change
    /// instead.
    fn refused(&self, tag: Tag) -> Option<Bytes> {
        let _ = tag;
        None
    }

    /// The tags of all effects that somebody who reads the service sees, each as many times as its effect was applied.
    /// Asked once everything has come to rest. What is promised and not decided is no effect.
    fn effects(&self, service: &Self::Service) -> Vec<Tag>;

    /// Whatever else must be so once everything has come to rest, such as books that balance. An error says what is not.
    fn check(&self, service: &Self::Service) -> Result<(), String> {
        let _ = service;
        Ok(())
    }
}

/// Names one effect of a run: a part of a transaction that some client wants. As text `t12.1`, part 1 of transaction 12.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag {
    pub(crate) intent: u32,
    pub(crate) part: u8,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}.{}", self.intent, self.part)
    }
}

/// This text is no tag.
#[derive(Clone, Debug)]
pub struct NoTag(String);

impl fmt::Display for NoTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no tag; they look like t12.1", self.0)
    }
}

impl std::error::Error for NoTag {}

impl FromStr for Tag {
    type Err = NoTag;

    fn from_str(text: &str) -> Result<Tag, NoTag> {
        let numbers = text.strip_prefix('t').and_then(|text| text.split_once('.'));
        let tag = numbers.and_then(|(intent, part)| {
            Some(Tag {
                intent: intent.parse().ok()?,
                part: part.parse().ok()?,
            })
        });
        tag.ok_or_else(|| NoTag(text.to_owned()))
    }
}

/// For services that keep numbers.
impl From<Tag> for u64 {
    fn from(tag: Tag) -> u64 {
        u64::from(tag.intent) << 8 | u64::from(tag.part)
    }
}

/// Where a process runs.
#[derive(Clone, Debug)]
pub struct Site {
    /// The number of its node: 2 for `p2`.
    pub node: u8,
    /// Which process of this node it is, from 1. The ones before are dead.
    pub life: u32,
    /// The disk of its machine. A process that dies leaves what it wrote, a machine that loses power only what was synced.
    /// A staged service leaves it alone: the SDK's journal is on it.
    pub disk: SimDisk,
}

/// A kind of service, as a plan carries it.
#[derive(Clone)]
pub struct Own(Arc<dyn Kind>);

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("your own")
    }
}

impl Own {
    /// A service on the SDK's journal.
    pub fn staged<S: Subject<Service: Staged>>(subject: S) -> Own {
        Own(Arc::new(StagedKind::new(subject)))
    }

    /// A system with prepared transactions of its own.
    pub fn resource<S: Subject<Service: Resource>>(subject: S) -> Own {
        Own(Arc::new(NativeKind::new(subject)))
    }

    pub(crate) fn kind(&self) -> &Arc<dyn Kind> {
        &self.0
    }

    /// What clients may want of it: what it has no operation for becomes a change.
    pub(crate) fn adapt(&self, plan: &Plan, intents: &mut [Intent]) {
        for intent in intents {
            for number in 0..intent.parts.len() {
                let is_offered = self.operation(intent, number, plan.seed).is_some();
                let part = &mut intent.parts[number];
                if part.participant < plan.ledgers && !is_offered {
                    part.work = Work::Add {
                        account: 0,
                        amount: 1,
                    };
                }
            }
        }
    }

    /// What of a scenario it has no operation for, in words.
    pub(crate) fn lacks(&self, plan: &Plan, intents: &[Intent]) -> Option<String> {
        intents.iter().find_map(|intent| {
            let is_own = |number: &usize| intent.parts[*number].participant < plan.ledgers;
            let parts = (0..intent.parts.len()).filter(is_own);
            let lacking = parts
                .filter(|number| self.operation(intent, *number, plan.seed).is_none())
                .map(|number| intent.parts[number].work)
                .next()?;
            let method = match lacking {
                Work::Read => "read",
                Work::Refuse | Work::Add { .. } => "refused",
            };
            Some(format!(
                "transaction {} needs an operation that `Subject::{method}` does not offer",
                intent.number
            ))
        })
    }

    /// The operation of a part.
    pub(crate) fn operation(&self, intent: &Intent, number: usize, seed: u64) -> Option<Bytes> {
        let tag = Tag {
            intent: intent.number,
            part: u8::try_from(number).expect("a transaction has few parts"),
        };
        match intent.parts[number].work {
            Work::Add { .. } => Some(self.0.change(tag, item(intent, tag, seed))),
            Work::Read => self.0.read(tag),
            Work::Refuse => self.0.refused(tag),
        }
    }
}

/// Of random seeds, every tenth item or so is wanted more than once.
const ITEMS: u64 = 2000;

fn item(intent: &Intent, tag: Tag, seed: u64) -> u64 {
    if intent.is_scripted {
        return u64::from(tag.intent) * 8 + u64::from(tag.part);
    }
    crate::random::stream(seed, ("item", tag)).u64(..ITEMS)
}

#[cfg(test)]
mod tests {
    use super::Tag;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let tag = Tag { intent: 12, part: 1 };
        assert_eq!(tag.to_string(), "t12.1");
        assert_eq!("t12.1".parse::<Tag>().ok(), Some(tag));
        for nonsense in ["", "t", "12.1", "t12", "t12.", "t12.256", "t-1.0"] {
            assert!(nonsense.parse::<Tag>().is_err(), "{nonsense}");
        }
    }
}
