//! What the coordinator wants done.

use std::sync::Arc;

use handfast_ids::{BranchId, Epoch, IdempotencyKey, LogId, ResourceName, StoreId, TransactionId};

use crate::view::{InDoubtState, TransactionView};
use crate::{BranchRecord, Call, Decision, EnlistmentId, Lsn, Outcome, Record, SessionId};

/// An effect, to be performed in order; one with `after` waits until the log is durable to that LSN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Append a record to the log.
    Append {
        /// The LSN that it gets: one more than the last.
        lsn: Lsn,
        /// What to write.
        record: Record,
        /// Whether it must become durable soon, or may wait for the next that must.
        force: bool,
    },
    /// Send a message to a participant.
    Send {
        /// Where; if the session is gone by now, nowhere.
        session: SessionId,
        /// What.
        message: Message,
        /// What must be durable first.
        after: Option<Lsn>,
    },
    /// Answer a client.
    Reply {
        /// Whom.
        call: Call,
        /// What.
        reply: Reply,
        /// What must be durable first.
        after: Option<Lsn>,
    },
    /// End a session, telling why. No `SessionDown` need follow.
    CloseSession {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// A transaction has ended: enter it into the history index.
    Finished {
        /// What is to be remembered.
        transaction: Box<FinishedTransaction>,
        /// What must be durable first: its last record, if it has any.
        after: Option<Lsn>,
    },
    /// Keys have expired: the index may drop them.
    KeysExpired {
        /// Which.
        keys: Vec<IdempotencyKey>,
        /// The durable horizon.
        after: Option<Lsn>,
    },
    /// A branch has come onto the list of what only an operator can resolve: somebody must hear of it.
    Held {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// At which resource.
        resource: ResourceName,
        /// Why.
        state: InDoubtState,
    },
    /// This process must end: it would do harm.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// A message to a participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The session is accepted.
    Welcome {
        /// Whose log.
        log: LogId,
        /// Its epoch.
        epoch: Epoch,
        /// How far it is durable.
        durable: Lsn,
    },
    /// The answer to an enlistment.
    Enlisted {
        /// Which transaction.
        transaction: TransactionId,
        /// The participant's number for it.
        enlistment: EnlistmentId,
        /// The branch, or why not.
        result: Result<BranchId, EnlistRefusal>,
    },
    /// Do the work, if it comes along, and promise.
    Prepare {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// One-shot: what to do. Absent for interactive branches.
        operation: Option<Arc<[u8]>>,
        /// Interactive: how many operations the application counts.
        operations: u64,
        /// Milliseconds within which a vote is of use.
        timeout_ms: u64,
        /// The participant is to commit at once, with a marker, if it can promise.
        delegated: bool,
    },
    /// How did a delegated branch come out? If the store can prove no commit, it is to write a fence, so that there never
    /// will be one, and to say abort.
    Resolve {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
    },
    /// What was decided.
    Decision {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// The decision.
        decision: Decision,
    },
    /// The answer to a line of a scan that is no decision.
    Answer {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// What is known.
        answer: AnswerKind,
    },
    /// Marker and fence of the branch may go.
    Forget {
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
    },
}

/// What a coordinator can say of a branch besides a decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AnswerKind {
    /// Not decided yet.
    Wait,
    /// Its commit has ended; a branch that is still prepared is held and alarmed.
    Finished,
    /// Below the forget-horizon; the same.
    Forgotten,
    /// Another coordinator's.
    NotMine,
}

/// Why a service may not join.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EnlistRefusal {
    /// The coordinator holds no such active transaction.
    UnknownTransaction,
    /// Commit or abort was called already.
    Sealed,
    /// It has as many branches as it may.
    TooManyBranches,
    /// The resource has as many unfinished branches as it may; retry.
    ResourceBacklog,
}

/// An answer to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A transaction was opened.
    Begun {
        /// Its id.
        transaction: TransactionId,
        /// The granted milliseconds.
        timeout_ms: u64,
    },
    /// How a transaction came out.
    Outcome {
        /// Its id.
        transaction: TransactionId,
        /// The outcome.
        outcome: Outcome,
    },
    /// It was left to its only participant, whose answer is not there in time: it may have committed. The transaction goes
    /// on; ask again.
    Undecided {
        /// Its id.
        transaction: TransactionId,
    },
    /// Nothing was executed.
    Rejected(Rejection),
    /// To a watcher: how things stand. The last one is of an ended (or unknown) transaction.
    View {
        /// How things stand.
        view: Box<TransactionView>,
        /// Whether this is the last.
        last: bool,
    },
}

