//! What takes part: model stores whose every effect can be looked at.
//!
//! A [`ledger`] is staged: the SDK's journal keeps its promises. A [`database`] keeps promises by itself, as PostgreSQL
//! does, and outlives the process that speaks for it.

pub mod database;
pub mod ledger;

use std::collections::BTreeMap;

use handfast_participant::BranchKey;

use crate::intent::Operation;

/// Accounts, what is promised of them, and which branch has done what.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    balances: BTreeMap<u8, i64>,
    reserved: BTreeMap<u8, i64>,
    effects: BTreeMap<BranchKey, Effect>,
}

/// What a branch has done to a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effect {
    /// Its operation.
    pub operation: Operation,
    /// How many times. One too many is found by the oracle, not here.
    pub times: u32,
}

/// What every account holds at the beginning.
pub const OPENING_BALANCE: i64 = 100;

impl Accounts {
    /// Sets aside what the operation takes away. False if there is not enough.
    pub fn reserve(&mut self, operation: &Operation) -> bool {
        let taken = taken(operation);
        let account = operation.account;
        let free = self.balance(account) - self.reserved.get(&account).copied().unwrap_or(0);
        if taken > free {
            return false;
        }
        *self.reserved.entry(account).or_default() += taken;
        true
    }

    /// Takes back what was set aside.
    pub fn release(&mut self, operation: &Operation) {
        *self.reserved.entry(operation.account).or_default() -= taken(operation);
    }

    /// Does what was promised.
    pub fn apply(&mut self, branch: BranchKey, operation: Operation) {
        self.release(&operation);
        self.enter(branch, operation);
    }

    /// Does what was done already, as a snapshot tells it.
    pub fn enter(&mut self, branch: BranchKey, operation: Operation) {
        *self.balances.entry(operation.account).or_insert(OPENING_BALANCE) += i64::from(operation.amount);
        self.effects
            .entry(branch)
            .or_insert(Effect { operation, times: 0 })
            .times += 1;
    }

    /// Undoes everything, and sets it aside again, as an old copy of the store would have it.
    pub fn undo(&mut self) -> Vec<(BranchKey, Operation)> {
        let effects = std::mem::take(&mut self.effects);
        let undone: Vec<(BranchKey, Operation)> = effects
            .into_iter()
            .map(|(branch, effect)| (branch, effect.operation))
            .collect();
        for (_, operation) in &undone {
            *self.balances.entry(operation.account).or_insert(OPENING_BALANCE) -= i64::from(operation.amount);
            *self.reserved.entry(operation.account).or_default() += taken(operation);
        }
        undone
    }

    /// What was done, by branch.
    pub fn effects(&self) -> &BTreeMap<BranchKey, Effect> {
        &self.effects
    }

    /// The sum over all accounts, as far as it differs from the beginning.
    pub fn change(&self) -> i64 {
        self.balances
            .values()
            .map(|balance| balance - OPENING_BALANCE)
            .sum()
    }

    /// What is set aside in all accounts.
    pub fn set_aside(&self) -> i64 {
        self.reserved.values().sum()
    }

    fn balance(&self, account: u8) -> i64 {
        self.balances.get(&account).copied().unwrap_or(OPENING_BALANCE)
    }
}

fn taken(operation: &Operation) -> i64 {
    i64::from(operation.amount.min(0).unsigned_abs())
}
