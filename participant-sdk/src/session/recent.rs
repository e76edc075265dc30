//! Votes that leave no trace in the store, kept for the length of a session so that a repeated prepare gets the same vote.
//!
//! A prepare is never sent again by another session, so nothing has to be kept for longer.
//!
//! A repeat whose vote is no longer kept must not work a second time. It can be promised, because a promise that nobody
//! waits for is found and rolled back; it must never commit at once.

use std::collections::{BTreeMap, VecDeque};

use handfast_proto::ids::TransactionId;

use crate::resource::{BranchKey, Vote};

/// How many votes are kept. A repeat that is later than this many votes is prepared, found by a scan and aborted.
const KEPT_VOTES: usize = 65_536;

/// The newest votes of a session.
#[derive(Debug, Default)]
pub(crate) struct RecentVotes {
    votes: BTreeMap<BranchKey, Vote>,
    order: VecDeque<BranchKey>,
    /// The newest transaction whose vote was dropped.
    dropped: Option<TransactionId>,
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
            self.dropped = self.dropped.max(Some(oldest.transaction));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.votes.clear();
        self.order.clear();
        self.dropped = None;
    }

    /// Whether a prepare may be a repeat of one whose vote is no longer kept.
    pub(crate) fn may_have_dropped(&self, branch: &BranchKey) -> bool {
        self.dropped.is_some_and(|dropped| branch.transaction <= dropped)
    }
}

#[cfg(test)]
mod tests;
