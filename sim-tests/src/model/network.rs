//! What is on its way between the coordinator and the participants.
//!
//! A set without order: anything may be delivered next, so everything may overtake everything. What is sent again while
//! the same is still on its way adds nothing; a duplicate is a message that is delivered and stays. What goes to a
//! session that its participant has left, or comes from one that the coordinator has ended, is gone.

use std::collections::BTreeSet;
use std::fmt;

use handfast_core::{
    Ack, AckKind, Decision, EnlistmentId, Event, InDoubtLine, InDoubtPhase, SessionId, Vote,
};
use handfast_ids::{BranchId, TransactionId};

use super::journal::IDENTITY;

/// A branch of a transaction.
pub type Part = (TransactionId, BranchId);

/// Everything that is on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Network {
    packets: BTreeSet<Packet>,
}

/// One message and the session that it travels by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Packet {
    pub session: SessionId,
    pub participant: usize,
    pub body: Body,
}

/// Which way it goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Body {
    Down(Down),
    Up(Up),
}

/// From the coordinator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Down {
    Enlisted(Part),
    Prepare {
        part: Part,
        with_operation: bool,
        delegated: bool,
    },
    Resolve(Part),
    Decision {
        part: Part,
        commits: bool,
    },
    Hold(Part),
    Forget(Part),
}

/// From a participant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Up {
    Enlist(TransactionId),
    Vote {
        part: Part,
        vote: Ballot,
    },
    Ack {
        part: Part,
        commits: bool,
        result: AckResult,
    },
    Scan(Vec<(Part, Found)>),
}

/// A vote without its words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ballot {
    Prepared,
    /// Done at once.
    Committed,
    ReadOnly,
    Refused,
}

/// An acknowledgement without its words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AckResult {
    Done,
    Hazard,
    Contrary,
}

/// What a scan finds of a branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Found {
    Prepared,
    Preparing,
    Marker,
    Committed,
}

impl Network {
    pub fn send(&mut self, packet: Packet) {
        self.packets.insert(packet);
    }

    pub fn remove(&mut self, packet: &Packet) {
        self.packets.remove(packet);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter()
    }

    /// The participant has left the session: nothing more arrives there.
    pub fn left_by_participant(&mut self, session: SessionId) {
        self.packets
            .retain(|packet| packet.session != session || matches!(packet.body, Body::Up(_)));
    }

    /// The coordinator has ended the session: nothing more is taken from it.
    pub fn ended_by_coordinator(&mut self, session: SessionId) {
        self.packets
            .retain(|packet| packet.session != session || matches!(packet.body, Body::Down(_)));
    }
}

impl Up {
    /// The event that the driver makes of it.
    pub fn event(&self, session: SessionId) -> Event {
        match *self {
            Up::Enlist(transaction) => Event::Enlist {
                session,
                transaction,
                enlistment: EnlistmentId(1),
            },
            Up::Vote {
                part: (transaction, branch),
                vote,
            } => Event::Vote {
                session,
                transaction,
                branch,
                vote: match vote {
                    Ballot::Prepared => Vote::Prepared {
                        prepared_for_ms: None,
                    },
                    Ballot::Committed => Vote::Committed,
                    Ballot::ReadOnly => Vote::ReadOnly,
                    Ballot::Refused => Vote::Refused {
                        reason: "NO".to_owned(),
                        message: String::new(),
                        retryable: false,
                    },
                },
            },
            Up::Ack {
                part: (transaction, branch),
                commits,
                result,
            } => {
                let evidence = String::new();
                let kind = match result {
                    AckResult::Done => AckKind::Done,
                    AckResult::Hazard => AckKind::Hazard { evidence },
                    AckResult::Contrary => AckKind::Contrary { evidence },
                };
                let decision = decision(commits);
                Event::Ack {
                    session,
                    transaction,
                    branch,
                    ack: Ack { decision, kind },
                }
            }
            Up::Scan(ref lines) => {
                let line = |&((transaction, branch), found): &(Part, Found)| InDoubtLine {
                    transaction,
                    branch,
                    log: IDENTITY.log,
                    phase: match found {
                        Found::Prepared => InDoubtPhase::Prepared,
                        Found::Preparing => InDoubtPhase::Preparing,
                        Found::Marker => InDoubtPhase::Marker,
                        Found::Committed => InDoubtPhase::Committed,
                    },
                };
                Event::InDoubt {
                    session,
                    lines: lines.iter().map(line).collect(),
                    complete: true,
                }
            }
        }
    }
}

/// The model's word for a decision.
pub fn commits(decision: Decision) -> bool {
    decision == Decision::Commit
}

/// The core's word for one.
pub fn decision(commits: bool) -> Decision {
    if commits {
        Decision::Commit
    } else {
        Decision::Abort
    }
}

/// `t1.0`: epoch and sequence, which is all that differs in a small world.
pub fn short(transaction: TransactionId) -> String {
    format!("t{}.{}", transaction.epoch(), transaction.sequence())
}

/// `t1.0/2`: with the branch.
pub fn short_part(part: Part) -> String {
    format!("{}/{}", short(part.0), part.1)
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = super::world::RESOURCES[self.participant];
        let session = self.session.0;
        match &self.body {
            Body::Down(down) => write!(f, "{down} -> {name} (session {session})"),
            Body::Up(up) => write!(f, "{up} <- {name} (session {session})"),
        }
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Down::Enlisted(part) => write!(f, "Enlisted {}", short_part(part)),
            Down::Prepare {
                part,
                delegated: true,
                ..
            } => write!(f, "Prepare and commit {}", short_part(part)),
            Down::Prepare { part, .. } => write!(f, "Prepare {}", short_part(part)),
            Down::Resolve(part) => write!(f, "Resolve {}", short_part(part)),
            Down::Decision { part, commits } => write!(f, "{:?} {}", decision(commits), short_part(part)),
            Down::Hold(part) => write!(f, "Hold {}", short_part(part)),
            Down::Forget(part) => write!(f, "Forget {}", short_part(part)),
        }
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Up::Enlist(transaction) => write!(f, "Enlist {}", short(*transaction)),
            Up::Vote { part, vote } => write!(f, "Vote {} {vote:?}", short_part(*part)),
            Up::Ack {
                part,
                commits,
                result,
            } => {
                write!(f, "Ack {} {:?} {result:?}", short_part(*part), decision(*commits))
            }
            Up::Scan(lines) => {
                write!(f, "Scan")?;
                lines
                    .iter()
                    .try_for_each(|(part, found)| write!(f, " {} {found:?}", short_part(*part)))
            }
        }
    }
}
