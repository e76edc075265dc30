//! "Effects happen at most once, and exactly once iff committed, after quiescence."

use std::collections::BTreeMap;

use super::Invariant;
use crate::oracle::{Ending, Knowledge};

pub(super) struct ExactlyOnce;

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "effects happen once"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, _knowledge: &Knowledge) -> Result<(), String> {
        let mut times: BTreeMap<(u32, u8), u32> = BTreeMap::new();
        for done in &ending.done {
            *times.entry((done.intent, done.part)).or_default() += done.times;
        }
        match times.into_iter().find(|(_, times)| *times > 1) {
            None => Ok(()),
            Some(((intent, part), times)) => Err(format!(
                "part {part} of intent {intent} happened {times} times: {:?}",
                ending.done_of(intent)
            )),
        }
    }
}
