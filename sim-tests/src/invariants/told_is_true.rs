//! "A reply `committed` survives every crash", and outcomes never collapse: what a client was told is what happened.

use super::Invariant;
use crate::intent::Intent;
use crate::oracle::{Ending, Knowledge};
use crate::trace::Told;

pub(super) struct ToldIsTrue;

impl Invariant for ToldIsTrue {
    fn name(&self) -> &'static str {
        "what was told is true"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, knowledge: &Knowledge) -> Result<(), String> {
        for intent in ending.intents {
            let told = knowledge
                .told
                .get(&intent.number)
                .map(Vec::as_slice)
                .unwrap_or_default();
            for one in told {
                check(ending, knowledge, intent, one)?;
            }
            // A refusal speaks for its own request only, and an earlier process may have sent one too.
            let is_rejected = !told.is_empty() && told.iter().all(|told| matches!(told, Told::Rejected(_)));
            let asked_once = knowledge.begun.get(&intent.number) == Some(&1);
            if is_rejected && asked_once && !ending.done_of(intent.number).is_empty() {
                return Err(format!(
                    "intent {} was told {told:?}, and it happened",
                    intent.number
                ));
            }
        }
        Ok(())
    }
}

fn check(ending: &Ending<'_>, knowledge: &Knowledge, intent: &Intent, told: &Told) -> Result<(), String> {
    let done = ending.done_of(intent.number);
    match told {
        Told::Committed(transaction) => {
            let is_done = |part: u8| {
                let is_it =
                    |done: &crate::oracle::Done| done.part == part && done.transaction == *transaction;
                done.iter().any(is_it) || knowledge.has_deviated(*transaction, part.into())
            };
            match intent.effects().find(|(part, _)| !is_done(*part)) {
                None => Ok(()),
                Some((part, _)) => Err(format!(
                    "intent {} was told committed in {transaction}, and its part {part} is not there",
                    intent.number
                )),
            }
        }
        Told::Aborted(transaction, _) => {
            let is_meant = |done: &&crate::oracle::Done| {
                transaction.is_none_or(|transaction| done.transaction == transaction)
                    && !knowledge.has_deviated(done.transaction, done.part.into())
            };
            match done.iter().find(is_meant) {
                None => Ok(()),
                Some(done) => Err(format!(
                    "intent {} was told {told:?}, and happened: {done:?}",
                    intent.number
                )),
            }
        }
        Told::Heuristic(transaction) if !knowledge.has_any_deviated(*transaction) => Err(format!(
            "intent {} was told heuristic, and nobody has deviated from {transaction}",
            intent.number
        )),
        Told::Heuristic(_) | Told::Unknown(_) | Told::Rejected(_) => Ok(()),
    }
}
