//! Lists of branches that a replay has met, by their bytes.
//!
//! A log names the same few lists of branches over and over. One that stands here already is not taken apart again: its
//! bytes were read before, and so was what they say.

use std::collections::BTreeMap;

use handfast_core::BranchList;

/// Places of lists that were met lately: so many, that lists seldom take each other's.
const RECENT: usize = 1024;

/// A list of more bytes is seldom met twice.
const MOST_BYTES: usize = 4096;

/// The lists, found by the bytes from their length to the end of their record.
#[derive(Debug)]
pub struct Lists {
    met: BTreeMap<Box<[u8]>, BranchList>,
    recent: Vec<Option<(Box<[u8]>, BranchList)>>,
    full: bool,
}

impl Default for Lists {
    fn default() -> Self {
        Lists {
            met: BTreeMap::new(),
            recent: vec![None; RECENT],
            full: false,
        }
    }
}

impl Lists {
    /// The list that these bytes say, if it was met.
    #[inline]
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<BranchList> {
        let at = place_of(bytes);
        match &self.recent[at] {
            Some((met, list)) if **met == *bytes => Some(*list),
            _ => self.find_again(at, bytes),
        }
    }

    fn find_again(&mut self, at: usize, bytes: &[u8]) -> Option<BranchList> {
        let (met, list) = self.met.get_key_value(bytes)?;
        self.recent[at] = Some((met.clone(), *list));
        Some(*list)
    }

    /// Whether a list of these bytes may be entered.
    pub fn takes(&self, bytes: &[u8]) -> bool {
        !self.full && bytes.len() <= MOST_BYTES
    }

    /// Enters a list, or that there is no place for any more.
    pub fn enter(&mut self, bytes: &[u8], list: Option<BranchList>) {
        match list {
            Some(list) => {
                self.met.insert(bytes.into(), list);
            }
            None => self.full = true,
        }
    }
}

fn place_of(bytes: &[u8]) -> usize {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| {
        mix(hash, u64::from_le_bytes(*word))
    });
    let hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
    (hash >> 32) as usize % RECENT
}
