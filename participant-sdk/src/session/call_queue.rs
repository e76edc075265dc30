//! Calls that wait for their turn, one a branch.

use std::collections::{BTreeMap, VecDeque};

use crate::resource::BranchKey;

/// First in, first out; what waits can be found and taken back by its branch.
#[derive(Debug)]
pub(crate) struct CallQueue<T> {
    order: VecDeque<BranchKey>,
    waiting: BTreeMap<BranchKey, T>,
}

impl<T> Default for CallQueue<T> {
    fn default() -> Self {
        CallQueue {
            order: VecDeque::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> CallQueue<T> {
    /// Queues a call, unless one waits for this branch.
    pub(crate) fn push(&mut self, branch: BranchKey, call: T) {
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.waiting.entry(branch) {
            vacant.insert(call);
            self.order.push_back(branch);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(BranchKey, T)> {
        while let Some(branch) = self.order.pop_front() {
            if let Some(call) = self.waiting.remove(&branch) {
                return Some((branch, call));
            }
        }
        None
    }

    /// Whether a call waits for this branch.
    pub(crate) fn is_waiting(&self, branch: &BranchKey) -> bool {
        self.waiting.contains_key(branch)
    }

    /// Takes a call back.
    pub(crate) fn remove(&mut self, branch: &BranchKey) {
        self.waiting.remove(branch);
    }

    /// Places in the queue, those of calls taken back included.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }
}
