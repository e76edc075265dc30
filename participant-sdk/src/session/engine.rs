//! What stands behind a session: something that promises and obeys.

use std::future::Future;

use super::outbox::Outbox;
use crate::participant::ParticipantError;
use crate::resource::{BranchKey, Decision, ResourceError, ScanLine, SeenLog, StoreIdentity, Work};
use crate::runtime::Instant;

/// A prepare, as the session took it from a frame.
#[derive(Clone, Debug)]
pub struct PrepareRequest {
    /// Which branch.
    pub branch: BranchKey,
    /// What to promise.
    pub work: Work,
    /// What the coordinator's log was when it asked.
    pub seen: SeenLog,
    /// After this time, counted from the receipt of its frame, a vote is of no more use.
    pub deadline: Instant,
    /// It is the only branch, and is to commit at once if it can promise.
    pub delegated: bool,
}

/// What Hello says.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Which store this is.
    pub identity: StoreIdentity,
    /// What it has seen of coordinators' logs.
    pub seen: Vec<SeenLog>,
    /// What a complete scan found.
    pub lines: Vec<ScanLine>,
    /// It can promise and commit at once.
    pub one_phase: bool,
}

/// What has come of earlier inputs, apart from the answers in the outbox.
#[derive(Debug)]
pub enum Progress {
    /// There may be answers in the outbox, and there may be room.
    Moved,
    /// A scan that was asked for is complete.
    Scanned(Vec<ScanLine>),
    /// A scan that was asked for failed. Nothing follows from it but that the store did not answer.
    ScanFailed(ResourceError),
}

/// Why an engine cannot go on with this session.
#[derive(Debug)]
pub enum EngineError {
    /// Try again later.
    Transient(String),
    /// A person must look.
    Fatal(ParticipantError),
}

impl From<ResourceError> for EngineError {
    fn from(error: ResourceError) -> Self {
        if error.permanent {
            EngineError::Fatal(ParticipantError::Resource(error))
        } else {
            EngineError::Transient(error.message)
        }
    }
}

/// Inputs never wait; what comes of them is in the outbox later, when [`Engine::progress`] says so.
pub trait Engine: Send + 'static {
    /// Ends all work of the session before: it can from here on only end in rollback. Nothing of it is answered later.
    fn session_lost(&mut self);

    /// Reaches the store.
    fn reach(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// What Hello says. After [`Engine::reach`].
    fn open(&mut self) -> impl Future<Output = Result<Opened, EngineError>> + Send;

    /// Takes a prepare.
    fn prepare(&mut self, request: PrepareRequest, outbox: &mut Outbox);

    /// Takes a decision.
    fn decide(&mut self, branch: BranchKey, decision: Decision, seen: SeenLog, outbox: &mut Outbox);

    /// Takes the question how a delegated branch came out. If nothing proves that it committed, it is fenced.
    fn resolve(&mut self, branch: BranchKey, seen: SeenLog, outbox: &mut Outbox);

    /// The end of this branch is durable at the coordinator.
    fn forget(&mut self, branch: BranchKey);

    /// Asks for a scan. One that is under way counts.
    fn scan(&mut self);

    /// Ends a turn: what was taken in since the last one goes to the disk or the database together.
    fn start(&mut self);

    /// Whether another frame may be taken in.
    fn has_room(&self) -> bool;

    /// Waits until something has come of what was taken in. May be dropped and called again at any time.
    fn progress(&mut self, outbox: &mut Outbox)
    -> impl Future<Output = Result<Progress, EngineError>> + Send;

    /// Makes what was taken in durable, where that needs nobody else, and lets go of the store.
    fn close(&mut self, outbox: &mut Outbox) -> impl Future<Output = Result<(), EngineError>> + Send;
}
