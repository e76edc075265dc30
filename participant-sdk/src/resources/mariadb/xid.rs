//! The name of a branch as an XA transaction.
//!
//! ```text
//!  'gtrid: log id, 32 hex digits; transaction id, 32', 'bqual: store id, 32; branch, 8', 1212569649
//! ```
//!
//! The server's list of prepared transactions is one for all of its databases, so the name says whose branch it is: without
//! the store, two resources on one server would finish each other's branches. A gtrid and a bqual may have 64 bytes each.
//! Hexadecimal digits can be read by people, typed again, and stand in a statement between quotes.

use handfast_proto::ids::{BranchId, LogId, StoreId, TransactionId};

use crate::resource::BranchKey;

/// Marks our transactions among those of other coordinators: `HFX1` in ASCII.
pub(super) const FORMAT_ID: i64 = 0x4846_5831;

const ID_DIGITS: usize = 32;
const BRANCH_DIGITS: usize = 8;

/// The name of a branch in this store, as XA statements take it.
pub(super) fn encode(store: StoreId, branch: BranchKey) -> String {
    format!("'{}','{}',{FORMAT_ID}", gtrid(branch), bqual(store, branch))
}

/// What a branch is called in our own tables and locks, whatever its store: 72 hexadecimal digits.
pub(super) fn key(branch: BranchKey) -> String {
    format!("{}{:08x}", gtrid(branch), branch.branch.0)
}

/// Back from [`key`].
pub(super) fn of_key(key: &str) -> Option<BranchKey> {
    let (log, rest) = key.split_at_checked(ID_DIGITS)?;
    let (transaction, branch) = rest.split_at_checked(ID_DIGITS)?;
    branch_key(log, transaction, branch)
}

/// The branch that a listed transaction stands for, and its store; `None` if it is not exactly how [`encode`] spells one,
/// and so somebody else's.
pub(super) fn decode(format_id: i64, gtrid: &[u8], bqual: &[u8]) -> Option<(StoreId, BranchKey)> {
    if format_id != FORMAT_ID {
        return None;
    }
    let (gtrid, bqual) = (str::from_utf8(gtrid).ok()?, str::from_utf8(bqual).ok()?);
    let (log, transaction) = gtrid.split_at_checked(ID_DIGITS)?;
    let (store, branch) = bqual.split_at_checked(ID_DIGITS)?;
    Some((StoreId(number(store)?), branch_key(log, transaction, branch)?))
}

fn gtrid(branch: BranchKey) -> String {
    format!("{:032x}{:032x}", branch.log.0, branch.transaction.as_u128())
}

fn bqual(store: StoreId, branch: BranchKey) -> String {
    format!("{:032x}{:08x}", store.0, branch.branch.0)
}

fn branch_key(log: &str, transaction: &str, branch: &str) -> Option<BranchKey> {
    if branch.len() != BRANCH_DIGITS {
        return None;
    }
    Some(BranchKey {
        log: LogId(number(log)?),
        transaction: TransactionId::from_u128(number(transaction)?).ok()?,
        branch: BranchId(u32::try_from(number(branch)?).ok()?),
    })
}

/// Digits in the one spelling that is written: lower case, no sign.
fn number(digits: &str) -> Option<u128> {
    let plain = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if plain && matches!(digits.len(), ID_DIGITS | BRANCH_DIGITS) {
        u128::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
