//! Recovery: the fold of the log into the state of a coordinator.

use handfast_ids::{LogId, Partition};

use crate::{Limits, Lsn, Record};

/// Whose log it is and which part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: Partition,
}

/// The fold. Feed it the checkpoint's records, then the log's, in order; then [`Coordinator::start`](crate::Coordinator::start).
#[derive(Debug)]
pub struct Recovery {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
}

/// A record that cannot follow the ones before it: the log is not what this build wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryError {
    /// Where.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub message: String,
}

impl Recovery {
    /// The state of an empty log.
    pub fn new(identity: Identity, limits: Limits) -> Self {
        Recovery { identity, limits }
    }

    /// Takes the next record. Those of a checkpoint all carry the LSN that the checkpoint covers.
    pub fn apply(&mut self, lsn: Lsn, record: Record) -> Result<(), RecoveryError> {
        let _ = (lsn, record);
        Ok(())
    }
}
