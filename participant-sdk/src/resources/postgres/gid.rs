//! The name of a prepared transaction.
//!
//! ```text
//!  hf1_<log id: 32 hex digits>_<transaction id: 32 hex digits>_<branch: 1 to 8 hex digits>
//! ```
//!
//! At most 79 bytes (PostgreSQL takes fewer than 200), one spelling for each branch, and nothing but `a-z0-9_`, so that it
//! may stand in a statement between quotes: `PREPARE TRANSACTION` takes no parameters.

use handfast_proto::ids::{BranchId, LogId, TransactionId};

use crate::resource::BranchKey;

/// How the names of our prepared transactions begin, and of nobody else's.
pub(super) const PREFIX: &str = "hf1_";

const ID_DIGITS: usize = 32;
const MAX_BRANCH_DIGITS: usize = 8;

/// The name under which a branch is prepared.
pub(super) fn encode(branch: BranchKey) -> String {
    format!(
        "{PREFIX}{:032x}_{:032x}_{:x}",
        branch.log.0,
        branch.transaction.as_u128(),
        branch.branch.0
    )
}

/// The branch that a name stands for; `None` if it is not exactly how [`encode`] spells one, and so somebody else's.
pub(super) fn decode(gid: &str) -> Option<BranchKey> {
    let mut parts = gid.strip_prefix(PREFIX)?.split('_');
    let (log, transaction, branch) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || log.len() != ID_DIGITS || transaction.len() != ID_DIGITS {
        return None;
    }
    if branch.len() > MAX_BRANCH_DIGITS {
        return None;
    }
    let key = BranchKey {
        log: LogId(u128::from_str_radix(log, 16).ok()?),
        transaction: TransactionId::from_u128(u128::from_str_radix(transaction, 16).ok()?).ok()?,
        branch: BranchId(u32::from_str_radix(branch, 16).ok()?),
    };
    (encode(key) == gid).then_some(key)
}

#[cfg(test)]
mod tests;
