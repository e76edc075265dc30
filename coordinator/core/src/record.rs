//! What the log remembers. The bytes are the driver's business; the meaning is here.

use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, LogId, ResourceName, StoreId, TransactionId,
};

use crate::Lsn;

/// A record of the log. Recovery folds these, and nothing else, into a [`Coordinator`](crate::Coordinator).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// A process has taken up the log. The first record of each start, forced before anything is answered.
    EpochStarted {
        /// Whose log.
        log: LogId,
        /// One more than the last.
        epoch: Epoch,
        /// Where the predecessor's records ended.
        predecessor_end: Lsn,
        /// Unix milliseconds, never less than in the record before.
        wall_ms: u64,
        /// Unix milliseconds by which keys expire, at the same moment: behind `wall_ms` by as much as the clock may have been set
        /// forward over restarts.
        key_ms: u64,
    },
    /// A resource has dialed in for the first time, or with a higher generation.
    Resource {
        /// Its name.
        name: ResourceName,
        /// The store behind it; another one is refused from now on.
        store: StoreId,
        /// The highest generation seen.
        generation: Generation,
    },
    /// Prepares are about to be sent. Not forced, unless the id is at or below the horizon: losing it only slows down
    /// aborting.
    Registered {
        /// Which transaction.
        transaction: TransactionId,
        /// Its sealed branches.
        branches: Vec<BranchRecord>,
    },
    /// The only branch is left to its participant, which commits or does not. Forced before it is sent, unless nobody can
    /// ask by a key or an id that was told before; then losing it makes the outcome unknown, and the id says so.
    Delegated {
        /// Which transaction.
        transaction: TransactionId,
        /// Its branch.
        branch: BranchRecord,
        /// The key that is bound by it.
        key: Option<Box<KeyRecord>>,
    },
    /// The decision. A commit is forced, and so is an abort that is answered under a key or that a participant deviates
    /// from; other aborts are not written.
    Decided {
        /// Which transaction.
        transaction: TransactionId,
        /// Commit, or abort with its reason.
        decision: DecisionRecord,
        /// The branches that must hear it: for a commit those that voted prepared. None if the participant decided.
        branches: Vec<BranchRecord>,
        /// The key that is bound by it.
        key: Option<Box<KeyRecord>>,
    },
    /// A participant deviated from the decision. Forced; only an operator's resolution ends it.
    Deviated {
        /// Which transaction.
        transaction: TransactionId,
        /// Who and how.
        deviation: Deviation,
    },
    /// All participants have acknowledged. Not forced: losing it merely repeats decisions.
    Ended {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// What is at or below is forgotten from here on.
    Horizon {
        /// No unknown id at or below this one is answered "abort".
        transaction: TransactionId,
        /// No key that expired at or before this (Unix milliseconds) is held.
        key_ms: u64,
    },
    /// Only in checkpoints: a key whose transaction has ended.
    KeyHeld {
        /// The key.
        key: KeyRecord,
        /// The transaction that it names.
        transaction: TransactionId,
        /// The answer under the key.
        outcome: Outcome,
    },
    /// Only in checkpoints: transactions that have ended with a commit, and are above the horizon.
    EndedCommits {
        /// Oldest end first.
        transactions: Vec<TransactionId>,
    },
}

/// A decision as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DecisionRecord {
    /// All happens.
    Commit,
    /// Nothing happens.
    Abort(AbortReason),
}

/// A branch as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BranchRecord {
    /// Its ordinal.
    pub branch: BranchId,
    /// The resource's name.
    pub resource: ResourceName,
    /// The store that voted: only its acknowledgement counts.
    pub store: StoreId,
}

/// A branch as the bytes of a record hold it: a [`BranchRecord`] without a copy of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchRef<'a> {
    /// Its ordinal.
    pub branch: BranchId,
    /// The resource's name. Bytes that are no name are refused when they are taken up.
    pub resource: &'a [u8],
    /// The store that voted.
    pub store: StoreId,
}

impl<'a> From<&'a BranchRecord> for BranchRef<'a> {
    fn from(record: &'a BranchRecord) -> Self {
        BranchRef {
            branch: record.branch,
            resource: record.resource.as_str().as_bytes(),
            store: record.store,
        }
    }
}

/// A record that is replayed. What a log is full of comes without a copy, its branches one by one; the rest is rare.
#[derive(Clone, Debug)]
pub enum ReplayedRecord<B> {
    /// [`Record::Registered`]
    Registered {
        /// Which transaction.
        transaction: TransactionId,
        /// Its sealed branches.
        branches: B,
    },
    /// [`Record::Decided`] to commit, without a key.
    Committed {
        /// Which transaction.
        transaction: TransactionId,
        /// The branches that must hear it.
        branches: B,
    },
    /// Any other.
    Other(Record),
}

/// A record of which nothing is new but the transaction. A log is full of these, because it names the same few lists of
/// branches over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownRecord {
    /// [`Record::Registered`]
    Registered {
        /// Which transaction.
        transaction: TransactionId,
        /// Its sealed branches.
        list: BranchList,
    },
    /// [`Record::Decided`] to commit, without a key.
    Committed {
        /// Which transaction.
        transaction: TransactionId,
        /// The branches that must hear it.
        list: BranchList,
    },
    /// [`Record::Ended`]
    Ended {
        /// Which transaction.
        transaction: TransactionId,
    },
}

/// The place of a list of branches that [`Recovery::learn_branches`](crate::Recovery::learn_branches) has taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchList(pub(crate) u32);

/// SHA-256 of the versioned canonical encoding of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestDigest(pub [u8; 32]);

/// A key as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRecord {
    /// The key.
    pub key: IdempotencyKey,
    /// Unix milliseconds.
    pub expires_at_ms: u64,
    /// Of the request that bound it.
    pub digest: RequestDigest,
}

/// What is decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// All happens.
    Commit,
    /// Nothing happens.
    Abort,
}

/// Why a transaction aborted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AbortReason {
    /// A client asked for it.
    Requested,
    /// Its time was over before it was decided.
    Deadline,
    /// A participant refused. Boxed, because every outcome has room for the largest reason.
    Refused(Box<Refusal>),
    /// A participant's session was lost before its vote.
    SessionLost {
        /// Which.
        resource: ResourceName,
    },
    /// The application expected other branches than were enlisted. (Other counts of operations are refused by the participant.)
    BranchMismatch {
        /// What differs.
        message: String,
    },
    /// A participant's promise would have expired before the decision could reach it.
    PromiseExpired {
        /// Which.
        resource: ResourceName,
    },
    /// The coordinator was restarted before the decision, or there is no record of one.
    Presumed,
}

/// What a participant said when it refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Which.
    pub resource: ResourceName,
    /// The participant's stable reason.
    pub reason: String,
    /// The participant's words.
    pub message: String,
    /// Whether the same work may succeed later.
    pub retryable: bool,
}

/// How a transaction came out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All happened, or will for certain.
    Committed,
    /// Nothing happened.
    Aborted {
        /// Why.
        reason: AbortReason,
    },
    /// Decided, but a participant deviated or could prove nothing.
    Heuristic {
        /// What was decided.
        decision: Decision,
        /// Who and how.
        evidence: Vec<Deviation>,
    },
}

/// A participant's deviation from a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deviation {
    /// Which branch.
    pub branch: BranchId,
    /// At which resource.
    pub resource: ResourceName,
    /// How.
    pub kind: DeviationKind,
    /// What the participant saw.
    pub evidence: String,
}

/// How a participant deviated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeviationKind {
    /// It provably ended the other way.
    Mixed,
    /// Nothing proves how it ended.
    Hazard,
}
