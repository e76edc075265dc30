//! Prepared branches whose connection is still ours: MariaDB lets nobody else finish them while it lives.
//!
//! ```text
//!  vote ──keep──► held ──take──► XA COMMIT on the same connection ──► back to its pool
//!                   │
//!                   └── no room, session closed, process dead: the connection ends, and any other one finishes the branch
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connection::Lease;
use crate::resource::BranchKey;

/// The connections, each with its branch.
pub(super) struct HeldBranches {
    room: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    closed: bool,
    by_branch: BTreeMap<BranchKey, Lease>,
}

impl HeldBranches {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        HeldBranches {
            room,
            held: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the connection with its branch; without room for it, it is closed.
    pub fn keep(&self, branch: BranchKey, mut lease: Lease) {
        lease.retire();
        let mut held = self.lock();
        if !held.closed && held.by_branch.len() < self.room {
            held.by_branch.insert(branch, lease);
        }
    }

    /// The connection that holds the branch.
    pub fn take(&self, branch: BranchKey) -> Option<Lease> {
        self.lock().by_branch.remove(&branch)
    }

    /// All connections end, and none is kept any more.
    pub fn close(&self) {
        let mut held = self.lock();
        held.closed = true;
        held.by_branch.clear();
    }
}
