//! "No transaction has one branch committed and another aborted, or it is reported heuristic with its evidence."
//!
//! Whoever deviates speaks for its own branch: of all the others still all happens or nothing.

use std::collections::BTreeSet;

use super::Invariant;
use crate::intent::{Finish, Intent, Style};
use crate::oracle::{Done, Ending, Knowledge};

pub(super) struct AllOrNothing;

impl Invariant for AllOrNothing {
    fn name(&self) -> &'static str {
        "all or nothing"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, knowledge: &Knowledge) -> Result<(), String> {
        for intent in ending.intents {
            let as_decided = |done: &&Done| !knowledge.has_deviated(done.transaction, done.part.into());
            let done: Vec<&Done> = ending.done_of(intent.number).iter().filter(as_decided).collect();
            let Some(first) = done.first() else { continue };
            if must_not_commit(intent) {
                return Err(format!("intent {} must not commit: {done:?}", intent.number));
            }
            let wanted: BTreeSet<u8> = intent
                .effects()
                .map(|(part, _)| part)
                .filter(|part| !knowledge.has_deviated(first.transaction, (*part).into()))
                .collect();
            let found: BTreeSet<u8> = done.iter().map(|done| done.part).collect();
            if wanted != found {
                return Err(format!(
                    "of intent {}, parts {wanted:?}, happened: {done:?}",
                    intent.number
                ));
            }
        }
        Ok(())
    }
}

fn must_not_commit(intent: &Intent) -> bool {
    let never = [Finish::Abort, Finish::Leave, Finish::Miscount];
    intent.must_abort()
        || intent.is_expired()
        || matches!(&intent.style, Style::Interactive(finish) if never.contains(finish))
}
