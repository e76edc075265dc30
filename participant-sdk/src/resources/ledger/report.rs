//! Reading a ledger that is not running, from its own durable state alone.

use std::collections::BTreeMap;
use std::path::Path;

use handfast_wal::RealDisk;

use super::{Applied, Ledger, LedgerOptions, journal_directory};
use crate::journal::{self, Inspected, JournalError};
use crate::resource::BranchKey;

/// What a ledger holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerReport {
    /// The balance of each account, in minor units.
    pub balances: BTreeMap<String, i64>,
    /// The sum of all balances.
    pub total: i128,
    /// The postings that were applied, in order, as far as they are kept.
    pub applied: Vec<Applied>,
    /// Branches that wait for a decision.
    pub prepared: Vec<BranchKey>,
    /// Branches that were committed and are not forgotten.
    pub markers: Vec<BranchKey>,
    /// Branches that were aborted and are not forgotten.
    pub fences: Vec<BranchKey>,
}

impl LedgerReport {
    /// How often each reference was applied.
    pub fn applied_by_reference(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for applied in &self.applied {
            *counts.entry(applied.reference.as_str()).or_insert(0) += 1;
        }
        counts
    }

    pub(super) fn new(inspected: Inspected<Ledger>) -> Self {
        let Inspected {
            staged: ledger,
            prepared,
            markers,
            fences,
            ..
        } = inspected;
        let balances: BTreeMap<String, i64> = ledger
            .accounts
            .iter()
            .map(|(name, account)| (name.to_owned(), account.balance))
            .collect();
        LedgerReport {
            total: balances.values().map(|balance| i128::from(*balance)).sum(),
            balances,
            applied: ledger.applied.into(),
            prepared,
            markers,
            fences,
        }
    }
}

/// Reads the ledger in this directory, whose process must have stopped. Nothing is changed.
///
/// # Errors
/// The directory cannot be read, holds no ledger, or does not check out.
pub async fn inspect(directory: impl AsRef<Path>) -> Result<LedgerReport, JournalError> {
    let journal = journal_directory(directory);
    let disk = RealDisk::open(&journal).map_err(|error| JournalError::Directory {
        directory: journal.display().to_string(),
        message: error.to_string(),
    })?;
    let inspected = journal::inspect(Ledger::new(LedgerOptions::default()), &disk).await?;
    Ok(LedgerReport::new(inspected))
}
