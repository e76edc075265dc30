//! Joining interactive transactions.
//!
//! 1. A service is called with a transaction id and enlists. The coordinator acknowledges before any work starts.
//! 2. The service works, for instance in an open database transaction, and hands that over to its [`Resource`] under
//!    [`EnlistedBranch::branch`], if [`EnlistedBranch::is_doomed`] still says no *under the lock of the resource's map*.
//! 3. The application commits; the resource is called with `prepare(branch, Work::Interactive { operations }, ..)`.
//!
//! A branch is pinned to the session that enlisted it. When that session is lost, its branches are doomed first, and then
//! [`Resource::open`] is called, which rolls back all open work. So work handed over before is found by `open`, and work
//! handed over after sees that it is doomed.
//!
//! [`Resource`]: crate::Resource
//! [`Resource::open`]: crate::Resource::open

use std::sync::Arc;

use handfast_proto::ids::TransactionId;
use tokio::sync::{mpsc, oneshot, watch};

use super::Counters;
use crate::resource::BranchKey;

/// Enlistments that wait for a session or for their answer.
pub(crate) const QUEUED_ENLISTMENTS: usize = 1024;

/// Why a service did not join. No work may be done for the transaction.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnlistError {
    /// The coordinator refused, with its stable reason, such as `UNKNOWN_TRANSACTION` or `SEALED`.
    #[error("the transaction cannot be joined: {0}")]
    Refused(String),
    /// The session was lost before the answer came. Should it have joined, the branch is doomed: enlist again, and the
    /// coordinator aborts if the sets of branches differ.
    #[error("the session with the coordinator was lost; try again")]
    SessionLost,
    /// The participant has stopped.
    #[error("the participant has stopped")]
    Stopped,
}

pub(crate) struct EnlistCommand {
    pub transaction: TransactionId,
    pub reply: oneshot::Sender<Result<EnlistedBranch, EnlistError>>,
}

/// Speaks with a running participant. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<EnlistCommand>,
    counters: Arc<Counters>,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<EnlistCommand>, counters: Arc<Counters>) -> Self {
        Handle { commands, counters }
    }

    /// Joins an interactive transaction; waits for a session if there is none. Call it once for each branch that is
    /// wanted, before any work of it.
    ///
    /// # Errors
    /// Nothing was joined that could commit.
    pub async fn enlist(&self, transaction: TransactionId) -> Result<EnlistedBranch, EnlistError> {
        let (reply, answer) = oneshot::channel();
        let command = EnlistCommand { transaction, reply };
        self.commands
            .send(command)
            .await
            .map_err(|_| EnlistError::Stopped)?;
        answer.await.unwrap_or(Err(EnlistError::SessionLost))
    }

    /// What the participant has done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// A branch of an interactive transaction, pinned to the session that enlisted it.
#[derive(Clone, Debug)]
pub struct EnlistedBranch {
    branch: BranchKey,
    is_lost: watch::Receiver<bool>,
}

impl EnlistedBranch {
    /// Its name, under which the resource will be asked to prepare it.
    pub fn branch(&self) -> BranchKey {
        self.branch
    }

    /// Whether its session is lost, so that it can only end in rollback.
    pub fn is_doomed(&self) -> bool {
        *self.is_lost.borrow() || self.is_lost.has_changed().is_err()
    }

    /// Waits until it is doomed.
    pub async fn doomed(&mut self) {
        // An error says that the session is gone altogether.
        let _ = self.is_lost.wait_for(|is_lost| *is_lost).await;
    }
}

/// The life of one session, seen by its enlisted branches.
pub(crate) struct SessionLife {
    is_lost: watch::Sender<bool>,
}

impl SessionLife {
    pub(crate) fn new() -> Self {
        SessionLife {
            is_lost: watch::Sender::new(false),
        }
    }

    pub(crate) fn enlisted(&self, branch: BranchKey) -> EnlistedBranch {
        EnlistedBranch {
            branch,
            is_lost: self.is_lost.subscribe(),
        }
    }

    pub(crate) fn end(&self) {
        self.is_lost.send_replace(true);
    }
}
