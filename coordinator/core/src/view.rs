//! What may be told about the table. A view never shows a decision that is not durable yet: until then the
//! transaction reads as preparing. This is the one place where that rule is kept for reads.

use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, LogId, ResourceName, StoreId, TransactionId,
};

use crate::{AnswerKind, Decision, DeviationKind, Lsn, Outcome, Record};

/// One transaction, as it may be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionView {
    /// Which.
    pub transaction: TransactionId,
    /// Where it stands.
    pub state: StateView,
    /// Its branches, as far as they are still held.
    pub branches: Vec<BranchView>,
    /// Its key, if it has one and is live.
    pub key: Option<IdempotencyKey>,
    /// Milliseconds since it began, by the id's own clock.
    pub age_ms: u64,
}

/// Where a transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StateView {
    /// Open for branches.
    Active,
    /// Sealed; votes are awaited, or the decision is not durable yet.
    Preparing,
    /// Left to its only participant, which has not said yet how it came out. It may have committed.
    Delegated,
    /// Decided to commit, durably; not all have acknowledged.
    Committing,
    /// Decided to abort; not all have acknowledged.
    Aborting,
    /// Decided to commit; a participant deviated. An operator must look.
    Heuristic(Outcome),
    /// All have acknowledged.
    Ended(Outcome),
    /// No record of a decision, and young enough to be sure that there never was one to commit anything. Branches that
    /// were asked to prepare before a restart may still be on their way to the abort.
    NoEffects,
    /// Below the forget-horizon, or left to its participant without a durable record: it cannot be told.
    Forgotten,
    /// Minted by another coordinator, partition or later epoch.
    NotMine,
}

/// One branch, as it may be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BranchView {
    /// Its ordinal.
    pub branch: BranchId,
    /// The resource's name.
    pub resource: ResourceName,
    /// Where it stands.
    pub state: BranchStateView,
    /// Whether the resource has a session now.
    pub connected: bool,
}

/// Where a branch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BranchStateView {
    /// Joined; work may be under way.
    Enlisted,
    /// Prepare was sent.
    Preparing,
    /// Its participant decides, and has not said yet.
    Delegated,
    /// Voted prepared.
    Prepared,
    /// Voted read-only.
    ReadOnly,
    /// Refused, and rolled back.
    Refused,
    /// Has been, or will be, sent Commit.
    Committing,
    /// Has acknowledged Commit.
    Committed,
    /// Has been, or will be, sent Abort.
    Aborting,
    /// Has acknowledged Abort.
    Aborted,
    /// Could prove nothing.
    Hazard,
    /// Provably ended the other way.
    Contrary,
}

/// A line for the operator: what is stuck, and on whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InDoubtView {
    /// Which transaction.
    pub transaction: TransactionId,
    /// Which branch of it.
    pub branch: BranchId,
    /// At which resource.
    pub resource: ResourceName,
    /// Whether the resource has a session now.
    pub connected: bool,
    /// Why it is listed.
    pub state: InDoubtState,
    /// Milliseconds since the transaction began.
    pub age_ms: u64,
}

/// Why a branch is listed as in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InDoubtState {
    /// Commit is not acknowledged.
    Committing,
    /// Abort is not acknowledged.
    Aborting,
    /// Its participant decided, and is asked how.
    Delegated,
    /// The participant deviated.
    Deviated {
        /// From what.
        decision: Decision,
        /// Whether the contrary is proved.
        kind: DeviationKind,
        /// What it reported.
        evidence: String,
    },
    /// A participant shows it as prepared, and no decision can be given.
    Held(AnswerKind),
}

impl InDoubtState {
    pub(crate) fn is_deviation(&self) -> bool {
        matches!(self, InDoubtState::Deviated { .. })
    }
}

/// How the coordinator is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusView {
    /// Whose log.
    pub log: LogId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The log is durable to here.
    pub durable: Lsn,
    /// Records were handed to the log to here.
    pub accepted: Lsn,
    /// No new transactions.
    pub draining: bool,
    /// The log's reserve is in use.
    pub space_low: bool,
    /// Live transactions by state.
    pub table: TableView,
    /// The known resources.
    pub resources: Vec<ResourceView>,
}

/// Live transactions by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TableView {
    /// All of them.
    pub live: usize,
    /// As many as may be.
    pub capacity: usize,
    /// Open for branches.
    pub active: usize,
    /// Awaiting votes, the durable decision, or the answer of the participant that decides.
    pub preparing: usize,
    /// Awaiting acknowledgements of Commit.
    pub committing: usize,
    /// Awaiting acknowledgements of Abort.
    pub aborting: usize,
    /// Awaiting an operator.
    pub heuristic: usize,
    /// Idempotency keys held.
    pub keys: usize,
    /// As many as may be.
    pub keys_capacity: usize,
    /// Decided to commit since the start of this process.
    pub committed_total: u64,
    /// Decided to abort since the start of this process.
    pub aborted_total: u64,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceView {
    /// Its name.
    pub name: ResourceName,
    /// The store behind it.
    pub store: StoreId,
    /// The highest generation seen.
    pub generation: Generation,
    /// Sessions now.
    pub sessions: usize,
    /// Branches that are not finished.
    pub unfinished_branches: usize,
}

/// The state as records: fold them, then the log after `through`, and the state is back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// It covers the log up to here. Write it as a checkpoint only once the log is durable to this point.
    pub through: Lsn,
    /// The records.
    pub records: Vec<Record>,
}
