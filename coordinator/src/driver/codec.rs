//! Records as bytes. A record is a version, a tag, and fields; numbers are LEB128, ids 16 bytes as they print.
//!
//! ```text
//!  ┌─────────┬─────┬──────────────────────────────────────────────┐
//!  │ version │ tag │ fields in the order in which they are written │
//!  │ 1       │ u8  │                                              │
//!  └─────────┴─────┴──────────────────────────────────────────────┘
//! ```
//!
//! Tags and the numbers of variants never change and are never used again. What is new gets a new tag, or a new version
//! if its reader must not be an old program. Length and checksum are the log's business.

mod lists;
mod read;
mod replay;
mod write;

pub use lists::Lists;
pub use read::{DecodeError, decode, decode_finished};
pub use replay::{Branches, decode_replayed, recognize};
pub use write::{encode, encode_finished};

/// The version of all tags below.
const VERSION: u8 = 1;

/// The tags of [`handfast_core::Record`].
mod tag {
    /// As builds wrote it that did not keep the time of keys: that of the clock.
    pub const EPOCH_STARTED_BY_CLOCK: u8 = 1;
    pub const RESOURCE: u8 = 2;
    pub const REGISTERED: u8 = 3;
    pub const DECIDED: u8 = 4;
    pub const DEVIATED: u8 = 5;
    pub const ENDED: u8 = 6;
    pub const HORIZON: u8 = 7;
    pub const KEY_HELD: u8 = 8;
    pub const ENDED_COMMITS: u8 = 9;
    pub const DELEGATED: u8 = 10;
    pub const EPOCH_STARTED: u8 = 11;
}

/// The numbers of [`handfast_core::DecisionRecord`].
mod decision {
    pub const COMMIT: u8 = 1;
    pub const ABORT: u8 = 2;
}

/// The numbers of [`handfast_core::AbortReason`].
mod abort {
    pub const REQUESTED: u8 = 1;
    pub const DEADLINE: u8 = 2;
    pub const REFUSED: u8 = 3;
    pub const SESSION_LOST: u8 = 4;
    pub const BRANCH_MISMATCH: u8 = 5;
    pub const PROMISE_EXPIRED: u8 = 6;
    pub const PRESUMED: u8 = 7;
}

/// The numbers of [`handfast_core::Outcome`].
mod outcome {
    pub const COMMITTED: u8 = 1;
    pub const ABORTED: u8 = 2;
    pub const HEURISTIC_COMMIT: u8 = 3;
    pub const HEURISTIC_ABORT: u8 = 4;
}

/// The numbers of [`handfast_core::DeviationKind`].
mod deviation {
    pub const MIXED: u8 = 1;
    pub const HAZARD: u8 = 2;
}

#[cfg(test)]
mod tests;
