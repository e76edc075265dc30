//! Votes that leave no trace in the store, kept for the length of a session so that a repeated prepare gets the same vote.
//!
//! A prepare is never sent again by another session, so nothing has to be kept for longer. Every branch comes by here once,
//! so what is kept of it is small and found by a cheap hash.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::resource::{BranchKey, Refusal, Vote};

/// How many votes are kept. A repeat that is later than this many votes is prepared, found by a scan and aborted.
const KEPT_VOTES: usize = 65_536;

/// The newest votes of a session.
#[derive(Debug, Default)]
pub(crate) struct RecentVotes {
    votes: HashMap<BranchKey, Kept, BuildHasherDefault<BranchHasher>>,
    order: VecDeque<BranchKey>,
}

#[derive(Debug)]
enum Kept {
    Vote(Box<Vote>),
    /// The branch was decided; in words, why it is refused.
    Fenced(&'static str),
}

impl RecentVotes {
    /// What is said to a prepare that comes again.
    pub(crate) fn get(&self, branch: &BranchKey) -> Option<Vote> {
        self.votes.get(branch).map(|kept| match kept {
            Kept::Vote(vote) => Vote::clone(vote),
            Kept::Fenced(message) => Vote::Refused(Refusal::permanent("FENCED", *message)),
        })
    }

    /// Keeps a vote.
    pub(crate) fn keep(&mut self, branch: BranchKey, vote: Vote) {
        self.insert(branch, Kept::Vote(Box::new(vote)));
    }

    /// The branch was decided: a prepare that comes from now on is refused with these words.
    pub(crate) fn fence(&mut self, branch: BranchKey, message: &'static str) {
        self.insert(branch, Kept::Fenced(message));
    }

    fn insert(&mut self, branch: BranchKey, kept: Kept) {
        if self.votes.insert(branch, kept).is_some() {
            return;
        }
        self.order.push_back(branch);
        if self.order.len() > KEPT_VOTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.votes.remove(&oldest);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.votes.clear();
        self.order.clear();
    }
}

/// Hashes the numbers of a branch, the same in every run. Coordinators mint them, so nobody else can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
struct BranchHasher(u64);

impl Hasher for BranchHasher {
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64 ^ (number >> 64) as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests;
