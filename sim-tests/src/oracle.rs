//! Judges a run: every property sees every event as it happens, and the end once everything has come to rest.
//!
//! A timeout is *unknown*, never *failed*: what a client was not told obliges nobody, except that all of it happens or
//! nothing.

mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use handfast_ids::BranchId;
use handfast_proto::v1;

use crate::disk::{Machine, WrittenOver};
use crate::intent::Intent;
use crate::invariants::{self, Invariant};
use crate::own::{Running, Tag};
use crate::plan::{Fault, Plan};
use crate::trace::{AckKind, Event, Message, Node, Told, Transaction};
use crate::world::World;
use promises::Promises;

/// All properties of a run.
pub struct Oracle {
    invariants: Vec<Box<dyn Invariant>>,
    knowledge: Knowledge,
}

/// What the clients were told, and what has deviated.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// By intent.
    pub told: BTreeMap<u32, Vec<Told>>,
    /// How many processes of its client have begun with an intent.
    pub begun: BTreeMap<u32, u32>,
    /// Ids of interactive transactions, by intent.
    pub opened: BTreeMap<u32, Vec<Transaction>>,
    /// Parts of which a participant reported, with a cause, a hazard or the contrary.
    deviated: BTreeSet<(Transaction, u32)>,
    promises: Promises,
    /// A scenario makes participants deviate.
    is_made: bool,
    /// A store was told that what it holds as prepared is forgotten: it keeps it for an operator.
    pub has_forgotten: bool,
    /// Stores in whose place a copy stands that is too old. What they are told of it says nothing of the right ones.
    copies: u32,
}

/// What a store has done for a part of an intent, in one transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// Of which intent.
    pub intent: u32,
    /// Which part.
    pub part: u8,
    /// In which transaction.
    pub transaction: Transaction,
    /// Where.
    pub participant: u8,
    /// How many times.
    pub times: u32,
}

/// Short, because it stands in verdicts.
impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done {
            part,
            transaction,
            participant,
            times,
            ..
        } = self;
        write!(f, "part {part} at p{participant} in {transaction}")?;
        match times {
            1 => Ok(()),
            times => write!(f, ", {times} times"),
        }
    }
}

/// The books of a store.
#[derive(Clone, Copy, Debug)]
pub struct Books {
    /// Whose.
    pub participant: u8,
    /// The sum of its accounts, as far as it differs from the beginning.
    pub change: i64,
    /// The sum of all that was done.
    pub effects: i64,
    /// What is still set aside.
    pub set_aside: i64,
}

/// How everything is once it has come to rest.
pub struct Ending<'a> {
    /// What the clients wanted.
    pub intents: &'a [Intent],
    /// What happened, in order of intents.
    pub done: Vec<Done>,
    /// The books of all stores.
    pub books: Vec<Books>,
    /// What the owner of a service in the ledgers' place finds wrong, and effects that nobody asked for.
    pub complaints: Vec<String>,
    /// What was written to a disk under one name, and would have been found under another had the power gone.
    pub written_over: Vec<WrittenOver>,
}

impl Oracle {
    /// All properties, before anything has happened.
    pub fn new(plan: &Plan, intents: &[Intent]) -> Oracle {
        Oracle {
            invariants: invariants::all(plan, intents),
            knowledge: Knowledge::new(plan, intents),
        }
    }

    /// Something happened. An error is the property that does not hold.
    pub fn take(&mut self, at: Duration, event: &Event) -> Result<(), String> {
        self.knowledge.take(at, event);
        let knowledge = &self.knowledge;
        let found = self.invariants.iter_mut().find_map(|invariant| {
            invariant
                .take(event, knowledge)
                .err()
                .map(|what| format!("{}: {what}", invariant.name()))
        });
        found.map_or(Ok(()), Err)
    }

    /// Whether some store holds a branch that only an operator can finish.
    pub fn has_forgotten(&self) -> bool {
        self.knowledge.has_forgotten
    }

    /// Everything has come to rest: the properties that do not hold.
    pub fn at_the_end(&mut self, ending: &Ending<'_>) -> Vec<String> {
        let judge = |invariant: &mut Box<dyn Invariant>| {
            invariant
                .at_the_end(ending, &self.knowledge)
                .err()
                .map(|what| format!("{}: {what}", invariant.name()))
        };
        self.invariants.iter_mut().filter_map(judge).collect()
    }
}

impl Knowledge {
    /// Before anything has happened.
    pub fn new(plan: &Plan, intents: &[Intent]) -> Knowledge {
        Knowledge {
            told: BTreeMap::new(),
            begun: BTreeMap::new(),
            opened: BTreeMap::new(),
            deviated: BTreeSet::new(),
            promises: Promises::new(plan, intents),
            is_made: plan.scenario.as_ref().is_some_and(|scenario| scenario.deviates),
            has_forgotten: false,
            copies: 0,
        }
    }

