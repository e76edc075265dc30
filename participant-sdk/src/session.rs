//! The session with a coordinator: dial, recover, then one loop over whole frames.
//!
//! ```text
//!              frame ─► prepares, decisions ─► Engine ─► (one sync, or calls beside the loop)
//!  coordinator                                   │
//!              frame ◄─ votes, acks ◄─ Outbox ◄──┘ whatever has gathered
//! ```
//!
//! The handshake is recovery:
//!
//! 1. All work of the session before is ended: it can from here on only end in rollback.
//! 2. The store says who it is, what it has seen, and what it holds as prepared.
//! 3. Hello carries that; Welcome is checked; every line of the scan is answered in the course of the session.
//!
//! What must never live here: what a branch promises or how it is finished. That is the [`Engine`]'s.

mod call_queue;
mod dial;
mod engine;
mod frame_loop;
mod held;
mod native;
mod outbox;
mod recent;

pub(crate) use dial::{Dialer, End};
pub use engine::{Engine, EngineError, Opened, PrepareRequest, Progress};
pub(crate) use held::HeldBranches;
pub(crate) use native::Concurrency;
pub use native::Native;
pub use outbox::Outbox;
pub(crate) use recent::RecentVotes;
