//! What people implement to let something take part in transactions.
//!
//! There are two kinds, and two traits:
//!
//! - [`Resource`]: a system that has prepared transactions of its own (PostgreSQL, MariaDB). Its prepared transaction is
//!   the durable vote. Calls run concurrently, bounded, beside the session's loop.
//! - [`Staged`]: a service whose operations can be checked now and applied later. The SDK's journal is the durable vote;
//!   a frame of prepares becomes one journal batch, one sync and one frame of votes. See [`crate::journal`].
//!
//! The SDK does the rest: session and reconnection, batching, deduplication, handshake, scans, deadlines, fencing.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::ids::{BranchId, Epoch, Generation, LogId, StoreId, TransactionId};

/// Names one branch for ever: whose transaction, which one, which branch of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BranchKey {
    /// The log of the coordinator that owns the transaction.
    pub log: LogId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
}

impl fmt::Display for BranchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transaction, self.branch)
    }
}

/// Which store this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreIdentity {
    /// Made once inside the store itself.
    pub store: StoreId,
    /// Which life of it.
    pub generation: Generation,
    /// Only one process at a time can hold the store.
    pub attached: bool,
}

/// What a branch is asked to promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Do this, and promise.
    Operation(Bytes),
    /// The work was done interactively; promise if it was this many operations.
    Interactive {
        /// As the application counts them.
        operations: u64,
    },
}

/// The answer to a prepare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vote {
    /// It is durable that the branch can commit and can abort.
    Prepared {
        /// For promises that expire: how long it holds, from when Prepare was received.
        prepared_for: Option<Duration>,
    },
    /// The effect is durable, and its marker with it. Only a [`Staged`] service's journal can say so, and only where it was
    /// told to commit at once; never the answer of [`Resource::prepare`].
    Committed,
    /// Nothing was changed, nothing is held.
    ReadOnly,
    /// It cannot commit; everything is rolled back.
    Refused(Refusal),
}

/// Why a branch cannot commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Stable, such as `INSUFFICIENT_FUNDS`.
    pub reason: String,
    /// In words, for people.
    pub message: String,
    /// Whether the same work may succeed later.
    pub retryable: bool,
}

impl Refusal {
    /// The same work will be refused again.
    pub fn permanent(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal {
            reason: reason.into(),
            message: message.into(),
            retryable: false,
        }
    }

    /// The same work may succeed later.
    pub fn retryable(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal {
            reason: reason.into(),
            message: message.into(),
            retryable: true,
        }
    }
}

/// How carrying out a decision went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Completion {
    /// The effect is durable, or was already.
    Done,
    /// The branch is gone and nothing proves how it ended. The evidence is shown to an operator.
    Hazard(String),
    /// The branch provably ended the other way. The evidence is shown to an operator.
    Contrary(String),
}

/// The decision of the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Make the effect durable.
    Commit,
    /// Undo, and fence: work for this branch that comes later must fail.
    Abort,
}

/// A line of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanLine {
    /// Which branch.
    pub branch: BranchKey,
    /// What was found.
    pub phase: ScanPhase,
}

/// What a scan finds of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanPhase {
    /// Durably prepared.
    Prepared,
    /// Work of an older session that still runs and can only end in rollback.
    Preparing,
    /// Finished; only the marker or fence is left.
    Marker,
    /// The same, and it is known to be the marker of a commit.
    Committed,
}

/// The most that a store has seen of one coordinator's log, or of one epoch of it, kept durably with what the store writes anyway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenLog {
    /// Which log.
    pub log: LogId,
    /// The highest epoch, or which one.
    pub epoch: Epoch,
    /// The highest LSN that it said was durable in that epoch; 0 if nothing was seen of it.
    pub lsn: u64,
}

/// The store could not be asked, or did not answer: nothing is known, and the call is made again later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ResourceError {
    /// What happened and what to do.
    pub message: String,
    /// Whether only a person can mend it (wrong password, missing privilege, wrong configuration).
    pub permanent: bool,
    /// Whether [`Resource::open`] must be called before anything else is asked: what answers is not what was opened. The
    /// session ends, and the next one says in its Hello which store there is now.
    pub reopen: bool,
}

impl ResourceError {
    /// The call may succeed when made again.
    pub fn transient(message: impl Into<String>) -> Self {
        ResourceError {
            message: message.into(),
            permanent: false,
            reopen: false,
        }
    }

    /// The store must be opened again first: it is another one than was opened, or no longer as it was.
    pub fn reopen(message: impl Into<String>) -> Self {
        ResourceError {
            reopen: true,
            ..Self::transient(message)
        }
    }

    /// Only a person can mend it.
    pub fn permanent(message: impl Into<String>) -> Self {
        ResourceError {
            message: message.into(),
            permanent: true,
            reopen: false,
        }
    }
}

