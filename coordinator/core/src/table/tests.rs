use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use handfast_ids::{Epoch, Partition, TransactionId};

use super::Table;
use crate::transaction::{State, Transaction};

fn id(number: u64) -> TransactionId {
    TransactionId::new(number / 7, Partition(0), Epoch(1), (number % 7) as u32)
}

/// Told apart by a count.
fn entry(number: usize) -> Transaction {
    Transaction::new(State::Preparing { unvoted: number }, Vec::new())
}

fn hash_of(table: &Table) -> u64 {
    let mut hasher = DefaultHasher::new();
    table.hash(&mut hasher);
    hasher.finish()
}

/// Random insertions, replacements and removals, with old ones that stay, against a map of the standard library.
#[test]
fn it_behaves_as_an_ordered_map() {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let (mut table, mut map) = (Table::default(), BTreeMap::new());
    let mut next = 1_000;
    for step in 0..40_000 {
        match random(10) {
            0..5 => {
                next += 1 + random(3);
                table.insert(id(next), entry(step));
                map.insert(id(next), entry(step));
            }
            // Anywhere, present or not: what a log that is folded may do.
            5 => {
                let number = id(next.saturating_sub(random(1_000)));
                table.insert(number, entry(step));
                map.insert(number, entry(step));
            }
            _ => {
                let number = id(next.saturating_sub(random(200)));
                assert_eq!(table.remove(number), map.remove(&number));
            }
        }
        let number = id(next.saturating_sub(random(300)));
        assert_eq!(table.get(number), map.get(&number));
        assert_eq!(table.contains(number), map.contains_key(&number));
        assert_eq!(table.len(), map.len());
        if step % 500 == 0 {
            assert!(table.iter().eq(map.iter().map(|(id, entry)| (*id, entry))));
            let from = id(next.saturating_sub(random(5_000)));
            let above = map.range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded));
            assert!(table.after(Some(from)).eq(above.map(|(id, entry)| (*id, entry))));
            assert!(table.order.len() <= 2 * table.len() + super::SLACK);
        }
    }
    let mut rebuilt = Table::default();
    for (id, entry) in map.iter().rev() {
        rebuilt.insert(*id, entry.clone());
    }
    assert_eq!(rebuilt, table);
    assert_eq!(hash_of(&rebuilt), hash_of(&table));
    rebuilt.remove(*map.keys().next_back().unwrap());
    assert_ne!(rebuilt, table);
}

/// A million transactions may wait for a participant that is away. Their operations are released and their callers answered;
/// what is left of one is its slot, its place in the order and in the index, and a timer.
#[test]
fn a_transaction_of_two_branches_that_waits_takes_less_than_400_bytes() {
    let slot = size_of::<super::Slot>();
    assert!(slot <= 272, "a slot takes {slot} bytes");
    // Where a list has just doubled, half of it is unused; an index is a third full then.
    let in_order = 2 * size_of::<super::InOrder>();
    let cells = 3 * size_of::<u32>();
    let timer = 2 * size_of::<TransactionId>();
    let all = slot + in_order + cells + timer;
    assert!(all < 400, "a transaction takes {all} bytes");
}

#[test]
fn what_passes_between_core_and_driver_is_small() {
    let outcome = size_of::<crate::Outcome>();
    assert!(outcome <= 32, "an outcome takes {outcome} bytes");
    let effect = size_of::<crate::Effect>();
    assert!(effect <= 128, "an effect takes {effect} bytes");
    let event = size_of::<crate::Event>();
    assert!(event <= 192, "an event takes {event} bytes");
}
