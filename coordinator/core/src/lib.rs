//! The two-phase commit protocol as a value: events and the time go in, effects come out.
//!
//! ```text
//!         Event                                   Effect
//!  Execute/Begin/Enlist/      ┌────────────┐
//!  Commit/Abort/Watch ───────►│            ├──► Append { lsn, record, force }
//!  SessionUp/SessionDown ────►│   handle   ├──► Send   { session, message, after }
//!  Vote, Ack, InDoubt ───────►│ (now, ev.) ├──► Reply  { call, reply, after }
//!  LogDurable(lsn), LogSpace ►│            ├──► CloseSession, Finished { after }
//!  Tick, Drain ──────────────►└────────────┘──► Stop
//!                              next_timeout()
//! ```
//!
//! # Contract with the driver
//!
//! 1. Events are handed in one at a time, in the order in which they arrived, with a monotonic `now`.
//! 2. Effects are performed in their order. One that carries `after: Some(lsn)` is held back until the log is durable to
//!    that point; this is the only durability rule, and it is data.
//! 3. `Append` assigns consecutive LSNs. A record with `force` must become durable soon; one without rides along with
//!    the next that must, or is written within a second or so.
//! 4. `LogDurable` is handed in before the effects that it frees are performed.
//! 5. At [`Coordinator::next_timeout`] the driver hands in [`Event::Tick`].
//! 6. If the log fails, the driver performs nothing more and ends the process. A decision that was handed to the log is
//!    never turned into an abort: the log may hold it.
//!
//! Recovery is a fold of the same records ([`Recovery`]), and a checkpoint is a list of records that folds to the same
//! state ([`Coordinator::snapshot`]).
//!
//! What must never live here: a clock, randomness, a runtime, the wire, bytes on disk.
#![deny(missing_docs)]

mod audit;
mod branch;
mod chunks;
mod clients;
mod coordinator;
mod delegation;
mod delivery;
mod effect;
mod epochs;
mod event;
mod few;
mod hash;
mod history;
mod id_index;
mod inquiry;
mod keys;
mod limits;
mod mint;
pub mod overdue;
mod record;
mod recovery;
mod redelivery;
mod resources;
mod sessions;
mod start;
mod table;
mod timer;
mod transaction;
pub mod view;
mod views;
mod voting;

pub use coordinator::Coordinator;
pub use effect::{
    AnswerKind, CloseReason, Effect, EnlistRefusal, FinishedTransaction, Message, Rejection, Reply,
    StopReason,
};
pub use event::{
    Ack, AckKind, Call, EnlistmentId, Event, ExecuteRequest, ExpectedBranch, InDoubtLine, InDoubtPhase,
    KeyClaim, LogSpace, OperationRequest, Seen, SessionHello, SessionId, Vote, Wait,
};
pub use limits::Limits;
pub use record::{
    AbortReason, BranchList, BranchRecord, BranchRef, Decision, DecisionRecord, Deviation, DeviationKind,
    KeyRecord, KnownRecord, Outcome, Record, Refusal, ReplayedRecord, RequestDigest,
};

pub use recovery::{Identity, Recovery, RecoveryError};

pub use overdue::{Alarm, Overdue, OverdueWatch};
pub use view::BranchStateView;

/// A point on the monotonic clock of this process, in milliseconds since it started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(pub u64);

/// The ordinal of a record in the log, from 1; [`Lsn::ZERO`] stands for "nothing".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The LSN of the record after this one.
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}
