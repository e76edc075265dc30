//! One property a file. Their source is section 9 of the design, "Guarantees, as checked properties"; each file quotes
//! its sentence.
//!
//! What must never live here: knowledge of how the product works inside. A property sees what participants, clients and
//! stores see.

mod all_or_nothing;
mod books_balance;
mod commit_needs_every_vote;
mod decision_never_changes;
mod deviations_have_a_cause;
mod exactly_once;
mod fences_hold;
mod files_keep_their_names;
mod forgotten_after_all_acknowledged;
mod ids_are_unique;
mod log_keeps_what_it_told;
mod names_keep_their_stores;
mod one_transaction_per_key;
mod own_is_sound;
mod processes_end_for_a_reason;
mod told_is_true;

use crate::intent::Intent;
use crate::oracle::{Ending, Knowledge};
use crate::plan::Plan;
use crate::trace::Event;

/// A property.
pub trait Invariant: Send {
    /// As it stands in a verdict.
    fn name(&self) -> &'static str;

    /// Something happened. An error says what does not hold.
    fn take(&mut self, event: &Event, knowledge: &Knowledge) -> Result<(), String> {
        let _ = (event, knowledge);
        Ok(())
    }

    /// Everything has come to rest. An error says what does not hold.
    fn at_the_end(&mut self, ending: &Ending<'_>, knowledge: &Knowledge) -> Result<(), String> {
        let _ = (ending, knowledge);
        Ok(())
    }
}

/// All of them.
pub fn all(plan: &Plan, intents: &[Intent]) -> Vec<Box<dyn Invariant>> {
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(decision_never_changes::DecisionNeverChanges::default()),
        Box::new(commit_needs_every_vote::CommitNeedsEveryVote::default()),
        Box::new(forgotten_after_all_acknowledged::ForgottenAfterAllAcknowledged::default()),
        Box::new(deviations_have_a_cause::DeviationsHaveACause::default()),
        Box::new(processes_end_for_a_reason::ProcessesEndForAReason::new(plan)),
        Box::new(one_transaction_per_key::OneTransactionPerKey::new(intents)),
        Box::new(fences_hold::FencesHold::new(plan)),
        Box::new(exactly_once::ExactlyOnce),
        Box::new(all_or_nothing::AllOrNothing),
        Box::new(told_is_true::ToldIsTrue),
        Box::new(books_balance::BooksBalance),
        Box::new(own_is_sound::OwnIsSound),
        Box::new(files_keep_their_names::FilesKeepTheirNames),
    ];
    // An old copy of a directory has lost what it told and whom it knew, and mints again what it has minted, until a witness
    // dials in.
    if !plan.scenario.as_ref().is_some_and(|scenario| scenario.restores()) {
        all.push(Box::new(ids_are_unique::IdsAreUnique::default()));
        all.push(Box::new(names_keep_their_stores::NamesKeepTheirStores::new(plan)));
        all.push(Box::new(log_keeps_what_it_told::LogKeepsWhatItTold::default()));
    }
    all
}
