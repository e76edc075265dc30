//! An append-only, checksummed, group-committed log of opaque byte records.
//!
//! The log knows bytes and a [`Disk`]. It knows no transactions, no wire format, no runtime, no clock and no randomness;
//! the only thread is the one of [`RealDisk`]. What lies on the disk, byte by byte, what is assumed of the medium, and
//! what an operator does about each refusal is told in `docs/LOG_FORMAT.md`.
//!
//! ```text
//!   append(bytes) -> lsn        force(lsn)      start()            completed() -> durable lsn
//!        │                         │               │                     ▲
//!        ▼                         ▼               ▼                     │
//!   pending buffer ────────── demand above ──► one frame ──► write+sync ─┘
//!   (bounded)                  durable?        in flight     (Disk)
//!
//!   LOG                        who this log is
//!   segment-<first lsn>.log    frames of records, preallocated with zeros, the last one open, all others sealed
//!   spare.log                  the next segment, so that a full disk still lets decided work finish
//!   checkpoint-<lsn>.ckp       replaces the records through that lsn; the newest two are kept
//!   LOCK                       held by the one process that may write
//! ```
//!
//! [`Log::open`] recovers: it feeds every record to a visitor, cuts a torn tail, and refuses everything else that does
//! not check out. [`GroupCommit`] is how an event loop appends. [`verify`] and [`visit`] read without changing anything.
//!
//! At most one frame is ever written and not yet synced. Every verdict of recovery rests on this rule.
#![deny(missing_docs)]

mod checkpoint;
mod disk;
mod error;
mod frame;
mod group_commit;
mod identity;
mod latch;
mod lsn;
mod names;
mod open;
mod options;
mod reader;
mod retired;
mod scan;
mod segment;
mod spare;
mod survey;
mod writer;

pub use checkpoint::{Checkpoint, CheckpointReport, CheckpointWriter, Truncated};
pub use disk::Disk;
pub use disk::real::{RealDisk, RealLock};
pub use error::{Fault, Problem, Result, WalError};
pub use group_commit::{GroupCommit, Space};
pub use identity::{FORMAT_VERSION, LogId};
pub use lsn::Lsn;
pub use open::{Opened, Recovered};
pub use options::{MAX_RECORD_BYTES, Options};
pub use scan::{SegmentReport, Tail};
pub use survey::{Entry, Report, verify, visit};
pub use writer::{Counters, Log};
