//! What happens to a store from outside the protocol.

use super::fault::Action;
use crate::stores::database::{Database, Hand};

/// It happens.
pub(super) fn happens(database: &Database, action: Action) {
    match action {
        Action::LosePrepared => database.by_hand(Hand::LosePrepared),
        Action::RollBackByHand => database.by_hand(Hand::RollBack),
        Action::CommitByHand => database.by_hand(Hand::Commit),
        Action::Resurrect => database.by_hand(Hand::Resurrect),
        Action::ForeignBranch => database.by_hand(Hand::Foreign),
        Action::DropForeign => database.by_hand(Hand::DropForeign),
        Action::NoSlots => database.hinder(|hindrance| hindrance.has_no_slots = true),
        Action::ScanFails => database.hinder(|hindrance| hindrance.scan_fails = true),
        Action::OtherStore => database.hinder(|hindrance| hindrance.is_another = true),
        Action::OlderLife => database.hinder(|hindrance| hindrance.is_older = true),
        _ => {}
    }
}

/// Whatever lasted is over.
pub(super) fn is_over(database: &Database) {
    database.hinder(|hindrance| *hindrance = Default::default());
}
