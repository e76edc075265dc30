//! The interactive branches of one session: who works on which, and what waits for its prepare.
//!
//! ```text
//!           reserve                   park                    take
//!  (none) ───────► in use by a handle ──────► parked ──────► given to its prepare
//!                       │ │    ▲                │  │
//!                  lose │ │    └─── reserve ────┘  │ close, connection lost
//!                       ▼ │ discard                ▼
//!           lost: only the abort is left   lost: only the abort is left
//!                         │                        ▲
//!                         └──────► discarded ──────┘ park, lose: the work is dropped, nobody will come for it
//! ```
//!
//! Lost work is remembered beyond the session ([`LostWork`]): its branch is not begun anew, where it would count from nothing.
//!
//! The handle counts operations; the application sends the count along with its commit, and the branch votes yes only if
//! both agree: an operation that one of them does not know of dooms the branch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handfast_proto::ids::BranchId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::lost_work::LostWork;
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
    lost: Arc<LostWork>,
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
    /// It was rolled back.
    Lost,
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

impl<T: OpenTransaction> OpenBranches<T> {
    /// Those of a new session; what earlier ones have lost stays lost.
    pub fn new(lost: Arc<LostWork>) -> Self {
        OpenBranches {
            slots: Mutex::new(Slots {
                closed: false,
                by_branch: BTreeMap::new(),
            }),
            changed: watch::Sender::default(),
            lost,
        }
    }

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
            _ if self.lost.may_hold(branch) => Taken::Lost,
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

    /// Rolls back all work, parked or in use, and lets none be parked any more. Branches of several coordinators may be among
    /// it, and only one of them knows: so none is begun anew.
    pub fn close(&self) {
        let mut slots = self.lock();
        slots.closed = true;
        for (branch, _) in std::mem::take(&mut slots.by_branch) {
            self.lost.add(branch);
        }
    }

    /// The vote of a branch was no: nothing joins it any more.
    pub fn refused(&self, branch: BranchKey) {
        self.lost.add(branch);
    }

    /// A decision was carried out.
    pub fn ended(&self, branch: BranchKey) {
        self.lost.ended(branch);
    }

    /// Reserves a branch for a handle; gives its work if it has been joined before.
    pub fn reserve(&self, branch: BranchKey) -> Result<Option<Box<Parked<T>>>, ResourceError> {
        let mut slots = self.lock();
        slots.by_branch.retain(|branch, slot| {
            let is_lost = matches!(slot, Slot::Parked(work) if work.transaction.is_lost());
            if is_lost {
                self.lost.add(*branch);
            }
            !is_lost
        });
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
        match slots.by_branch.insert(branch, Slot::InUse) {
            Some(Slot::Parked(work)) => Ok(Some(work)),
            _ if self.lost.may_hold(branch) => {
                slots.by_branch.remove(&branch);
                Err(ResourceError::permanent(format!(
                    "branch {branch} cannot be joined any more: its work was rolled back; abort the transaction and begin anew"
                )))
            }
            _ => Ok(None),
        }
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

    /// A handle gave up its work, which is rolled back.
    pub fn lose(&self, branch: BranchKey) {
        let mut slots = self.lock();
        if let Some(Slot::InUse) = slots.by_branch.remove(&branch) {
            self.lost.add(branch);
        }
        drop(slots);
        self.changed.send_replace(());
    }

    /// A reservation came to nothing; no work was done under it.
    fn release(&self, branch: BranchKey) {
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
