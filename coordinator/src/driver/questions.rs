//! Questions that change nothing: answered from the core, which never tells what is not durable, and from the index.

use handfast_core::Moment;
use handfast_core::view::{StateView, TransactionView};
use handfast_ids::TransactionId;
use handfast_wal::Disk;

use super::{Driver, Found, PageRequest, Question, ServiceStatus};
use crate::index::Index;

impl<D: Disk, I: Index> Driver<D, I> {
    /// Answers. If nobody waits any more, it goes nowhere.
    pub(super) fn answer(&self, now: Moment, question: Question) {
        match question {
            Question::Transaction(transaction, answer) => drop(answer.send(self.find(now, transaction))),
            Question::Key(key, answer) => {
                let held = self.core.view_by_key(now, &key).map(|view| self.found(view));
                let found = held.or_else(|| Some(self.find(now, self.index.by_key(&key)?)));
                drop(answer.send(found));
            }
            Question::Page(page, answer) => drop(answer.send(self.page(now, page))),
            Question::InDoubt(page, answer) => {
                drop(answer.send(self.core.in_doubt(now, page.after, page.limit)));
            }
            Question::Status(answer) => {
                let status = ServiceStatus {
                    core: self.core.status(),
                    overdue: self
                        .overdue
                        .overdue(now)
                        .map(|(name, overdue)| (name.clone(), overdue))
                        .collect(),
                    log: self.journal.counters(),
                    uptime_ms: now.0,
                };
                drop(answer.send(status));
            }
        }
    }

    fn find(&self, now: Moment, transaction: TransactionId) -> Found {
        self.found(self.core.view(now, transaction))
    }

    /// With what the index remembers of it.
    fn found(&self, view: TransactionView) -> Found {
        let is_over = matches!(
            view.state,
            StateView::Ended(_) | StateView::NoEffects | StateView::Forgotten
        );
        let finished = is_over
            .then(|| self.index.get(view.transaction).cloned())
            .flatten();
        Found { view, finished }
    }

    /// Live and remembered transactions by id; one that is both is live.
    fn page(&self, now: Moment, page: PageRequest) -> Vec<Found> {
        let mut found: Vec<Found> = self
            .core
            .live(now, page.after, page.limit)
            .into_iter()
            .map(|view| Found { view, finished: None })
            .collect();
        if !page.live_only {
            // Beyond the last live one of a full page nothing may be shown yet.
            let ended = self.index.page(page.after, page.limit);
            let ended = ended
                .into_iter()
                .map(|finished| self.find(now, finished.transaction));
            found.extend(ended);
            found.sort_by_key(|found| found.view.transaction);
            found.dedup_by_key(|found| found.view.transaction);
            found.truncate(page.limit);
        }
        found
    }
}
