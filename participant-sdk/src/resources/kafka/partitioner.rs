//! Which partition a record goes to that does not name one.

use crate::resource::BranchKey;

/// The partition that Kafka's own producers choose for a key: murmur2, made positive, modulo the count of partitions.
pub(super) fn of_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions
}

/// A record without a key goes where the others of its branch go; branches spread over the partitions.
pub(super) fn of_branch(branch: BranchKey, partitions: i32) -> i32 {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&branch.transaction.as_u128().to_be_bytes());
    bytes[16..].copy_from_slice(&branch.branch.0.to_be_bytes());
    of_key(&bytes, partitions)
}

/// MurmurHash2 by Austin Appleby, with the seed of Kafka's `Utils.murmur2`.
fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut mixed = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (position, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * position);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own test of `Utils.murmur2`.
    #[test]
    fn hashes_as_kafkas_own_producers_do() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }
}
