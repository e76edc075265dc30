//! Branches as the kit names them, and what was said about each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use handfast_ids::{Epoch, LogId, Partition, TransactionId};
use handfast_proto::{convert, v1};

/// One branch, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Branch {
    /// The log of the coordinator that it belongs to.
    pub log: LogId,
    /// Its transaction.
    pub transaction: TransactionId,
    /// Its ordinal within the transaction.
    pub number: u32,
}

impl Branch {
    /// The transaction on the wire.
    pub fn id(&self) -> Bytes {
        convert::transaction_id_bytes(self.transaction)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transaction, self.number)
    }
}

/// Mints ids that no run before has used: by the clock.
#[derive(Debug)]
pub(crate) struct Mint {
    milliseconds: u64,
    sequence: u32,
}

impl Mint {
    /// From now on.
    #[allow(clippy::disallowed_methods, reason = "the kit works in real time")]
    pub fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Mint {
            milliseconds: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or_default()),
            sequence: 0,
        }
    }

    /// A new transaction's first branch.
    pub fn branch(&mut self, log: LogId, epoch: u32) -> Branch {
        self.sequence += 1;
        Branch {
            log,
            transaction: TransactionId::new(self.milliseconds, Partition(0), Epoch(epoch), self.sequence),
            number: 0,
        }
    }
}

/// A new log's id.
#[allow(
    clippy::disallowed_methods,
    reason = "ids must be new, so they come from the system"
)]
pub(crate) fn random_log() -> LogId {
    let mut bytes = [0; 16];
    // Without random bits the clock must do: all that matters is that the participant has never seen it.
    if getrandom::fill(&mut bytes).is_err() {
        return LogId(u128::from(Mint::new().milliseconds) << 64 | 1);
    }
    LogId(u128::from_be_bytes(bytes))
}

/// What was said about a branch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// The participant voted prepared, or showed the branch as prepared.
    pub may_be_prepared: bool,
    /// It was left to the participant, which alone knows how it came out.
    pub delegated: bool,
    /// A commit was sent.
    pub commit_sent: bool,
    /// A commit was acknowledged as done, or the participant has committed what was left to it.
    pub committed: bool,
    /// An abort was acknowledged as done.
    pub aborted: bool,
    /// A decision was answered with hazard or contrary.
    pub deviated: bool,
}

/// What was said in a case.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Every branch that was spoken of.
    pub fates: BTreeMap<Branch, Fate>,
    /// What broke the rules of the session, once each.
    pub violations: BTreeSet<String>,
}

impl Facts {
    /// What is known of a branch.
    pub fn fate(&mut self, branch: Branch) -> &mut Fate {
        self.fates.entry(branch).or_default()
    }

    /// How many branches were committed for certain.
    pub fn committed(&self) -> usize {
        self.fates.values().filter(|fate| fate.committed).count()
    }

    /// Branches that may hold something at the participant, with the decision that ends them.
    pub fn unfinished(&self) -> Vec<(Branch, v1::DecisionKind)> {
        let unfinished = self
            .fates
            .iter()
            .filter(|(_, fate)| !fate.committed && !fate.aborted && !fate.deviated);
        unfinished
            .map(|(branch, fate)| match (fate.commit_sent, fate.delegated) {
                (true, _) => (*branch, v1::DecisionKind::Commit),
                (false, true) => (*branch, v1::DecisionKind::Resolve),
                (false, false) => (*branch, v1::DecisionKind::Abort),
            })
            .collect()
    }
}
