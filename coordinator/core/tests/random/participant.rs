//! A participant that keeps its promises: it remembers durably what it prepared, obeys decisions, keeps markers and
//! fences until it may forget, and handles no prepare twice. It counts how often each effect took place.

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::{Ack, AckKind, Decision, Event, InDoubtLine, InDoubtPhase, Message, SessionId, Vote};
use handfast_ids::{BranchId, TransactionId};

use crate::world::IDENTITY;

type Branch = (TransactionId, BranchId);

/// One store and all sessions that serve it.
#[derive(Debug, Default)]
pub struct Participant {
    kept: BTreeMap<Branch, Kept>,
    forgotten: BTreeSet<Branch>,
    /// What arrived on a session before: sessions end, so this does too.
    seen: BTreeSet<(SessionId, Branch)>,
    pub effects: BTreeMap<Branch, usize>,
    pub violations: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Prepared,
    Committed,
    Aborted,
}

impl Participant {
    /// Takes a message; gives what it says in return. Some branches are read-only, some are refused.
    pub fn take(&mut self, session: SessionId, message: &Message) -> Option<Event> {
        match *message {
            Message::Prepare {
                transaction,
                branch,
                delegated,
                ..
            } => self.prepare(session, (transaction, branch), delegated),
            Message::Resolve { transaction, branch } => {
                let decision = self.resolve((transaction, branch));
                self.seen.insert((session, (transaction, branch)));
                let kind = AckKind::Done;
                Some(Event::Ack {
                    session,
                    transaction,
                    branch,
                    ack: Ack { decision, kind },
                })
            }
            Message::Decision {
                transaction,
                branch,
                decision,
            } => {
                self.decide((transaction, branch), decision);
                self.seen.insert((session, (transaction, branch)));
                let kind = AckKind::Done;
                Some(Event::Ack {
                    session,
                    transaction,
                    branch,
                    ack: Ack { decision, kind },
                })
            }
            Message::Forget { transaction, branch } => {
                let key = (transaction, branch);
                if self.kept.get(&key) == Some(&Kept::Prepared) {
                    self.violations
                        .push(format!("{key:?} is to be forgotten while prepared"));
                }
                self.kept.remove(&key);
                self.forgotten.insert(key);
                None
            }
            Message::Welcome { .. } | Message::Enlisted { .. } | Message::Answer { .. } => None,
        }
    }

    fn prepare(&mut self, session: SessionId, key: Branch, delegated: bool) -> Option<Event> {
        if !self.seen.insert((session, key)) {
            return None;
        }
        let dice = key.0.milliseconds() + 11 * u64::from(key.0.sequence()) + 3 * u64::from(key.1.0);
        let vote = match (self.kept.get(&key), dice % 20) {
            (Some(Kept::Aborted), _) => no("FENCED"),
            (Some(_), _) => return None,
            (None, 6) => no("NO"),
            (None, 2 | 14) => Vote::ReadOnly,
            // Now and then it would rather be told.
            (None, dice) if delegated && dice != 9 => {
                *self.effects.entry(key).or_default() += 1;
                self.kept.insert(key, Kept::Committed);
                Vote::Committed
            }
            (None, _) => {
                self.kept.insert(key, Kept::Prepared);
                Vote::Prepared {
                    prepared_for_ms: None,
                }
            }
        };
        let (transaction, branch) = key;
        Some(Event::Vote {
            session,
            transaction,
            branch,
            vote,
        })
    }

    /// How it came out: a marker proves it, and without one a fence makes it an abort.
    fn resolve(&mut self, key: Branch) -> Decision {
        if self.kept.get(&key) == Some(&Kept::Committed) {
            return Decision::Commit;
        }
        if self.effects.contains_key(&key) && !self.forgotten.contains(&key) {
            self.violations
                .push(format!("{key:?} has lost the marker of its effect"));
        }
        self.kept.insert(key, Kept::Aborted);
        Decision::Abort
    }

    fn decide(&mut self, key: Branch, decision: Decision) {
        let kept = self.kept.get(&key).copied();
        match (decision, kept) {
            (Decision::Commit, Some(Kept::Prepared)) => {
                *self.effects.entry(key).or_default() += 1;
                self.kept.insert(key, Kept::Committed);
            }
            (Decision::Commit, Some(Kept::Committed)) | (Decision::Abort, Some(Kept::Aborted)) => {}
            (Decision::Commit, None) if self.forgotten.contains(&key) => {}
            (Decision::Commit, _) => self
                .violations
                .push(format!("{key:?} is to commit and is {kept:?}")),
            (Decision::Abort, Some(Kept::Committed)) => {
                self.violations
                    .push(format!("{key:?} is to abort and has committed"));
            }
            (Decision::Abort, Some(Kept::Prepared) | None) => {
                if self.effects.contains_key(&key) {
                    self.violations
                        .push(format!("{key:?} is to abort after its effect"));
                }
                self.kept.insert(key, Kept::Aborted);
            }
        }
    }

    /// A complete scan of the store.
    pub fn scan(&self, session: SessionId) -> Event {
        let lines = self
            .kept
            .iter()
            .map(|(&(transaction, branch), kept)| InDoubtLine {
                transaction,
                branch,
                log: IDENTITY.log,
                phase: match kept {
                    Kept::Prepared => InDoubtPhase::Prepared,
                    Kept::Committed => InDoubtPhase::Committed,
                    Kept::Aborted => InDoubtPhase::Marker,
                },
            });
        Event::InDoubt {
            session,
            lines: lines.collect(),
            complete: true,
        }
    }

    pub fn prepared(&self) -> Vec<Branch> {
        let prepared = self.kept.iter().filter(|(_, kept)| **kept == Kept::Prepared);
        prepared.map(|(&key, _)| key).collect()
    }
}

fn no(reason: &str) -> Vote {
    Vote::Refused {
        reason: reason.to_owned(),
        message: String::new(),
        retryable: false,
    }
}
