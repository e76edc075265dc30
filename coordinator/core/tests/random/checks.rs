//! What must hold after each step, over a checkpoint, and in the end.

use std::collections::BTreeSet;

use handfast_core::{Call, Coordinator, Effect, Event, Message, Moment, Outcome, SessionId};

use super::Play;
use super::participant::Participant;
use super::requests::{hello, keyed_request};

impl Play {
    /// How many branches have committed.
    pub fn effects(&self) -> usize {
        let participants = self.participants.iter();
        participants.map(|participant| participant.effects.len()).sum()
    }

    /// Everything that is wrong by now.
    pub fn violations(&mut self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.world.oracle.violations);
        for participant in &mut self.participants {
            wrong.append(&mut participant.violations);
        }
        for ((transaction, branch), times) in self.participants.iter().flat_map(|one| &one.effects) {
            let oracle = &self.world.oracle;
            if *times != 1 || !oracle.is_committed(*transaction) && !oracle.was_delegated(*transaction) {
                wrong.push(format!(
                    "branch {branch} of {transaction} took place {times} times"
                ));
            }
        }
        wrong
    }

    /// What must hold in the end besides: nothing is left, and what was told is what happened.
    pub fn left(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (resource, participant) in self.participants.iter().enumerate() {
            let prepared = participant.prepared();
            if !prepared.is_empty() {
                wrong.push(format!("r{resource} still keeps prepared {prepared:?}"));
            }
        }
        let core = self.world.core().expect("it runs");
        let live = core.status().table.live;
        if live > 0 || self.world.stopped().is_some() {
            wrong.push(format!(
                "{live} transactions are still live: {:?}",
                core.live(self.world.now(), None, 9)
            ));
        }
        for transaction in &self.transactions {
            let effects = self
                .participants
                .iter()
                .flat_map(|participant| &participant.effects);
            let found = effects.filter(|((other, _), _)| other == transaction).count();
            let due = self.world.oracle.branches_to_commit(*transaction);
            if found != due {
                wrong.push(format!("{transaction} took place in {found} of {due} branches"));
            }
            if matches!(self.told.get(transaction), Some(Outcome::Aborted { .. })) && found > 0 {
                wrong.push(format!("{transaction} was told as aborted and took place"));
            }
        }
        wrong
    }

    /// A checkpoint and what follows must answer like the whole log.
    pub fn folds(&self) -> Vec<String> {
        let mut answers = [true, false].map(|from_checkpoint| {
            let recovery = self.world.fold(from_checkpoint);
            let next = self.world.accepted().next();
            let mut effects = Vec::new();
            let core = Coordinator::start(recovery, next, Moment(0), self.world.wall_ms(), &mut effects);
            self.questions(core)
        });
        let [checkpoint, whole] = &mut answers;
        if checkpoint == whole {
            return Vec::new();
        }
        vec![format!(
            "the checkpoint answers {checkpoint:?}, the whole log {whole:?}"
        )]
    }

    /// What participants are told about what they keep prepared, and clients under each key.
    fn questions(&self, mut core: Coordinator) -> BTreeSet<String> {
        let mut effects = Vec::new();
        for (resource, participant) in self.participants.iter().enumerate() {
            let session = SessionId(1_000_000 + resource as u64);
            let hello = hello(session, resource, true);
            core.handle(Moment(0), Event::SessionUp { session, hello }, &mut effects);
            core.handle(Moment(0), participant.scan(session), &mut effects);
        }
        effects.retain(|effect| {
            let to_prepared = |transaction, branch| {
                let mut prepared = self.participants.iter().flat_map(Participant::prepared);
                prepared.any(|key| key == (transaction, branch))
            };
            match effect {
                Effect::Send {
                    message:
                        Message::Decision {
                            transaction, branch, ..
                        }
                        | Message::Answer {
                            transaction, branch, ..
                        },
                    ..
                } => to_prepared(*transaction, *branch),
                _ => false,
            }
        });
        for key in 0..3 {
            let call = Call(1_000_000 + u64::from(key));
            let request = keyed_request(key);
            core.handle(Moment(0), Event::Execute { call, request }, &mut effects);
        }
        let answers = effects.iter().filter(|effect| match effect {
            Effect::Send { message, .. } => !matches!(message, Message::Prepare { .. }),
            Effect::Reply { .. } => true,
            _ => false,
        });
        answers.map(|effect| format!("{effect:?}")).collect()
    }

    /// What the coordinator itself finds wrong with its counts.
    pub fn audit(&self) -> Vec<String> {
        self.world.core().map(Coordinator::audit).unwrap_or_default()
    }
}
