//! Votes that leave no trace in the store, kept for the length of a session so that a repeated prepare gets the same vote.
//!
//! A prepare is never sent again by another session, so nothing has to be kept for longer.

use std::collections::{BTreeMap, VecDeque};

use crate::resource::{BranchKey, Vote};

/// How many votes are kept. A repeat that is later than this many votes is prepared, found by a scan and aborted.
const KEPT_VOTES: usize = 65_536;

/// The newest votes of a session.
#[derive(Debug, Default)]
pub(crate) struct RecentVotes {
    votes: BTreeMap<BranchKey, Vote>,
    order: VecDeque<BranchKey>,
}

impl RecentVotes {
    pub(crate) fn get(&self, branch: &BranchKey) -> Option<&Vote> {
        self.votes.get(branch)
    }

    pub(crate) fn keep(&mut self, branch: BranchKey, vote: Vote) {
        if self.votes.insert(branch, vote).is_some() {
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
