//! "No transaction has one branch committed and another aborted, or it is reported heuristic with its evidence."

use std::collections::BTreeSet;

use super::Invariant;
use crate::intent::{Finish, Intent, Style};
use crate::oracle::{Ending, Knowledge};

pub(super) struct AllOrNothing;

impl Invariant for AllOrNothing {
    fn name(&self) -> &'static str {
        "all or nothing"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, knowledge: &Knowledge) -> Result<(), String> {
        for intent in ending.intents {
            let done = ending.done_of(intent.number);
            if done.is_empty()
                || done
                    .iter()
                    .any(|done| knowledge.deviated.contains(&done.transaction))
            {
                continue;
            }
            if must_not_commit(intent) {
                return Err(format!("intent {} must not commit: {done:?}", intent.number));
            }
            let wanted: BTreeSet<u8> = intent.effects().map(|(part, _)| part).collect();
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
