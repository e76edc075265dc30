//! "No transaction has one branch committed and another aborted, or it is reported heuristic with its evidence": stores
//! that keep their promises never have anything to report. A promise that holds for a while only may be over: then its branch may be
//! reported lost, and no other one.
//!
//! One hazard is none. Whoever is told to commit a branch that was committed and forgotten finds neither the promise nor the
//! marker, and has to say so. It comes to that in two ways only, and each of them is told here by the `Forget` itself, which is
//! sent only when the end of the transaction is durable, and so when every branch has acknowledged
//! (`forgotten_after_all_acknowledged`):
//!
//! 1. *A replaced process goes on.* Its successor, of a later epoch, has had the branch forgotten; the old one knows nothing of
//!    that, and sends its commit again. Its log takes no more records, so nothing comes of what it hears.
//! 2. *Two instances of one resource.* One is told to commit, and while that is under way the other is told too, acknowledges,
//!    and is told to forget. No order holds between two streams. The coordinator knows that the transaction has ended, and makes
//!    nothing of it either.
//!
//! Within one stream order holds, so a commit behind its own `Forget` is a defect; so is one of a later epoch than the `Forget`, for
//! a log that holds the end; and so is every hazard of a branch that nobody was told to forget.

use std::collections::BTreeSet;

use handfast_ids::{BranchId, Epoch, LogId};

use super::Invariant;
use crate::digest::Table;
use crate::oracle::Knowledge;
use crate::trace::{AckKind, Event, Message, Node, Transaction};

#[derive(Default)]
pub(super) struct DeviationsHaveACause {
    /// Whose process each session is with.
    sessions: Table<(Node, u32), (LogId, Epoch)>,
    /// Who was told to forget a branch, and in which epoch.
    forgotten: Table<(Transaction, BranchId), BTreeSet<(Epoch, Node)>>,
}

impl DeviationsHaveACause {
    fn epoch(&self, session: (Node, u32)) -> Option<Epoch> {
        self.sessions.get(&session).map(|(_, epoch)| *epoch)
    }

    /// Whether the branch was forgotten behind the back of whoever sent its commit over this session.
    fn is_forgotten(&self, session: (Node, u32), branch: (Transaction, BranchId)) -> bool {
        let Some(epoch) = self.epoch(session) else {
            return false;
        };
        let by = self.forgotten.get(&branch).into_iter().flatten();
        by.into_iter()
            .any(|(later, node)| *later > epoch || *later == epoch && *node != session.0)
    }
}

impl Invariant for DeviationsHaveACause {
    fn name(&self) -> &'static str {
        "deviations have a cause"
    }

    fn take(&mut self, event: &Event, knowledge: &Knowledge) -> Result<(), String> {
        let Event::Message(node, session, message) = event else {
            return Ok(());
        };
        let session = (*node, *session);
        match *message {
            Message::Welcome { log, epoch, .. } => {
                self.sessions.insert(session, (log, epoch));
                Ok(())
            }
            Message::Forget { transaction, branch } => {
                if let Some(epoch) = self.epoch(session) {
                    let by = self.forgotten.entry((transaction, branch)).or_default();
                    by.insert((epoch, *node));
                }
                Ok(())
            }
            Message::Ack {
                transaction,
                branch,
                ack: AckKind::Hazard | AckKind::Contrary,
                ..
            } if knowledge.has_deviated(transaction, branch.0) => Ok(()),
            Message::Ack {
                transaction,
                ack: AckKind::Contrary,
                ..
            } => Err(format!("{node} has ended {transaction} the other way")),
            Message::Ack {
                transaction,
                branch,
                ack: AckKind::Hazard,
                ..
            } if !self.is_forgotten(session, (transaction, branch)) => {
                Err(format!("{node} has lost branch {branch} of {transaction}"))
            }
            _ => Ok(()),
        }
    }
}
