//! The verdict on each transfer, from what the stores hold and what the clients were told. Nothing else is asked: not the
//! coordinator, not its log.

use std::collections::{BTreeMap, BTreeSet};

use crate::clients::{Asked, Told};
use crate::report::Report;
use crate::side::{Change, Holdings};
use crate::transfers::{Name, OPENING_BALANCE, Transfer};

/// Judges all transfers and all accounts; fills in the counts of `report`.
pub fn judge(asked: &[Asked], [left, right]: [&Holdings; 2], report: &mut Report) {
    let mut strangers: BTreeSet<&String> = left.applied.keys().chain(right.applied.keys()).collect();
    report.asked = asked.len() as u64;
    for Asked {
        transfer,
        told,
        resolved,
    } in asked
    {
        strangers.remove(&transfer.id);
        match told {
            Told::Committed => report.committed += 1,
            Told::Aborted => report.aborted += 1,
            Told::Unknown => report.unknown += 1,
        }
        report.unknown_then_resolved += u64::from(*resolved);
        let (on_left, on_right) = (changes(left, transfer), changes(right, transfer));
        match (told, on_left.len(), on_right.len()) {
            (_, l, r) if l > 1 || r > 1 => report.doubled += 1,
            (_, 1, 0) | (_, 0, 1) => report.half_done += 1,
            (Told::Committed, 0, 0) => report.lost += 1,
            (Told::Aborted, 1, 1) => report.aborted_but_done += 1,
            _ => {}
        }
        let is_as_asked =
            |made: &[Change], side| made.iter().all(|change| *change == ordered(transfer, side));
        report.altered += u64::from(!is_as_asked(on_left, Name::Left) || !is_as_asked(on_right, Name::Right));
    }
    // An effect that nobody asked for is one too many.
    report.doubled += strangers.len() as u64;
    report.unbalanced = unbalanced(left) + unbalanced(right);
    report.total_after = left.total() + right.total();
    report.left_prepared = left.prepared + right.prepared;
}

fn changes<'a>(store: &'a Holdings, transfer: &Transfer) -> &'a [Change] {
    store.applied.get(&transfer.id).map_or(&[], Vec::as_slice)
}

/// What a transfer is to do on this side.
fn ordered(transfer: &Transfer, side: Name) -> Change {
    let (account, amount) = if side == transfer.from {
        (&transfer.from_account, -transfer.amount)
    } else {
        (&transfer.to_account, transfer.amount)
    };
    Change {
        account: account.clone(),
        amount,
    }
}

/// Accounts whose balance is not what they began with and all changes together.
fn unbalanced(store: &Holdings) -> u64 {
    let mut due: BTreeMap<&String, i64> = store
        .balances
        .keys()
        .map(|account| (account, OPENING_BALANCE))
        .collect();
    for change in store.applied.values().flatten() {
        *due.entry(&change.account).or_default() += change.amount;
    }
    due.iter()
        .filter(|&(account, due)| store.balances.get(*account) != Some(due))
        .count() as u64
}

#[cfg(test)]
mod tests;
