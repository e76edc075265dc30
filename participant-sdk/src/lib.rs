//! The Handfast participant SDK.
//!
//! - [`Client`]: runs transactions over several resources, one-shot or interactive.
//! - [`Participant`]: lets a [`Resource`] or a [`Staged`] service take part. It dials the coordinator, and does sessions,
//!   batching, deduplication, recovery and scans.
//! - [`journal`]: the durable vote of staged services, on the project's own log.
//! - [`resources`]: ready-made resources, one feature each.
//!
//! ```text
//!   application ── Client ──► coordinator ◄── Participant ── Resource (PostgreSQL …)
//!                                   ▲
//!                                   └──────── Participant ── journal ── Staged (ledger …)
//! ```
//!
//! What must never live here: decisions about transactions. A participant promises, obeys and reports; it never finishes
//! a prepared branch by itself.
#![deny(missing_docs)]

mod backoff;
pub mod client;
pub mod failpoint;
pub mod journal;
pub mod participant;
mod resource;
pub mod resources;
pub mod runtime;
mod session;

pub use client::{Client, ClientError, Key, Outcome, Transaction, Wait};
pub use handfast_proto as proto;
pub use handfast_proto::ids;
pub use participant::{Counters, EnlistError, EnlistedBranch, Handle, Participant, ParticipantError};
pub use resource::{
    BranchKey, Completion, Decision, Refusal, Reservation, Resource, ResourceError, ScanLine, ScanPhase,
    SeenLog, Staged, StoreIdentity, Vote, Work,
};

/// The samples of the documents, compiled as they stand there.
#[cfg(all(doctest, feature = "ledger", feature = "postgres"))]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/guide/first-transaction.md")]
    struct FirstTransaction;

    #[doc = include_str!("../../docs/guide/first-participant.md")]
    struct FirstParticipant;
}
