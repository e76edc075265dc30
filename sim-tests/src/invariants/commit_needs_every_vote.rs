//! "Commit implies that every branch voted yes": before anybody hears of a commit, every branch that was asked to prepare
//! has said that it can, or that it has nothing to do. The only branch of a transaction may have committed at once: then its
//! participant has said so, by its vote, in answer to the question, or in a scan.

use std::collections::BTreeMap;

use handfast_ids::BranchId;

use super::Invariant;
use crate::digest::Table;
use crate::oracle::Knowledge;
use crate::trace::{AckKind, Decision, Event, Message, Told, Transaction, VoteKind};

/// The phase of a scan's line that shows the marker of a commit.
const COMMITTED: i32 = 4;

/// By transaction and branch: the vote, once there is one.
#[derive(Default)]
pub(super) struct CommitNeedsEveryVote {
    asked: Table<Transaction, BTreeMap<BranchId, Option<VoteKind>>>,
}

impl CommitNeedsEveryVote {
    fn check(&self, transaction: Transaction) -> Result<(), String> {
        let Some(branches) = self.asked.get(&transaction) else {
            return Ok(());
        };
        match branches.iter().find(|(_, vote)| !is_yes(**vote)) {
            None => Ok(()),
            Some((branch, vote)) => Err(format!(
                "{transaction} is committed, and the vote of its branch {branch} is {vote:?}"
            )),
        }
    }
}

fn is_yes(vote: Option<VoteKind>) -> bool {
    matches!(
        vote,
        Some(VoteKind::Prepared | VoteKind::ReadOnly | VoteKind::Committed)
    )
}

impl Invariant for CommitNeedsEveryVote {
    fn name(&self) -> &'static str {
        "a commit needs every vote"
    }

    fn take(&mut self, event: &Event, _knowledge: &Knowledge) -> Result<(), String> {
        match event {
            Event::Message(
                _,
                _,
                Message::Prepare {
                    transaction, branch, ..
                },
            ) => {
                self.asked
                    .entry(*transaction)
                    .or_default()
                    .entry(*branch)
                    .or_default();
            }
            Event::Message(
                _,
                _,
                Message::Vote {
                    transaction,
                    branch,
                    vote,
                },
            ) => {
                let known = self
                    .asked
                    .entry(*transaction)
                    .or_default()
                    .entry(*branch)
                    .or_default();
                // The first vote counts; a repeated prepare may be answered otherwise once the branch is decided.
                known.get_or_insert(*vote);
            }
            Event::Message(
                _,
                _,
                Message::Ack {
                    transaction,
                    branch,
                    decision: Decision::Commit,
                    ack: AckKind::Done,
                }
                | Message::InDoubt {
                    transaction,
                    branch,
                    phase: COMMITTED,
                },
            ) => {
                if let Some(vote) = self
                    .asked
                    .get_mut(transaction)
                    .and_then(|branches| branches.get_mut(branch))
                {
                    vote.get_or_insert(VoteKind::Committed);
                }
            }
            Event::Message(
                _,
                _,
                Message::Decision {
                    transaction,
                    decision: Decision::Commit,
                    ..
                },
            )
            | Event::Read(_, transaction, Decision::Commit)
            | Event::Told(_, _, Told::Committed(transaction)) => return self.check(*transaction),
            _ => {}
        }
        Ok(())
    }
}
