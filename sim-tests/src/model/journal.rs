//! The coordinator's log: its records, how far they are durable, and the effects that wait for them.
//!
//! The log is written in order, so a crash leaves the durable records and any prefix of the rest. What is left is made
//! durable before the new process answers anybody.

use std::sync::Arc;

use handfast_core::view::Snapshot;
use handfast_core::{
    Decision, DecisionRecord, Effect, Identity, Limits, Lsn, Record, Recovery, RecoveryError,
};
use handfast_ids::{LogId, Partition, TransactionId};

/// Whose log it is.
pub const IDENTITY: Identity = Identity {
    log: LogId(1),
    partition: Partition(0),
};

/// The log and what hangs on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Journal {
    records: Vec<Arc<Record>>,
    durable: usize,
    gate: Vec<(Lsn, Arc<Effect>)>,
    checkpoint: Option<Arc<Snapshot>>,
}

impl Journal {
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable as u64)
    }

    pub fn accepted(&self) -> Lsn {
        Lsn(self.records.len() as u64)
    }

    /// Takes the next record; `false` if its LSN is not the next.
    pub fn append(&mut self, lsn: Lsn, record: Record) -> bool {
        self.records.push(Arc::new(record));
        lsn == self.accepted()
    }

    /// The disk has everything up to here.
    pub fn sync(&mut self, lsn: Lsn) {
        self.durable = lsn.0 as usize;
    }

    /// Keeps an effect until the log is durable to `after`.
    pub fn hold(&mut self, after: Lsn, effect: Effect) {
        let at = self.gate.partition_point(|(lsn, _)| *lsn <= after);
        self.gate.insert(at, (after, Arc::new(effect)));
    }

    /// The effects that need wait no longer.
    pub fn release(&mut self) -> Vec<Arc<Effect>> {
        let durable = self.durable();
        let free = self.gate.partition_point(|(lsn, _)| *lsn <= durable);
        self.gate.drain(..free).map(|(_, effect)| effect).collect()
    }

    pub fn begin_checkpoint(&mut self, snapshot: Snapshot) {
        self.checkpoint = Some(Arc::new(snapshot));
    }

    /// Whether a checkpoint was begun and the log is durable as far as it reaches, so that it could be written.
    pub fn has_checkpoint(&self) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|snapshot| snapshot.through <= self.durable())
    }

    /// The process dies: of what was not durable, the records up to `kept` are found again.
    pub fn crash(&mut self, kept: Lsn) {
        self.gate.clear();
        if !self.has_checkpoint() {
            self.checkpoint = None;
        }
        self.records.truncate(kept.0 as usize);
        self.durable = self.records.len();
    }

    /// Folds the log, from the checkpoint or from its beginning.
    pub fn recover(&self, limits: Limits, from_checkpoint: bool) -> Result<Recovery, RecoveryError> {
        let mut recovery = Recovery::new(IDENTITY, limits);
        let mut through = Lsn::ZERO;
        if let Some(snapshot) = self.checkpoint.as_ref().filter(|_| from_checkpoint) {
            through = snapshot.through;
            for record in &snapshot.records {
                recovery.apply(through, record.clone())?;
            }
        }
        for (lsn, record) in self.numbered().filter(|(lsn, _)| *lsn > through) {
            recovery.apply(lsn, record.clone())?;
        }
        Ok(recovery)
    }

    pub fn numbered(&self) -> impl Iterator<Item = (Lsn, &Record)> {
        (1..)
            .map(Lsn)
            .zip(self.records.iter().map(|record| record.as_ref()))
    }

    /// What the log holds of a transaction.
    pub fn story(&self, transaction: TransactionId) -> Story<'_> {
        let mut story = Story::default();
        for (lsn, record) in self.numbered() {
            let durable = lsn <= self.durable();
            match record {
                Record::Registered { transaction: id, .. } if *id == transaction => story.mentioned = true,
                Record::Delegated { transaction: id, .. } if *id == transaction => {
                    story.mentioned = true;
                    story.delegated = Some(durable);
                }
                Record::Decided {
                    transaction: id,
                    decision,
                    ..
                } if *id == transaction => {
                    let decision = match decision {
                        DecisionRecord::Commit => Decision::Commit,
                        DecisionRecord::Abort(_) => Decision::Abort,
                    };
                    story.mentioned = true;
                    story.decided = Some(Decided {
                        decision,
                        record,
                        durable,
                    });
                }
                Record::Ended { transaction: id } if *id == transaction => story.ended = Some(durable),
                _ => {}
            }
        }
        story
    }
}

/// What the log holds of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Story<'a> {
    pub mentioned: bool,
    /// Set if it is left to its participant; true if that is durable.
    pub delegated: Option<bool>,
    pub decided: Option<Decided<'a>>,
    /// Set if its end is written; true if that is durable.
    pub ended: Option<bool>,
}

/// A decision in the log.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    pub decision: Decision,
    pub record: &'a Record,
    pub durable: bool,
}

impl Story<'_> {
    /// Whether a decision to commit is in the log, durable or not.
    pub fn commits(&self) -> bool {
        self.decided
            .is_some_and(|decided| decided.decision == Decision::Commit)
    }

    /// Whether its decision could still be lost.
    pub fn is_undurable(&self) -> bool {
        self.decided.is_some_and(|decided| !decided.durable)
    }
}
