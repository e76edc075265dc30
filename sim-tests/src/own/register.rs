//! Who asked for what: which operation stands for which tag, and in which transactions it was done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use handfast_participant::BranchKey;

use super::{Own, Tag};
use crate::intent::Intent;
use crate::plan::Plan;

/// What is known of the operations of one run.
pub(crate) struct Register {
    /// By intent and part; only at the service's own participants.
    operations: BTreeMap<(u32, u8), Bytes>,
    tags: HashMap<Bytes, Tag>,
    branches: Mutex<Branches>,
    lives: Mutex<BTreeMap<u8, u32>>,
}

/// In which branches what was asked for.
#[derive(Default)]
struct Branches {
    tags: BTreeMap<(u8, BranchKey), Tag>,
    /// The one that was told to commit; else the first one.
    of: BTreeMap<(u8, Tag), BranchKey>,
}

impl Register {
    /// All operations that the intents need.
    ///
    /// # Panics
    /// If two are the same: then nobody could tell whose effect it is that shows.
    pub fn new(own: &Own, plan: &Plan, intents: &[Intent]) -> Register {
        let mut register = Register {
            operations: BTreeMap::new(),
            tags: HashMap::new(),
            branches: Mutex::default(),
            lives: Mutex::default(),
        };
        for intent in intents {
            for (number, part) in (0..).zip(&intent.parts) {
                if part.participant >= plan.ledgers {
                    continue;
                }
                let operation = own
                    .operation(intent, usize::from(number), plan.seed)
                    .expect("intents ask only for what is offered");
                let tag = Tag {
                    intent: intent.number,
                    part: number,
                };
                let before = register.tags.insert(operation.clone(), tag);
                assert!(
                    before.is_none(),
                    "the operations of {tag} and {} are the same; make the tag a part of each",
                    before.unwrap_or(tag)
                );
                register.operations.insert((intent.number, number), operation);
            }
        }
        register
    }

    /// The operation of a part, if it is at one of the service's own participants.
    pub fn operation(&self, intent: u32, part: u8) -> Option<Bytes> {
        self.operations.get(&(intent, part)).cloned()
    }

    /// Whose operation it is.
    pub fn tag(&self, operation: &[u8]) -> Option<Tag> {
        self.tags.get(operation).copied()
    }

    /// Which process of this participant begins.
    pub fn begins(&self, participant: u8) -> u32 {
        let lives = &mut *self
            .lives
            .lock()
            .expect("nothing panics while it holds this lock");
        let life = lives.entry(participant).or_default();
        *life += 1;
        *life
    }

    /// A branch is asked to promise this, or to do it.
    pub fn saw(&self, participant: u8, branch: BranchKey, operation: &[u8]) {
        if let Some(tag) = self.tag(operation) {
            let branches = &mut *self.branches();
            branches.tags.insert((participant, branch), tag);
            branches.of.entry((participant, tag)).or_insert(branch);
        }
    }

    /// A branch is told to commit.
    pub fn commits(&self, participant: u8, branch: BranchKey) {
        let branches = &mut *self.branches();
        if let Some(tag) = branches.tags.get(&(participant, branch)) {
            branches.of.insert((participant, *tag), branch);
        }
    }

    /// The branch in which a participant did this, as far as can be told.
    pub fn branch(&self, participant: u8, tag: Tag) -> Option<BranchKey> {
        self.branches().of.get(&(participant, tag)).copied()
    }

    fn branches(&self) -> MutexGuard<'_, Branches> {
        self.branches
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}
