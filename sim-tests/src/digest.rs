//! The running hash of a trace.
//!
//! Every event of every seed goes through it, so it is quick: a multiplication a word. It is the same in every process, and no
//! word that differs can be lost in a later one, because each step is a bijection of the state.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map that is looked into at each event of a run, where a tree of long ids costs more than all else that is judged.
/// Nothing depends on its order; that is the same in every process all the same.
pub type Table<K, V> = HashMap<K, V, BuildHasherDefault<Digest>>;

/// A set of the same kind.
pub type Set<T> = HashSet<T, BuildHasherDefault<Digest>>;

/// Takes words, and stands for all of them in their order.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

/// Odd, and with bits all over: the fraction of the golden ratio.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Default for Digest {
    fn default() -> Self {
        Digest(FACTOR)
    }
}

impl Digest {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }

    fn write_u8(&mut self, word: u8) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    fn write_u128(&mut self, word: u128) {
        self.word(word as u64);
        self.word((word >> 64) as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.word(word as u64);
    }

    fn finish(&self) -> u64 {
        // The last word has gone through one multiplication only.
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(FACTOR);
        mixed ^ mixed >> 29
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::Digest;

    fn digest(words: impl Hash) -> u64 {
        let mut digest = Digest::default();
        words.hash(&mut digest);
        digest.finish()
    }

    #[test]
    fn what_differs_in_a_word_in_order_or_in_length_differs() {
        let all = [
            digest((1_u64, 2_u64)),
            digest((2_u64, 1_u64)),
            digest((1_u64, 3_u64)),
            digest((1_u64, 2_u64, 0_u64)),
            digest("ab"),
            digest("ab\0"),
            digest(("a", "b")),
            digest(1_u128 << 64),
            digest(1_u128),
        ];
        for (number, one) in all.iter().enumerate() {
            assert!(!all[..number].contains(one), "{number}");
        }
    }
}
