//! Checkpoints: files of opaque records that replace the log through an LSN, so that its segments can go.
//!
//! ```text
//!   ┌────────────────────────┬──────────────┬─────────┬──────────────┬─────────┬─────┬──────────────┬────────┐
//!   │ file header, 64 bytes  │ block header │ records │ block header │ records │ ... │ block header │ totals │
//!   │ magic, log id, through │ kind: chunk  │         │ kind: chunk  │         │     │ kind: footer │        │
//!   └────────────────────────┴──────────────┴─────────┴──────────────┴─────────┴─────┴──────────────┴────────┘
//! ```
//!
//! A checkpoint is immutable once it has its name, and it has its name only once it is durable. The newest two are kept,
//! and segments go only when the older of the two covers them.

mod block;
mod reader;
mod truncate;
mod writer;

pub(crate) use reader::read_checkpoint;
pub(crate) use truncate::truncate;

pub use reader::CheckpointReport;
pub use truncate::Truncated;
pub use writer::{Checkpoint, CheckpointWriter};

/// How many checkpoints are kept.
pub(crate) const KEPT_CHECKPOINTS: usize = 2;
