//! The branches whose open work was rolled back before anybody voted for it. Such a branch can only abort: whoever joined it
//! anew would count its operations from nothing again, and the count could come to what the application expects although the
//! first of them are gone.
//!
//! ```text
//!  handle dropped, connection lost,     lost: nothing joins it,      the decision was carried out
//!  session closed, vote was no      ──►  its prepare is refused   ──►  (its fence keeps late work out)
//! ```
//!
//! It outlives the sessions with the database: with several coordinators over one resource, the session that one of them loses
//! takes the open work of all with it, and the others go on without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use handfast_proto::ids::{LogId, TransactionId};

use crate::resource::BranchKey;

/// The most branches of one log that are known by name; beyond that the oldest are kept as one line. A coordinator that was
/// started anew says nothing of the transactions that it forgot, so they end here.
const MAX_LOST: usize = 10_000;
/// The most logs; a process takes part in the transactions of a few coordinators.
const MAX_LOGS: usize = 64;

/// The register, one for all sessions of a resource.
#[derive(Default)]
pub(in crate::resources) struct LostWork(Mutex<Register>);

#[derive(Default)]
struct Register {
    by_log: BTreeMap<LogId, OfLog>,
    /// Branches of logs beyond [`MAX_LOGS`] were lost.
    of_others: bool,
}

#[derive(Default)]
struct OfLog {
    branches: BTreeSet<BranchKey>,
    /// Of transactions up to this one it is not known any more which have lost work.
    line: Option<TransactionId>,
}

impl LostWork {
    fn lock(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of this branch is rolled back.
    pub fn add(&self, branch: BranchKey) {
        let mut register = self.lock();
        if register.by_log.len() >= MAX_LOGS && !register.by_log.contains_key(&branch.log) {
            register.of_others = true;
            return;
        }
        let of_log = register.by_log.entry(branch.log).or_default();
        of_log.branches.insert(branch);
        if of_log.branches.len() > MAX_LOST
            && let Some(oldest) = of_log.branches.pop_first()
        {
            of_log.line = of_log.line.max(Some(oldest.transaction));
        }
    }

    /// Whether work of this branch was lost, or may have been.
    pub fn may_hold(&self, branch: BranchKey) -> bool {
        let register = self.lock();
        match register.by_log.get(&branch.log) {
            Some(of_log) => of_log.branches.contains(&branch) || of_log.line >= Some(branch.transaction),
            None => register.of_others,
        }
    }

    /// The branch was finished: from here on the store itself keeps late work out.
    pub fn ended(&self, branch: BranchKey) {
        let mut register = self.lock();
        if let Some(of_log) = register.by_log.get_mut(&branch.log) {
            of_log.branches.remove(&branch);
        }
    }
}

#[cfg(test)]
mod tests;
