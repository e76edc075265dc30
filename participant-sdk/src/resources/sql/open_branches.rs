//! The interactive branches of one session: who works on which, and what waits for its prepare.
//!
//! ```text
//!           reserve                   park                    take
//!  (none) ───────► in use by a handle ──────► parked ──────► given to its prepare
//!                       │ │    ▲                │  │
//!               release │ │    └─── reserve ────┘  │ discard, close, connection lost
//!                       ▼ │                        ▼
//!                    (none)                     (none)
//!                         │ discard                ▲
//!                         └──────► discarded ──────┘ park, release: the work is dropped, nobody will come for it
//! ```
//!
//! The handle counts operations; the application sends the count along with its commit, and the branch votes yes only if
//! both agree: an operation that one of them does not know of dooms the branch.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handfast_proto::ids::BranchId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::resource::{BranchKey, Refusal, ResourceError};

/// What a service hands back to the application that called it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The branch.
    pub branch: BranchId,
    /// The operations that succeeded on it so far.
    pub operations: u64,
}

/// A transaction of the database, open for one branch. Dropped, it is rolled back.
pub(in crate::resources) trait OpenTransaction {
    /// Whether the connection is lost, and all of the work with it.
    fn is_lost(&self) -> bool;
}

/// The work of a branch, with what is known of it.
pub(in crate::resources) struct Parked<T> {
    pub transaction: T,
    pub operations: u64,
    broken: bool,
}

/// The interactive branches of one session.
pub(in crate::resources) struct OpenBranches<T> {
    slots: Mutex<Slots<T>>,
    changed: watch::Sender<()>,
}

struct Slots<T> {
    closed: bool,
    by_branch: BTreeMap<BranchKey, Slot<T>>,
}

enum Slot<T> {
    InUse,
    /// In use still, and the branch has ended: nobody will take this work.
    Discarded,
    Parked(Box<Parked<T>>),
}

/// What a prepare finds.
pub(in crate::resources) enum Taken<T> {
    /// The work.
    Parked(Box<Parked<T>>),
    /// A handle kept it for as long as the prepare could wait.
    InUse,
    /// Nothing.
    Unknown,
}

impl<T> Parked<T> {
    /// A transaction that has just been begun.
    pub fn new(transaction: T) -> Self {
        Parked {
            transaction,
            operations: 0,
            broken: false,
        }
    }

    /// Counts as broken from here on, until the statement has [succeeded](Self::succeeded): a future that is dropped half-way
    /// leaves it so. `false` if it is broken already.
    pub fn attempt(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    /// The statement is done.
    pub fn succeeded(&mut self) {
        self.operations += 1;
        self.broken = false;
    }

    /// Why this work may not be promised as `expected` operations.
    pub fn refusal(&self, expected: u64) -> Option<Refusal> {
        if self.broken {
            Some(Refusal::permanent(
                "TRANSACTION_FAILED",
                "a statement of this branch failed or was broken off",
            ))
        } else if self.operations != expected {
            Some(Refusal::permanent(
                "OPERATIONS_DIFFER",
                format!(
                    "the branch has {} operations, and the application counted {expected}",
                    self.operations
                ),
            ))
        } else {
            None
        }
    }
}

impl<T> Default for OpenBranches<T> {
    fn default() -> Self {
        OpenBranches {
            slots: Mutex::new(Slots {
                closed: false,
                by_branch: BTreeMap::new(),
            }),
            changed: watch::Sender::default(),
        }
    }
}

impl<T: OpenTransaction> OpenBranches<T> {
    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the work of a branch for its prepare; waits while a handle has it.
    pub async fn take(&self, branch: BranchKey, deadline: Instant) -> Taken<T> {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(taken) = self.take_now(branch) {
                return taken;
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Taken::InUse;
            }
        }
    }

    /// Takes the work of a branch; `None` while a handle has it.
    fn take_now(&self, branch: BranchKey) -> Option<Taken<T>> {
        let mut slots = self.lock();
        if let Some(Slot::InUse | Slot::Discarded) = slots.by_branch.get(&branch) {
            return None;
        }
        Some(match slots.by_branch.remove(&branch) {
            Some(Slot::Parked(parked)) => Taken::Parked(parked),
            _ => Taken::Unknown,
        })
    }

    /// Rolls back the work of a branch that has ended: now if it is parked, else when its handle lets go of it.
    pub fn discard(&self, branch: BranchKey) {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_branch.get_mut(&branch) {
            match slot {
                Slot::InUse | Slot::Discarded => *slot = Slot::Discarded,
                Slot::Parked(_) => {
                    slots.by_branch.remove(&branch);
                }
            }
        }
    }

    /// Rolls back all parked work, and lets none be parked any more.
    pub fn close(&self) {
        let mut slots = self.lock();
        slots.closed = true;
        slots.by_branch.clear();
    }

    /// Reserves a branch for a handle; gives its work if it has been joined before.
    pub fn reserve(&self, branch: BranchKey) -> Result<Option<Box<Parked<T>>>, ResourceError> {
        let mut slots = self.lock();
        slots
            .by_branch
            .retain(|_, slot| !matches!(slot, Slot::Parked(work) if work.transaction.is_lost()));
        if slots.closed {
            return Err(ResourceError::transient(
                "the session with the database was lost; begin the transaction again",
            ));
        }
        if let Some(Slot::InUse | Slot::Discarded) = slots.by_branch.get(&branch) {
            return Err(ResourceError::transient(format!(
                "another call works on branch {branch}; do one after the other"
            )));
        }
        Ok(match slots.by_branch.insert(branch, Slot::InUse) {
            Some(Slot::Parked(work)) => Some(work),
            _ => None,
        })
    }

    /// Keeps the work of a handle for its prepare, or for the next handle; rolls it back if nobody will ask for it.
    pub fn park(&self, branch: BranchKey, work: Parked<T>) {
        let mut slots = self.lock();
        match slots.by_branch.get(&branch) {
            Some(Slot::InUse) => {
                slots.by_branch.insert(branch, Slot::Parked(Box::new(work)));
            }
            Some(Slot::Discarded) => {
                slots.by_branch.remove(&branch);
            }
            // The session was closed.
            Some(Slot::Parked(_)) | None => {}
        }
        drop(slots);
        self.changed.send_replace(());
    }

    /// A handle gave up its work.
    pub fn release(&self, branch: BranchKey) {
        self.lock().by_branch.remove(&branch);
        self.changed.send_replace(());
    }
}

/// Frees the slot of a join that does not come to an end.
pub(in crate::resources) struct Reservation<'a, T: OpenTransaction>(pub &'a OpenBranches<T>, pub BranchKey);

impl<T: OpenTransaction> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}

#[cfg(test)]
mod tests;
