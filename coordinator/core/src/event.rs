//! What can happen to the coordinator.

use std::sync::Arc;

use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, InstanceId, LogId, ResourceName, StoreId, TransactionId,
};

use crate::{Decision, Lsn, RequestDigest};

/// A request of a client that waits for a [`Reply`](crate::Reply). The driver numbers them and never uses a number again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Call(pub u64);

/// One connection of one participant instance. The driver numbers them and never uses a number again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Chosen by a participant instance; the same number again is the same enlistment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EnlistmentId(pub u64);

/// An event, in the words of the protocol. `docs/PROTOCOL.md` tells what each may cause in each state.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client runs a whole transaction.
    Execute {
        /// Who waits for the outcome.
        call: Call,
        /// What to do.
        request: ExecuteRequest,
    },
    /// A client opens an interactive transaction.
    Begin {
        /// Who waits for the id.
        call: Call,
        /// Milliseconds until it aborts by itself; `None` for the default.
        timeout_ms: Option<u64>,
    },
    /// A client seals and commits an interactive transaction.
    Commit {
        /// Who waits for the outcome.
        call: Call,
        /// Which transaction.
        transaction: TransactionId,
        /// All branches that the client knows of.
        expected: Vec<ExpectedBranch>,
        /// When to answer.
        wait: Wait,
    },
    /// A client aborts.
    Abort {
        /// Who waits for the outcome.
        call: Call,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// A client wants to hear the state now and at each change.
    Watch {
        /// Who listens.
        call: Call,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// The client of a call is gone; its transaction goes on.
    CallGone {
        /// Which call.
        call: Call,
    },
    /// A participant instance has said hello.
    SessionUp {
        /// The driver's number for the connection.
        session: SessionId,
        /// What it said of itself.
        hello: SessionHello,
    },
    /// The connection of a session is lost or ended.
    SessionDown {
        /// Which session.
        session: SessionId,
    },
    /// A service joins an interactive transaction.
    Enlist {
        /// The session of the service's instance.
        session: SessionId,
        /// Which transaction.
        transaction: TransactionId,
        /// The instance's number for this enlistment.
        enlistment: EnlistmentId,
    },
    /// A participant has voted.
    Vote {
        /// The session that it came by.
        session: SessionId,
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// The vote.
        vote: Vote,
    },
    /// A participant has carried out a decision, or says why it could not.
    Ack {
        /// The session that it came by.
        session: SessionId,
        /// Which transaction.
        transaction: TransactionId,
        /// Which branch of it.
        branch: BranchId,
        /// What it says.
        ack: Ack,
    },
    /// Lines of a participant's scan of its store.
    InDoubt {
        /// The session that they came by.
        session: SessionId,
        /// What the scan found.
        lines: Vec<InDoubtLine>,
        /// Whether these are the last lines of a complete scan.
        complete: bool,
    },
    /// The log is durable up to and including this record.
    LogDurable(Lsn),
    /// How much room the log has. Said once more while it is low, it makes the log grow by one small record, so that one more
    /// checkpoint can be taken.
    LogSpace(LogSpace),
    /// No new transactions from now on; what is decided is delivered.
    Drain,
    /// The time of [`next_timeout`](crate::Coordinator::next_timeout) has come.
    Tick,
}

/// A one-shot transaction as a client asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecuteRequest {
    /// If given, the promise that all requests under this key are one transaction.
    pub key: Option<KeyClaim>,
    /// One branch each.
    pub operations: Vec<OperationRequest>,
    /// Milliseconds until an undecided transaction aborts; `None` for the default.
    pub timeout_ms: Option<u64>,
    /// When to answer.
    pub wait: Wait,
}

/// One branch's work in a one-shot transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationRequest {
    /// Where.
    pub resource: ResourceName,
    /// What, in the resource's own encoding. Released once the branch has voted.
    pub operation: Arc<[u8]>,
}

/// An idempotency key as a request carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyClaim {
    /// The key.
    pub key: IdempotencyKey,
    /// Unix milliseconds after which the key is no longer honoured; part of the key.
    pub expires_at_ms: u64,
    /// Digest of the request, without deadline and wait.
    pub digest: RequestDigest,
}

/// When a commit is answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Wait {
    /// Once the decision is durable.
    #[default]
    Decided,
    /// Once all participants have acknowledged.
    Applied,
}

/// A branch as the committing application counts it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExpectedBranch {
    /// Which branch.
    pub branch: BranchId,
    /// How many operations were worked in it.
    pub operations: u64,
}

/// What a participant says of itself when it dials in.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionHello {
    /// The stable name of the resource.
    pub resource: ResourceName,
    /// The identity of the store behind it.
    pub store: StoreId,
    /// Which life of the store.
    pub generation: Generation,
    /// Which process.
    pub instance: InstanceId,
    /// An embedded store, which one process at a time can hold: a new session supersedes the older one.
    pub attached: bool,
    /// It can promise and commit at once, and tell later whether it did. Counts only with `attached`.
    pub one_phase: bool,
    /// The most that the store has seen of any coordinator's log.
    pub seen: Vec<Seen>,
}

/// A witness of a log: somebody has seen it durable to here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seen {
    /// Which log.
    pub log: LogId,
    /// The highest epoch.
    pub epoch: Epoch,
    /// The highest durable LSN.
    pub lsn: Lsn,
}

/// A participant's answer to Prepare.
#[derive(Clone, Debug, PartialEq)]
pub enum Vote {
    /// It can commit and can abort, whatever happens.
    Prepared {
        /// Milliseconds from the sending of Prepare for which the promise holds; `None` for ever.
        prepared_for_ms: Option<u64>,
    },
    /// It was told to promise and commit at once, and the effect is durable together with its marker.
    Committed,
    /// It changed nothing, has let go of everything, and need not hear the decision.
    ReadOnly,
    /// It cannot commit and has rolled back.
    Refused {
        /// Stable reason, such as `INSUFFICIENT_FUNDS`.
        reason: String,
        /// The same in words.
        message: String,
        /// Whether the same work may succeed later.
        retryable: bool,
    },
}

/// A participant's answer to a decision, or to the question how a delegated branch came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// The decision that it answers, or that it has found to be the branch's.
    pub decision: Decision,
    /// How it went.
    pub kind: AckKind,
}

/// How carrying out a decision went.
#[derive(Clone, Debug, PartialEq)]
pub enum AckKind {
    /// The effect is durable, or was already.
    Done,
    /// The branch is gone and nothing proves how it ended.
    Hazard {
        /// What was seen.
        evidence: String,
    },
    /// The branch provably ended the other way.
    Contrary {
        /// What was seen.
        evidence: String,
    },
}

/// A line of a participant's scan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InDoubtLine {
    /// Which transaction.
    pub transaction: TransactionId,
    /// Which branch of it.
    pub branch: BranchId,
    /// The log of the coordinator that prepared it.
    pub log: LogId,
    /// What the scan found there.
    pub phase: InDoubtPhase,
}

/// What a scan finds of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InDoubtPhase {
    /// Durably prepared. Never a vote.
    Prepared,
    /// An older session's work that still runs and can only end in rollback.
    Preparing,
    /// Finished; only the marker or the fence is left.
    Marker,
    /// The same, and the store knows that it is the marker of a commit.
    Committed,
}

/// How much room the log has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogSpace {
    /// A spare segment stands by.
    Ample,
    /// The reserve is in use: only what is decided may still be written.
    Low,
}
