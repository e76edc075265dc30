//! Balances and what is reserved of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::operation::{LedgerOperation, net};
use crate::resource::{Refusal, Reservation};

/// One account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// In minor units (cents).
    pub balance: i64,
    /// Whether the balance may be negative.
    pub overdraft: bool,
}

#[derive(Debug, Default)]
struct Held {
    account: Account,
    /// Debits and credits that are promised, each as a positive sum.
    debits: i128,
    credits: i128,
}

impl Held {
    fn available(&self) -> i128 {
        i128::from(self.account.balance) - self.debits
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: BTreeMap<String, Held>,
    /// Promised to be opened.
    opening: BTreeSet<String>,
}

impl Accounts {
    pub fn restore(&mut self, name: String, account: Account) {
        self.accounts.insert(
            name,
            Held {
                account,
                ..Held::default()
            },
        );
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.accounts
            .iter()
            .map(|(name, held)| (name.as_str(), &held.account))
    }

    /// Checks everything first, then reserves everything.
    pub fn reserve(&mut self, operation: &LedgerOperation) -> Result<Reservation, Refusal> {
        match operation {
            LedgerOperation::Post { entries, .. } => {
                let net = net(entries);
                for (account, delta) in &net {
                    self.check(account, *delta)?;
                }
                for (account, delta) in net {
                    let held = self.accounts.get_mut(account).expect("checked right above");
                    if delta < 0 {
                        held.debits -= delta
                    } else {
                        held.credits += delta
                    }
                }
                Ok(Reservation::Reserved)
            }
            LedgerOperation::Open { account, .. } => {
                if self.accounts.contains_key(account) || !self.opening.insert(account.clone()) {
                    let message = format!("the account {account} exists or is being opened");
                    return Err(Refusal::permanent("ACCOUNT_EXISTS", message));
                }
                Ok(Reservation::Reserved)
            }
            LedgerOperation::Read { account, at_least } => {
                let held = self.account(account)?;
                match at_least {
                    Some(least) if held.available() < i128::from(*least) => {
                        Err(insufficient(account, held, *least))
                    }
                    _ => Ok(Reservation::Nothing),
                }
            }
        }
    }

    /// Applies what was reserved, and tells the accounts as they are now.
    pub fn apply(&mut self, operation: &LedgerOperation) -> Vec<(String, Account)> {
        match operation {
            LedgerOperation::Post { entries, .. } => {
                let mut balances = Vec::new();
                for (account, delta) in net(entries) {
                    let held = self.unreserve(account, delta);
                    let balance = i128::from(held.account.balance) + delta;
                    held.account.balance = i64::try_from(balance).expect("reserving checked the range");
                    balances.push((account.to_owned(), held.account.clone()));
                }
                balances
            }
            LedgerOperation::Open {
                account,
                balance,
                overdraft,
            } => {
                self.opening.remove(account);
                let opened = Account {
                    balance: *balance,
                    overdraft: *overdraft,
                };
                self.restore(account.clone(), opened.clone());
                vec![(account.clone(), opened)]
            }
            LedgerOperation::Read { .. } => Vec::new(),
        }
    }

    pub fn release(&mut self, operation: &LedgerOperation) {
        match operation {
            LedgerOperation::Post { entries, .. } => {
                for (account, delta) in net(entries) {
                    self.unreserve(account, delta);
                }
            }
            LedgerOperation::Open { account, .. } => {
                self.opening.remove(account);
            }
            LedgerOperation::Read { .. } => {}
        }
    }

    fn unreserve(&mut self, account: &str, delta: i128) -> &mut Held {
        let held = self.accounts.get_mut(account).expect("accounts are never closed");
        if delta < 0 {
            held.debits += delta
        } else {
            held.credits -= delta
        }
        assert!(
            held.debits >= 0 && held.credits >= 0,
            "{account} gives back only what was reserved"
        );
        held
    }

    fn account(&self, account: &str) -> Result<&Held, Refusal> {
        self.accounts
            .get(account)
            .ok_or_else(|| Refusal::permanent("UNKNOWN_ACCOUNT", format!("there is no account {account}")))
    }

    fn check(&self, account: &str, delta: i128) -> Result<(), Refusal> {
        let held = self.account(account)?;
        let range = i128::from(i64::MIN)..=i128::from(i64::MAX);
        let highest = i128::from(held.account.balance) + held.credits + delta.max(0);
        let lowest = held.available() + delta.min(0);
        if !range.contains(&highest) || !range.contains(&lowest) {
            return Err(Refusal::permanent(
                "AMOUNT_TOO_LARGE",
                format!("the balance of {account} would not fit"),
            ));
        }
        if delta < 0 && lowest < 0 && !held.account.overdraft {
            return Err(insufficient(account, held, delta.unsigned_abs()));
        }
        Ok(())
    }
}

/// Retryable: a reservation that is released or a credit that commits may make room.
fn insufficient(account: &str, held: &Held, wanted: impl std::fmt::Display) -> Refusal {
    let available = held.available();
    Refusal::retryable(
        "INSUFFICIENT_FUNDS",
        format!("{account} has {available} available and {wanted} is asked for"),
    )
}
