//! The verdict on each transfer, from what the stores hold and what the clients were told. Nothing else is asked: not the
//! coordinator, not its log.

use std::collections::BTreeMap;

use crate::clients::{Asked, Told};
use crate::report::Report;
use crate::side::Holdings;

/// Judges all transfers; fills in the counts of `report`.
pub fn judge(asked: &[Asked], [left, right]: [&Holdings; 2], report: &mut Report) {
    let mut strangers = left
        .applied
        .keys()
        .chain(right.applied.keys())
        .collect::<std::collections::BTreeSet<_>>();
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
        match (
            told,
            count(&left.applied, &transfer.id),
            count(&right.applied, &transfer.id),
        ) {
            (_, l, r) if l > 1 || r > 1 => report.doubled += 1,
            (_, 1, 0) | (_, 0, 1) => report.half_done += 1,
            (Told::Committed, 0, 0) => report.lost += 1,
            (Told::Aborted, 1, 1) => report.aborted_but_done += 1,
            _ => {}
        }
    }
    // An effect that nobody asked for is one too many.
    report.doubled += strangers.len() as u64;
    report.total_after = left.total + right.total;
    report.left_prepared = left.prepared + right.prepared;
}

fn count(applied: &BTreeMap<String, u64>, reference: &str) -> u64 {
    applied.get(reference).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
