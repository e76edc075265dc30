//! One transaction: its states and who waits for it.
//!
//! ```text
//!   Begin ──► Active ──seal──► Preparing ──all voted──► Committing ──all acknowledged──► (ended)
//!                │                 │                         └──a participant deviates: stays, for the operator
//!                └────abort────────┴──► Aborting ──all acknowledged──► (ended)
//!                                          └──a participant deviates: stays, for the operator
//!   Execute ─────────────────► Preparing
//!
//!   one branch whose store can promise and commit at once:
//!   seal, Execute ──► Delegated ──says committed───────────────────► (ended)
//!                       │  ├──read-only, refused, prepared──► Preparing, with its vote
//!                       │  └──Abort, deadline, session lost, restart──► Delegated, in doubt: it is asked
//!                       └──in doubt──store says committed, or has fenced──► (ended)
//! ```
//!
//! There is no way from Committing to Aborting: a decision that was handed to the log is never taken back.

use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;

use handfast_ids::BranchId;

use crate::branch::Branch;
use crate::few::Few;
use crate::{AbortReason, Call, Decision, Deviation, KeyRecord, Lsn, Moment, Outcome, Wait};

/// A live transaction. A million of them may wait for a participant that is away: `table/tests.rs` holds what one takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Transaction {
    pub state: State,
    pub branches: Few<Branch>,
    /// Of its operations, as long as votes are awaited.
    pub operation_bytes: usize,
    pub waiters: Few<Waiter>,
    pub key: Option<Box<KeyRecord>>,
    pub deviations: Vec<Deviation>,
    /// The one timer: the deadline before the decision, the next redelivery after it.
    pub timer: Option<Moment>,
    /// Whether the log has a record of it, so that its end must be logged too.
    pub logged: bool,
    /// Since when its branches owe an answer: the decision's acknowledgement, or how what was delegated came out.
    pub owed_since: OwedSince,
}

/// Since when somebody owes an answer, in tenths of a second of this process; nothing for what an earlier process decided.
///
/// It is told, and nothing depends on it: what differs in it alone is the same state. Next to a flag it takes no room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwedSince(Option<NonZeroU32>);

impl OwedSince {
    /// From this moment on. Rounded up, so that nobody is said to owe for longer than it did.
    pub fn at(now: Moment) -> Self {
        let tenths = u32::try_from(now.0.div_ceil(TENTH_MS)).unwrap_or(u32::MAX);
        OwedSince(NonZeroU32::new(tenths.max(1)))
    }

    /// Milliseconds from then until `now`. `None` if this process does not know.
    pub fn ms_until(self, now: Moment) -> Option<u64> {
        let since = self.0?.get();
        Some(now.0.saturating_sub(u64::from(since) * TENTH_MS))
    }
}

const TENTH_MS: u64 = 100;

impl PartialEq for OwedSince {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OwedSince {}

impl Hash for OwedSince {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Where a transaction stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum State {
    /// Open for branches.
    Active,
    /// Sealed; so many branches have not voted.
    Preparing { unvoted: usize },
    /// Left to its only branch's participant, which commits or does not, and says so. `doubt` is set once the answer may
    /// be lost, and is why it aborts if the store can prove no commit.
    Delegated {
        deadline: Moment,
        doubt: Option<AbortReason>,
        attempts: u32,
    },
    /// Decided to commit by the record at `decided`; so many branches have not answered.
    Committing {
        decided: Lsn,
        unacked: usize,
        attempts: u32,
    },
    /// Decided to abort; so many branches have not answered. `decided` is set if the abort itself had to be logged.
    Aborting {
        reason: AbortReason,
        decided: Option<Lsn>,
        unacked: usize,
        attempts: u32,
    },
}

/// A call that waits for the outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Waiter {
    pub call: Call,
    pub wait: Wait,
}

impl State {
    /// The record that must be durable before anything of the decision is told; `None` if there is none.
    pub fn told_after(&self) -> Option<Lsn> {
        match self {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => None,
            State::Committing { decided, .. } => Some(*decided),
            State::Aborting { decided, .. } => *decided,
        }
    }

    pub fn is_decided(&self) -> bool {
        self.decision().is_some()
    }

    pub fn decision(&self) -> Option<Decision> {
        match self {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => None,
            State::Committing { .. } => Some(Decision::Commit),
            State::Aborting { .. } => Some(Decision::Abort),
        }
    }

    /// Whether the participant that decides may have decided, and its answer may be lost.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, State::Delegated { doubt: Some(_), .. })
    }

    /// The count of branches that have not answered the decision.
    pub fn unacked(&mut self) -> Option<&mut usize> {
        match self {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => None,
            State::Committing { unacked, .. } | State::Aborting { unacked, .. } => Some(unacked),
        }
    }
}

impl Transaction {
    pub fn new(state: State, branches: impl Into<Few<Branch>>) -> Self {
        Transaction {
            state,
            branches: branches.into(),
            operation_bytes: 0,
            waiters: Few::default(),
            key: None,
            deviations: Vec::new(),
            timer: None,
            logged: false,
            owed_since: OwedSince::default(),
        }
    }

    /// Branch ids are ordinals, but a recovered transaction holds only the branches that must hear the decision.
    pub fn branch_mut(&mut self, id: BranchId) -> Option<&mut Branch> {
        let position = self.position(id)?;
        self.branches.get_mut(position)
    }

    pub fn branch(&self, id: BranchId) -> Option<&Branch> {
        self.branches.get(self.position(id)?)
    }

    fn position(&self, id: BranchId) -> Option<usize> {
        let ordinal = id.0 as usize;
        match self.branches.get(ordinal) {
            Some(branch) if branch.id == id => Some(ordinal),
            _ => self.branches.binary_search_by_key(&id, |branch| branch.id).ok(),
        }
    }

    /// How it came out, once it is decided.
    pub fn outcome(&self) -> Option<Outcome> {
        if let (Some(decision), false) = (self.state.decision(), self.deviations.is_empty()) {
            return Some(Outcome::Heuristic {
                decision,
                evidence: self.deviations.clone(),
            });
        }
        match &self.state {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => None,
            State::Committing { .. } => Some(Outcome::Committed),
            State::Aborting { reason, .. } => Some(Outcome::Aborted {
                reason: reason.clone(),
            }),
        }
    }
}
