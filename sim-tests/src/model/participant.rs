//! A participant, as the SDK and a well-behaved resource are together.
//!
//! ```text
//!            Enlisted         Prepare          made durable           Commit
//!  (nothing) ────────► Open ───────────► Working ──────────► Prepared ───────► Committed ──Forget──► Gone
//!      │                 └──new session──► Doomed               │ Abort
//!      └────────────────────────Abort (the fence)───────────────┴────────────► Aborted ────Forget──► Gone
//! ```
//!
//! One that decides by itself goes from Deciding, which belongs to the session, straight to Committed; asked how a branch
//! came out, it says commit by its marker, or writes a fence and says abort.
//!
//! Prepared, Held, Committed and Aborted are durable. The rest belongs to the session: a crash wipes it out, and a new
//! session dooms the work of the one before, which then can only end in rollback. Gone and Voted are what the SDK
//! remembers of a session's messages, so that a Prepare that comes twice is worked once.

use std::collections::BTreeMap;

use handfast_core::{Lsn, SessionId};
use handfast_ids::Epoch;

use super::network::{AckResult, Ballot, Down, Found, Part, Up};

/// One participant: its process and its store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Participant {
    /// The session that it believes to have.
    pub session: Option<SessionId>,
    /// Counts its processes.
    pub instance: u32,
    pub branches: BTreeMap<Part, Slot>,
    /// The most that it has seen of the coordinator's log.
    pub seen: Option<(Epoch, Lsn)>,
    /// The store as it was when it prepared last; only kept in worlds that restore it.
    pub backup: Option<BTreeMap<Part, Slot>>,
}

/// Where a branch stands at its participant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    /// It joined, and work is under way.
    Open,
    /// Asked to prepare; nothing is durable yet.
    Working,
    /// Asked to prepare and commit; nothing is durable yet.
    Deciding,
    /// Work of an older session.
    Doomed,
    /// Answered without a promise.
    Voted(Ballot),
    Prepared,
    /// Prepared, though the coordinator says that it has ended: for an operator.
    Held,
    /// Done, and the marker is there.
    Committed,
    /// Rolled back, and the fence is there.
    Aborted,
    /// Marker or fence was let go.
    Gone,
}

/// What became of a branch that was durably prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed(Part),
    RolledBack(Part),
}

impl Slot {
    fn is_durable(self) -> bool {
        matches!(
            self,
            Slot::Prepared | Slot::Held | Slot::Committed | Slot::Aborted
        )
    }

    /// Whether it waits for a decision, or for a Forget.
    pub fn is_open(self) -> bool {
        !matches!(self, Slot::Voted(_) | Slot::Gone | Slot::Held)
    }
}

impl Participant {
    /// Takes a message; says what it answers and what became of a prepared branch.
    pub fn take(&mut self, down: &Down) -> (Option<Up>, Option<Fate>) {
        match *down {
            Down::Enlisted(part) => {
                self.branches.entry(part).or_insert(Slot::Open);
                (None, None)
            }
            Down::Prepare {
                part,
                with_operation,
                delegated,
            } => (self.prepare(part, with_operation, delegated), None),
            Down::Resolve(part) => match self.branches.get(&part) {
                Some(Slot::Committed) => self.commit(part),
                _ => self.abort(part),
            },
            Down::Decision { part, commits: true } => self.commit(part),
            Down::Decision { part, commits: false } => self.abort(part),
            Down::Hold(part) => {
                if let Some(slot @ Slot::Prepared) = self.branches.get_mut(&part) {
                    *slot = Slot::Held;
                }
                (None, None)
            }
            Down::Forget(part) => {
                if let Some(slot @ (Slot::Committed | Slot::Aborted)) = self.branches.get_mut(&part) {
                    *slot = Slot::Gone;
                }
                (None, None)
            }
        }
    }

    fn prepare(&mut self, part: Part, with_operation: bool, delegated: bool) -> Option<Up> {
        let asked = if delegated { Slot::Deciding } else { Slot::Working };
        let vote = match self.branches.get(&part) {
            None if with_operation => {
                self.branches.insert(part, asked);
                return None;
            }
            Some(Slot::Open) => {
                self.branches.insert(part, asked);
                return None;
            }
            Some(Slot::Committed) if delegated => Ballot::Committed,
            Some(Slot::Working | Slot::Deciding | Slot::Held | Slot::Committed) => return None,
            Some(Slot::Prepared) => Ballot::Prepared,
            Some(Slot::Voted(vote)) => *vote,
            Some(Slot::Aborted | Slot::Gone | Slot::Doomed) => Ballot::Refused,
            None => {
                self.branches.insert(part, Slot::Voted(Ballot::Refused));
                Ballot::Refused
            }
        };
        Some(Up::Vote { part, vote })
    }

    /// The work is done: the vote is made durable, if it needs to be, and sent.
    pub fn vote(&mut self, part: Part, vote: Ballot) -> Up {
        let slot = match vote {
            Ballot::Prepared => Slot::Prepared,
            Ballot::Committed => Slot::Committed,
            Ballot::ReadOnly | Ballot::Refused => Slot::Voted(vote),
        };
        self.branches.insert(part, slot);
        Up::Vote { part, vote }
    }

    fn commit(&mut self, part: Part) -> (Option<Up>, Option<Fate>) {
        let (result, fate) = match self.branches.get(&part) {
            Some(Slot::Prepared | Slot::Held) => {
                self.branches.insert(part, Slot::Committed);
                (AckResult::Done, Some(Fate::Committed(part)))
            }
            Some(Slot::Committed) => (AckResult::Done, None),
            Some(Slot::Aborted) => (AckResult::Contrary, None),
            _ => (AckResult::Hazard, None),
        };
        let commits = true;
        (
            Some(Up::Ack {
                part,
                commits,
                result,
            }),
            fate,
        )
    }

    fn abort(&mut self, part: Part) -> (Option<Up>, Option<Fate>) {
        let (result, fate) = match self.branches.get(&part) {
            Some(Slot::Committed) => (AckResult::Contrary, None),
            Some(Slot::Prepared | Slot::Held) => (AckResult::Done, Some(Fate::RolledBack(part))),
            _ => (AckResult::Done, None),
        };
        if result == AckResult::Done {
            self.branches.insert(part, Slot::Aborted);
        }
        let commits = false;
        (
            Some(Up::Ack {
                part,
                commits,
                result,
            }),
            fate,
        )
    }

    /// What a scan of the store finds now.
    pub fn scan(&self) -> Vec<(Part, Found)> {
        self.branches
            .iter()
            .filter_map(|(&part, slot)| match slot {
                Slot::Prepared | Slot::Held => Some((part, Found::Prepared)),
                Slot::Doomed => Some((part, Found::Preparing)),
                Slot::Committed => Some((part, Found::Committed)),
                Slot::Aborted => Some((part, Found::Marker)),
                Slot::Open | Slot::Working | Slot::Deciding | Slot::Voted(_) | Slot::Gone => None,
            })
            .collect()
    }

    /// A new session: the work of the old one is fenced.
    pub fn fence(&mut self) {
        self.branches.retain(|_, slot| {
            if matches!(slot, Slot::Open | Slot::Working) {
                *slot = Slot::Doomed;
            }
            *slot == Slot::Doomed || slot.is_durable()
        });
    }

    /// The process dies; its store stays.
    pub fn crash(&mut self) {
        self.session = None;
        self.instance += 1;
        self.branches.retain(|_, slot| slot.is_durable());
    }
}
