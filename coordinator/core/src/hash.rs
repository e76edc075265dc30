//! Hashes that are cheap, and the same in every run.

use handfast_ids::TransactionId;

const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of an id. Ids are minted here and nowhere else, so nobody can choose them to collide.
pub(crate) fn of(transaction: TransactionId) -> u64 {
    let number = transaction.as_u128();
    let mixed = (number as u64 ^ (number >> 64) as u64).wrapping_mul(SPREAD);
    mixed ^ mixed >> 32
}

/// The hash of a resource's name, for a table that only saves a search: names that collide cost one.
pub(crate) fn of_name(name: &[u8]) -> u64 {
    let ends = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29),
        _ => name.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)),
    };
    let mixed = (ends ^ name.len() as u64).wrapping_mul(SPREAD);
    mixed ^ mixed >> 32
}