/// A system with prepared transactions of its own.
///
/// Every method may be called again with the same arguments, and must then have the same effect and answer. Dropping a
/// returned future must leave the store in a state that the same call, made again, completes.
///
/// Futures are dropped when a session is lost; that of `prepare` also when its branch is aborted or its time is over, and
/// `finish(branch, Abort)` may follow at once.
///
/// Shared by several participants of one process (one a coordinator), a lost session of one makes `open` roll back the open
/// work of all, and the other coordinators do not hear of it. So a resource that takes part interactively must remember which
/// branches have lost work: they are refused at their prepare, and never begun anew, where they would count from nothing.
pub trait Resource: Send + Sync + 'static {
    /// Reaches the store, checks its preconditions, and says which store it is. Called before each Hello. Work of older
    /// sessions of this process is cancelled here, or can from here on only end in rollback.
    fn open(&self) -> impl Future<Output = Result<StoreIdentity, ResourceError>> + Send;

    /// What the store has durably seen of coordinators' logs, for Hello: of each log the highest position, or one an epoch. The
    /// coordinator measures each by the end of its epoch, so that more of them find more old copies of its log.
    fn seen(&self) -> impl Future<Output = Result<Vec<SeenLog>, ResourceError>> + Send;

    /// Does the work, if it comes along, and votes. `seen` is to be written with whatever the branch writes. After
    /// `timeout` a vote is of no more use.
    ///
    /// A branch that was [refused](Vote::Refused) holds nothing, and the coordinator says nothing more about it.
    ///
    /// # Errors
    /// It cannot be told whether the branch is prepared, or what remains of it cannot be ended now: the answer of the store
    /// was lost, and the store with it. No vote is given. The coordinator aborts when the time is over, and says so until
    /// [`Resource::finish`] has carried it out.
    fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> impl Future<Output = Result<Vote, ResourceError>> + Send;

    /// Carries out the decision; returns once its effect is durable.
    ///
    /// Absence after Commit is [`Completion::Done`] only with proof (the marker). Absence after Abort is `Done` once a
    /// fence keeps late work out.
    fn finish(
        &self,
        branch: BranchKey,
        decision: Decision,
    ) -> impl Future<Output = Result<Completion, ResourceError>> + Send;

    /// All branches that the store holds as prepared, read from the store itself. A scan that failed half-way is an error.
    fn scan(&self) -> impl Future<Output = Result<Vec<ScanLine>, ResourceError>> + Send;

    /// The end of these branches is durable at the coordinator: their markers and fences may go, as soon as no work of an
    /// earlier session can still run.
    fn forget(&self, branches: &[BranchKey]) -> impl Future<Output = Result<(), ResourceError>> + Send;
}

/// One store for several participants: one a coordinator, or one value kept by the service that works in it.
impl<R: Resource> Resource for std::sync::Arc<R> {
    fn open(&self) -> impl Future<Output = Result<StoreIdentity, ResourceError>> + Send {
        R::open(self)
    }

    fn seen(&self) -> impl Future<Output = Result<Vec<SeenLog>, ResourceError>> + Send {
        R::seen(self)
    }

    fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> impl Future<Output = Result<Vote, ResourceError>> + Send {
        R::prepare(self, branch, work, seen, timeout)
    }

    fn finish(
        &self,
        branch: BranchKey,
        decision: Decision,
    ) -> impl Future<Output = Result<Completion, ResourceError>> + Send {
        R::finish(self, branch, decision)
    }

    fn scan(&self) -> impl Future<Output = Result<Vec<ScanLine>, ResourceError>> + Send {
        R::scan(self)
    }

    fn forget(&self, branches: &[BranchKey]) -> impl Future<Output = Result<(), ResourceError>> + Send {
        R::forget(self, branches)
    }
}

/// A service whose operations can be checked now and applied later; the SDK's journal makes the vote durable.
///
/// The state must be a function of the calls in their order: the journal replays them after a restart. All calls come from
/// one loop, one at a time; none may block for long or do I/O that can fail after the promise.
pub trait Staged: Send + 'static {
    /// The state that a new store begins with, as records that [`Staged::restore`] takes. Asked once, when the journal is
    /// made; later starts find them there.
    fn initial(&self) -> Vec<Bytes> {
        Vec::new()
    }

    /// Checks an operation against the state and all reservations, and reserves what it needs: from here on, until
    /// `apply` or `release`, nothing else may make it fail. A refusal reserves nothing.
    ///
    /// Called again after a restart for every promise that stands, upon the state of the last checkpoint.
    fn reserve(&mut self, branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal>;

    /// Applies a reserved operation. Cannot fail. `position` grows with each call; the effect is durable when
    /// [`Staged::synced`] has named it or a higher one, and until then may only be seen by other calls of this trait.
    fn apply(&mut self, position: u64, branch: BranchKey, operation: &[u8]);

    /// Lets go of a reservation.
    fn release(&mut self, branch: BranchKey, operation: &[u8]);

    /// Everything applied through `position` is durable, and may be shown to readers. Called first when the journal has
    /// been opened.
    fn synced(&mut self, position: u64) {
        let _ = position;
    }

    /// The whole state without the reservations, for a checkpoint of the journal: a list of records that
    /// [`Staged::restore`] takes.
    fn snapshot(&self) -> Vec<Bytes>;

    /// Takes back one record of a snapshot; called on an empty state, before anything is replayed.
    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError>;
}

/// What reserving found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reservation {
    /// There is something to apply.
    Reserved,
    /// The operation changes nothing: vote read-only.
    Nothing,
}