/// Why a request was not executed. Each has a stable reason on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The coordinator is shutting down; try again, elsewhere or later.
    Draining,
    /// The log's disk is nearly full.
    LogSpaceLow,
    /// The table of live transactions is full, or their operations hold as many bytes as they may.
    TableFull {
        /// Milliseconds after which a retry may succeed.
        retry_after_ms: u64,
    },
    /// As many keys are held as may be.
    KeysFull {
        /// Milliseconds after which a retry may succeed.
        retry_after_ms: u64,
    },
    /// A resource has as many unfinished branches as it may.
    ResourceBacklog {
        /// Which.
        resource: ResourceName,
        /// Milliseconds after which a retry may succeed.
        retry_after_ms: u64,
    },
    /// No participant ever dialed in under this name.
    UnknownResource {
        /// Which.
        resource: ResourceName,
    },
    /// The resource is known and has no session now.
    ResourceDown {
        /// Which.
        resource: ResourceName,
    },
    /// A one-shot transaction needs an operation.
    NoBranches,
    /// More branches than a transaction may have.
    TooManyBranches {
        /// As many as asked.
        found: usize,
        /// As many as may be.
        limit: usize,
    },
    /// An operation is longer than it may be.
    OperationTooLarge {
        /// For which resource.
        resource: ResourceName,
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The key was used for another request.
    KeyMismatch {
        /// The transaction that holds it.
        transaction: TransactionId,
    },
    /// The key's time is over; whether it was used is no longer known.
    KeyExpired,
    /// The key asks to be kept for longer than this server keeps any.
    KeyTooLong {
        /// Milliseconds from now that are allowed.
        limit_ms: u64,
    },
    /// No active transaction of this id; nothing was executed and nothing ever will be.
    UnknownTransaction {
        /// Which.
        transaction: TransactionId,
    },
    /// So old that its outcome is no longer known; or left to its participant without a durable record.
    Forgotten {
        /// Which.
        transaction: TransactionId,
    },
    /// The id was minted by another coordinator or partition.
    NotMine {
        /// Which.
        transaction: TransactionId,
    },
    /// More callers wait for one transaction than may.
    TooManyWaiters {
        /// Which.
        transaction: TransactionId,
    },
}

/// Why a session is ended by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Another store than the one known by this name.
    StoreMismatch {
        /// The store that the log knows.
        expected: StoreId,
        /// The store that dialed in.
        found: StoreId,
    },
    /// The store is known by another name. Each of two names would be told what is none of its business about the other's branches.
    StoreHasAnotherName {
        /// The store that dialed in.
        store: StoreId,
        /// Its name.
        name: ResourceName,
    },
    /// An older life of the store than one that was seen.
    GenerationLower {
        /// The generation that the log knows.
        expected: handfast_ids::Generation,
        /// The one that dialed in.
        found: handfast_ids::Generation,
    },
    /// A newer session of the same instance, or of the same attached store, or of a higher generation.
    Superseded,
    /// As many resources are known as may be.
    TooManyResources {
        /// The limit.
        limit: usize,
    },
}

/// Why the process must end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopReason {
    /// Somebody has seen more of this log than there is: it was restored from an old copy, or lost its tail.
    LogIsOld {
        /// The epoch that was seen.
        seen_epoch: Epoch,
        /// The LSN that was seen.
        seen_lsn: Lsn,
    },
    /// A branch of a later epoch exists: a successor of this process has started.
    Superseded {
        /// The epoch that was seen.
        seen_epoch: Epoch,
    },
}

/// What the history index keeps of an ended transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FinishedTransaction {
    /// Its id.
    pub transaction: TransactionId,
    /// How it came out.
    pub outcome: Outcome,
    /// Under which key, if any.
    pub key: Option<IdempotencyKey>,
    /// Its branches.
    pub branches: Vec<BranchRecord>,
}