    /// Whether a participant reported, with a cause, that this part did not end as it was decided.
    pub fn has_deviated(&self, transaction: Transaction, part: u32) -> bool {
        self.deviated.contains(&(transaction, part))
    }

    /// Whether it did so of any part.
    pub fn has_any_deviated(&self, transaction: Transaction) -> bool {
        let parts = (transaction, 0)..=(transaction, u32::MAX);
        self.deviated.range(parts).next().is_some()
    }

    fn may_deviate(
        &self,
        at: Duration,
        node: Node,
        transaction: Transaction,
        branch: BranchId,
        ack: AckKind,
    ) -> bool {
        self.is_made || ack == AckKind::Hazard && self.promises.may_be_over(at, node, transaction, branch)
    }

    pub(crate) fn take(&mut self, at: Duration, event: &Event) {
        self.promises.take(at, event);
        match event {
            Event::Begun(_, intent) => *self.begun.entry(*intent).or_default() += 1,
            Event::Opened(_, intent, id) => self.opened.entry(*intent).or_default().push(*id),
            Event::Told(_, intent, told) => self.told.entry(*intent).or_default().push(told.clone()),
            Event::Message(
                node,
                _,
                Message::Ack {
                    transaction,
                    branch,
                    ack: ack @ (AckKind::Hazard | AckKind::Contrary),
                    ..
                },
            ) if self.may_deviate(at, *node, *transaction, *branch, *ack) => {
                self.deviated.insert((*transaction, branch.0));
            }
            Event::Message(_, _, Message::Answer { answer, .. }) => {
                // Whoever holds what is forgotten asks again, so nothing is missed by not listening for a while.
                self.has_forgotten |= self.copies == 0 && *answer == i32::from(v1::AnswerKind::Forgotten);
            }
            Event::Injected(Fault::RestoredCopy, _) => self.copies += 1,
            Event::PutRight(_) => self.copies -= 1,
            _ => {}
        }
    }
}

impl Ending<'_> {
    /// Looks at everything.
    pub fn of(world: &World) -> Ending<'_> {
        let mut ending = Ending {
            intents: &world.intents,
            done: Vec::new(),
            books: Vec::new(),
            complaints: Vec::new(),
            written_over: world
                .machines()
                .iter()
                .filter_map(Machine::written_over)
                .collect(),
        };
        for participant in 0..world.plan.participants() {
            if let Some(own) = world.own(participant) {
                ending.take_own(world, participant, &*own);
                continue;
            }
            let accounts = match world.database(participant) {
                Some(database) => database.accounts(),
                None => match world.ledger(participant) {
                    Some(ledger) => ledger.accounts().clone(),
                    None => continue,
                },
            };
            let mut effects = 0;
            for (branch, effect) in accounts.effects() {
                effects += i64::from(effect.operation.amount) * i64::from(effect.times);
                ending.done.push(Done {
                    intent: effect.operation.intent,
                    part: effect.operation.part,
                    transaction: Transaction {
                        coordinator: world.coordinator_of(branch.log),
                        id: branch.transaction,
                    },
                    participant,
                    times: effect.times,
                });
            }
            let (change, set_aside) = (accounts.change(), accounts.set_aside());
            ending.books.push(Books {
                participant,
                change,
                effects,
                set_aside,
            });
        }
        ending.done.sort();
        ending
    }

    fn take_own(&mut self, world: &World, participant: u8, own: &dyn Running) {
        let Some(register) = world.register() else {
            return;
        };
        let mut times: BTreeMap<Tag, u32> = BTreeMap::new();
        for tag in own.effects() {
            *times.entry(tag).or_default() += 1;
        }
        for (tag, times) in times {
            let Some(branch) = register.branch(participant, tag) else {
                self.complaints.push(format!(
                    "p{participant} shows an effect {tag} that nobody asked it for"
                ));
                continue;
            };
            self.done.push(Done {
                intent: tag.intent,
                part: tag.part,
                transaction: Transaction {
                    coordinator: world.coordinator_of(branch.log),
                    id: branch.transaction,
                },
                participant,
                times,
            });
        }
        if let Err(complaint) = own.check() {
            self.complaints.push(format!("p{participant}: {complaint}"));
        }
    }

    /// What happened of an intent.
    pub fn done_of(&self, intent: u32) -> &[Done] {
        let from = self.done.partition_point(|done| done.intent < intent);
        let to = self.done.partition_point(|done| done.intent <= intent);
        &self.done[from..to]
    }
}
