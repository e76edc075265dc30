//! "A key has at most one committed transaction and always the same answer."

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::intent::Intent;
use crate::oracle::{Ending, Knowledge};
use crate::trace::{Event, Told, Transaction};

pub(super) struct OneTransactionPerKey {
    keys: BTreeMap<u32, (u8, String)>,
    answers: BTreeMap<(u8, String), Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Committed(Transaction),
    Aborted,
}

impl OneTransactionPerKey {
    pub fn new(intents: &[Intent]) -> Self {
        let keyed = |intent: &Intent| Some((intent.number, (intent.coordinator, intent.key()?.to_owned())));
        OneTransactionPerKey {
            keys: intents.iter().filter_map(keyed).collect(),
            answers: BTreeMap::new(),
        }
    }
}

impl Invariant for OneTransactionPerKey {
    fn name(&self) -> &'static str {
        "one transaction per key"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let Event::Told(_, intent, told) = event else {
            return Ok(());
        };
        let Some(key) = self.keys.get(intent) else {
            return Ok(());
        };
        let answer = match told {
            Told::Committed(transaction) => Answer::Committed(*transaction),
            Told::Aborted(..) => Answer::Aborted,
            Told::Unknown(_) | Told::Heuristic(_) | Told::Rejected(_) => return Ok(()),
        };
        let first = *self.answers.entry(key.clone()).or_insert(answer);
        if first == answer {
            Ok(())
        } else {
            Err(format!("{:?} was answered {first:?}, and then {answer:?}", key.1))
        }
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, _knowledge: &Knowledge) -> Result<(), String> {
        let mut transactions: BTreeMap<&(u8, String), BTreeSet<Transaction>> = BTreeMap::new();
        for done in &ending.done {
            if let Some(key) = self.keys.get(&done.intent) {
                transactions.entry(key).or_default().insert(done.transaction);
            }
        }
        match transactions
            .into_iter()
            .find(|(_, transactions)| transactions.len() > 1)
        {
            None => Ok(()),
            Some((key, transactions)) => Err(format!("{:?} was committed in {transactions:?}", key.1)),
        }
    }
}
