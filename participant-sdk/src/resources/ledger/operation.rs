//! What can be asked of a ledger, in JSON.
//!
//! ```json
//! {"post": {"reference": "order-4711", "entries": [{"account": "alice", "delta": -500}, {"account": "bob", "delta": 500}]}}
//! {"open": {"account": "carol"}}
//! {"read": {"account": "alice", "at_least": 100}}
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::resource::Refusal;

/// Entries of one posting.
const ENTRIES: usize = 1000;
/// Bytes of an account's name and of a reference.
const NAME_BYTES: usize = 128;

/// One line of a posting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which account.
    pub account: String,
    /// What is added to its balance, in minor units (cents); negative for a debit.
    pub delta: i64,
}

/// An operation of a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LedgerOperation {
    /// Changes balances. One branch may hold a whole transfer or one leg of it.
    Post {
        /// The application's own name for it, such as an order's number.
        reference: String,
        /// The changes.
        entries: Vec<Entry>,
    },
    /// Opens an account, which must not exist.
    Open {
        /// Which account.
        account: String,
        /// Its first balance.
        #[serde(default)]
        balance: i64,
        /// Whether its balance may be negative.
        #[serde(default)]
        overdraft: bool,
    },
    /// Changes nothing: votes read-only if the account exists and has enough.
    Read {
        /// Which account.
        account: String,
        /// The least that must be available.
        #[serde(default)]
        at_least: Option<i64>,
    },
}

impl LedgerOperation {
    /// Moves an amount from one account to another, in one branch.
    pub fn transfer(
        reference: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        amount: i64,
    ) -> Self {
        let from = Entry {
            account: from.into(),
            delta: -amount,
        };
        let to = Entry {
            account: to.into(),
            delta: amount,
        };
        LedgerOperation::Post {
            reference: reference.into(),
            entries: vec![from, to],
        }
    }

    /// Adds to one account; negative for a debit.
    pub fn post(reference: impl Into<String>, account: impl Into<String>, delta: i64) -> Self {
        let entries = vec![Entry {
            account: account.into(),
            delta,
        }];
        LedgerOperation::Post {
            reference: reference.into(),
            entries,
        }
    }

    /// As it travels in a transaction.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("numbers and texts can be written as JSON")
            .into()
    }

    /// Reads and checks an operation.
    ///
    /// # Errors
    /// A refusal for good, `BAD_OPERATION`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::permanent("BAD_OPERATION", message);
        let operation: LedgerOperation =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        let is_name = |name: &str| (1..=NAME_BYTES).contains(&name.len());
        let checked = match &operation {
            LedgerOperation::Post { reference, entries } => {
                is_name(reference)
                    && (1..=ENTRIES).contains(&entries.len())
                    && entries.iter().all(|entry| is_name(&entry.account))
            }
            LedgerOperation::Open {
                account,
                balance,
                overdraft,
            } => is_name(account) && (*overdraft || *balance >= 0),
            LedgerOperation::Read { account, .. } => is_name(account),
        };
        match checked {
            true => Ok(operation),
            false => Err(bad(format!(
                "names have 1 to {NAME_BYTES} bytes, postings 1 to {ENTRIES} entries, first balances are not negative"
            ))),
        }
    }
}

/// What entries come to for each account. Sums are wide, so that they cannot overflow.
pub(super) fn net(entries: &[Entry]) -> BTreeMap<&str, i128> {
    let mut net = BTreeMap::new();
    for entry in entries {
        *net.entry(entry.account.as_str()).or_insert(0) += i128::from(entry.delta);
    }
    net
}
