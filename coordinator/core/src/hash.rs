//! A hash for transaction ids: cheap, and the same in every run.
//!
//! Ids are minted here and nowhere else, so nobody can choose them to collide.

use std::hash::{BuildHasherDefault, Hasher};

use handfast_ids::TransactionId;

/// Makes [`IdHasher`]s.
pub(crate) type IdHash = BuildHasherDefault<IdHasher>;

/// The hash of one id.
pub(crate) fn of(transaction: TransactionId) -> u64 {
    let mut hasher = IdHasher::default();
    hasher.write_u128(transaction.as_u128());
    hasher.finish()
}

/// Hashes what is one number of 128 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u128(&mut self, number: u128) {
        let mixed = (number as u64 ^ (number >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only ids are hashed with this");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
