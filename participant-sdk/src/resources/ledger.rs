//! Embedded accounts: integer amounts, double entry if the application wants it, no overdraft unless it is allowed.
//!
//! The journal is the truth. The accounts are in memory, because every prepare has to look at them, and a start costs one
//! checkpoint plus the records behind it. A sled database beside the journal mirrors what is durable, for readers of this
//! process; it is written after the sync with the position that it has reached in the same batch, and is thrown away and
//! built anew when it does not fit the journal. Under simulation there is no mirror.
//!
//! ```text
//!   <directory>/journal/   the truth
//!   <directory>/mirror/    rebuildable
//! ```
//!
//! A debit reserves its amount from the prepare to the decision, so that two transactions never spend the same money. A
//! credit can be spent once its transaction has committed.

mod accounts;
mod mirror;
mod operation;
mod report;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::resource::{BranchKey, Refusal, Reservation, ResourceError, Staged};
use accounts::Accounts;
use mirror::{Change, Mirror};

pub use accounts::Account;
pub use mirror::Readers;
pub use operation::{Entry, LedgerOperation};
pub use report::{LedgerReport, inspect};

/// Where the journal of a ledger is, within the ledger's directory.
pub fn journal_directory(directory: impl AsRef<Path>) -> PathBuf {
    directory.as_ref().join("journal")
}

/// What a ledger has done: one committed posting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// The record of the journal that committed it.
    pub position: u64,
    /// The posting's own reference.
    pub reference: String,
    /// The transaction's id.
    pub transaction: String,
    /// The branch's ordinal.
    pub branch: u32,
    /// What was posted.
    pub entries: Vec<Entry>,
}

/// How much a ledger keeps.
#[derive(Clone, Debug, Default)]
pub struct LedgerOptions {
    /// The accounts of a ledger that is made now, with their first balances. A ledger that exists keeps its own.
    pub accounts: Vec<(String, Account)>,
    /// How many applied postings are kept; `None` keeps all, in memory and in each checkpoint, which suits tests and
    /// audits of bounded length and not a ledger that runs for years.
    pub history: Option<usize>,
}

/// The ledger, for [`Builder::staged`](crate::participant::Builder::staged).
pub struct Ledger {
    options: LedgerOptions,
    accounts: Accounts,
    applied: VecDeque<Applied>,
    /// The record of the journal that changed the ledger last.
    position: u64,
    mirror: Option<Mirror>,
}

/// A record of a checkpoint.
#[derive(Serialize, Deserialize)]
enum Snapshot {
    Account { name: String, account: Account },
    Applied(Applied),
    Position(u64),
}

impl Ledger {
    /// A ledger without a mirror.
    pub fn new(options: LedgerOptions) -> Self {
        Ledger {
            options,
            accounts: Accounts::default(),
            applied: VecDeque::new(),
            position: 0,
            mirror: None,
        }
    }

    /// Mirrors what is durable into `<directory>/mirror`, from when the journal is open and so nobody else's. If it cannot
    /// be made, the ledger works without.
    #[must_use]
    pub fn mirrored_in(mut self, directory: impl AsRef<Path>) -> Self {
        self.mirror = Some(Mirror::at(directory.as_ref().join("mirror")));
        self
    }

    /// Reads what is durable, from other tasks and threads, if there is a mirror.
    pub fn readers(&self) -> Option<Readers> {
        self.mirror.as_ref().map(Mirror::readers)
    }

    fn keep(&mut self, applied: Applied) -> Option<u64> {
        self.applied.push_back(applied);
        let is_over = self.options.history.is_some_and(|kept| self.applied.len() > kept);
        if is_over {
            self.applied.pop_front().map(|applied| applied.position)
        } else {
            None
        }
    }
}

impl Staged for Ledger {
    fn initial(&self) -> Vec<Bytes> {
        let account = |(name, account): &(String, Account)| {
            encode(&Snapshot::Account {
                name: name.clone(),
                account: account.clone(),
            })
        };
        self.options.accounts.iter().map(account).collect()
    }

    fn reserve(&mut self, _branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        self.accounts.reserve(&LedgerOperation::decode(operation)?)
    }

    fn apply(&mut self, position: u64, branch: BranchKey, operation: &[u8]) {
        let operation = reserved(operation);
        let balances = self.accounts.apply(&operation);
        self.position = position;
        let (applied, forgotten) = match operation {
            LedgerOperation::Post { reference, entries } => {
                let transaction = branch.transaction.to_string();
                let applied = Applied {
                    position,
                    reference,
                    transaction,
                    branch: branch.branch.0,
                    entries,
                };
                let forgotten = self.keep(applied.clone());
                (Some(applied), forgotten)
            }
            LedgerOperation::Open { .. } | LedgerOperation::Read { .. } => (None, None),
        };
        if let Some(mirror) = &mut self.mirror {
            mirror.changed(Change {
                position,
                balances,
                applied,
                forgotten,
            });
        }
    }

    fn release(&mut self, _branch: BranchKey, operation: &[u8]) {
        self.accounts.release(&reserved(operation));
    }

    fn synced(&mut self, position: u64) {
        if let Some(mirror) = &mut self.mirror {
            mirror.synced(position, self.position, &self.accounts, &self.applied);
        }
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let accounts = self.accounts.iter().map(|(name, account)| Snapshot::Account {
            name: name.to_owned(),
            account: account.clone(),
        });
        let applied = self.applied.iter().cloned().map(Snapshot::Applied);
        let records = accounts.chain(applied).chain([Snapshot::Position(self.position)]);
        records.map(|record| encode(&record)).collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let record = serde_json::from_slice(record).map_err(|error| {
            ResourceError::permanent(format!("a record of the ledger cannot be read: {error}"))
        })?;
        match record {
            Snapshot::Account { name, account } => self.accounts.restore(name, account),
            Snapshot::Applied(applied) => {
                self.keep(applied);
            }
            Snapshot::Position(position) => self.position = position,
        }
        Ok(())
    }
}

fn encode(record: &Snapshot) -> Bytes {
    serde_json::to_vec(record)
        .expect("numbers and texts can be written as JSON")
        .into()
}

fn reserved(operation: &[u8]) -> LedgerOperation {
    LedgerOperation::decode(operation).expect("what was reserved could be read")
}

#[cfg(test)]
mod tests;
