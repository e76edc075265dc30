//! One branch: its states and their one total transition function.
//!
//! ```text
//!              Prepare            Vote(prepared)          Decide(d)              Ack(d)
//!  Enlisted ───────────► Preparing ────────────► Prepared ─────────► Delivering(d) ───────► Finished(d)
//!      │                  │  │  └──Vote(read-only)──► ReadOnly           ▲   └─Deviate(d, k)─► Deviated(k)
//!      │                  │  └─────Vote(refused)────► Refused            │
//!      └──────────────────┴───────────────Decide(abort)──────────────────┘
//! ```
//!
//! Whatever is not drawn changes nothing, and [`Stay`] says why.

use handfast_ids::BranchId;

use crate::resources::{ResourceIndex, StoreIndex};
use crate::{BranchStateView, Decision, DeviationKind, EnlistmentId, Moment, SessionId};

/// A branch of a live transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Branch {
    pub id: BranchId,
    pub resource: ResourceIndex,
    /// Votes and acknowledgements count only from this store.
    pub store: StoreIndex,
    pub state: BranchState,
}

/// Where a branch stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum BranchState {
    /// Joined an active transaction; pinned to the session that it joined by.
    Enlisted {
        session: SessionId,
        enlistment: EnlistmentId,
    },
    /// Prepare was sent to this session, and to no other ever.
    Preparing { session: SessionId, sent: Moment },
    /// The promise holds, until `expires` if it is set.
    Prepared { expires: Option<Moment> },
    /// Changed nothing; hears nothing more.
    ReadOnly,
    /// Rolled back by itself; hears nothing more.
    Refused,
    /// The decision is on its way until it is acknowledged.
    Delivering(Decision),
    /// The decision's effect is durable.
    Finished(Decision),
    /// The decision was not carried out, or nobody can tell.
    Deviated(DeviationKind),
}

/// What can happen to a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BranchEvent {
    Prepare { sent: Moment },
    Vote { session: SessionId, vote: VoteEvent },
    Decide(Decision),
    Ack(Decision),
    Deviate(Decision, DeviationKind),
}

/// A vote, without its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VoteEvent {
    Prepared { prepared_for_ms: Option<u64> },
    ReadOnly,
    Refused,
}

/// What an event does to a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    To(BranchState),
    Stay(Stay),
}

/// Why an event changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stay {
    /// It was taken before.
    Duplicate,
    /// It comes after the decision, or after what made it pointless.
    Late,
    /// It comes from another session than the one that was asked, or before anything was asked.
    Unasked,
    /// It contradicts what this branch was told.
    Contradiction,
}

impl BranchState {
    /// The one transition function: total, and used live, in recovery and in tests.
    pub fn on(self, event: BranchEvent) -> Step {
        use BranchEvent as E;
        use BranchState as S;
        use Step::{Stay as Keep, To};
        match (self, event) {
            (S::Enlisted { session, .. }, E::Prepare { sent }) => To(S::Preparing { session, sent }),
            (S::Enlisted { .. }, E::Vote { .. }) => Keep(Stay::Unasked),
            (S::Enlisted { .. } | S::Preparing { .. }, E::Decide(Decision::Abort)) => {
                To(S::Delivering(Decision::Abort))
            }
            (S::Enlisted { .. } | S::Preparing { .. }, E::Decide(Decision::Commit)) => {
                unreachable!("a commit is decided only once every branch has voted")
            }
            (S::Enlisted { .. } | S::Preparing { .. } | S::Prepared { .. }, E::Ack(_) | E::Deviate(..)) => {
                Keep(Stay::Unasked)
            }
            (S::Preparing { session, sent }, E::Vote { session: voter, vote }) if voter == session => {
                To(match vote {
                    VoteEvent::Prepared { prepared_for_ms } => S::Prepared {
                        expires: prepared_for_ms.map(|ms| Moment(sent.0.saturating_add(ms))),
                    },
                    VoteEvent::ReadOnly => S::ReadOnly,
                    VoteEvent::Refused => S::Refused,
                })
            }
            (S::Preparing { .. }, E::Vote { .. }) => Keep(Stay::Unasked),
            (S::Prepared { .. }, E::Decide(decision)) => To(S::Delivering(decision)),
            (S::Prepared { .. } | S::ReadOnly | S::Refused, E::Vote { .. }) => Keep(Stay::Duplicate),
            (S::ReadOnly | S::Refused, E::Decide(_) | E::Ack(_) | E::Deviate(..)) => Keep(Stay::Late),
            (S::Delivering(told), E::Ack(done)) if told == done => To(S::Finished(done)),
            (S::Delivering(told), E::Deviate(from, kind)) if told == from => To(S::Deviated(kind)),
            (S::Delivering(_), E::Ack(_) | E::Deviate(..)) => Keep(Stay::Contradiction),
            (S::Delivering(_) | S::Finished(_) | S::Deviated(_), E::Vote { .. } | E::Decide(_)) => {
                Keep(Stay::Late)
            }
            (S::Finished(_) | S::Deviated(_), E::Ack(_) | E::Deviate(..)) => Keep(Stay::Duplicate),
            (_, E::Prepare { .. }) => Keep(Stay::Late),
        }
    }

    /// The session that this branch lives and dies with, as long as it has not voted.
    pub fn pinned_to(self) -> Option<SessionId> {
        match self {
            BranchState::Enlisted { session, .. } | BranchState::Preparing { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Whether the resource still has work or a promise open for this branch.
    pub fn is_unfinished(self) -> bool {
        matches!(
            self,
            BranchState::Enlisted { .. }
                | BranchState::Preparing { .. }
                | BranchState::Prepared { .. }
                | BranchState::Delivering(_)
        )
    }

    /// Whether the branch voted prepared, so that a commit must reach it and its marker must be forgotten.
    pub fn hears_decision(self) -> bool {
        !matches!(self, BranchState::ReadOnly | BranchState::Refused)
    }

    /// The state as it may be told. Until the decision is durable, a branch on its way to it still reads as prepared, and
    /// so does one that has aborted already: an abort under a key is carried out before it is durable.
    pub fn view(self, decision_is_durable: bool) -> BranchStateView {
        match self {
            BranchState::Enlisted { .. } => BranchStateView::Enlisted,
            BranchState::Preparing { .. } => BranchStateView::Preparing,
            BranchState::Prepared { .. } => BranchStateView::Prepared,
            BranchState::ReadOnly => BranchStateView::ReadOnly,
            BranchState::Refused => BranchStateView::Refused,
            BranchState::Delivering(_)
            | BranchState::Finished(Decision::Abort)
            | BranchState::Deviated(_)
                if !decision_is_durable =>
            {
                BranchStateView::Prepared
            }
            BranchState::Delivering(Decision::Commit) => BranchStateView::Committing,
            BranchState::Delivering(Decision::Abort) => BranchStateView::Aborting,
            BranchState::Finished(Decision::Commit) => BranchStateView::Committed,
            BranchState::Finished(Decision::Abort) => BranchStateView::Aborted,
            BranchState::Deviated(DeviationKind::Hazard) => BranchStateView::Hazard,
            BranchState::Deviated(DeviationKind::Mixed) => BranchStateView::Contrary,
        }
    }
}

#[cfg(test)]
mod tests;
