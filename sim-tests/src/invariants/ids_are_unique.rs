//! "Ids stay unique", whatever the wall clock does over a crash: a transaction is one intent's only.

use super::Invariant;
use crate::digest::Table;
use crate::oracle::Knowledge;
use crate::trace::{Event, Transaction};

#[derive(Default)]
pub(super) struct IdsAreUnique {
    intents: Table<Transaction, u32>,
}

impl Invariant for IdsAreUnique {
    fn name(&self) -> &'static str {
        "ids are unique"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        let Some((transaction, intent)) = event.names() else {
            return Ok(());
        };
        let first = *self.intents.entry(transaction).or_insert(intent);
        if first == intent {
            Ok(())
        } else {
            Err(format!(
                "{transaction} is of intent {first} and of intent {intent}"
            ))
        }
    }
}
