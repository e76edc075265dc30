//! What is read off the table: views for clients and operators, and the snapshot for a checkpoint.

use std::ops::Bound;

use handfast_ids::{Epoch, Generation, IdempotencyKey, ResourceName, TransactionId};

use crate::branch::BranchState;
use crate::coordinator::Coordinator;
use crate::transaction::{State, Transaction};
use crate::view::{
    BranchView, InDoubtState, InDoubtView, Snapshot, StateView, StatusView, TableView, TransactionView,
};
use crate::{AbortReason, Decision, DecisionRecord, KeyRecord, LogSpace, Lsn, Moment, Record};

/// Ended commits of one `EndedCommits` record.
const COMMITS_PER_RECORD: usize = 1000;

impl Coordinator {
    /// How a transaction stands, as far as it may be told. Total: unknown ids have an answer too.
    pub fn view(&self, now: Moment, transaction: TransactionId) -> TransactionView {
        self.view_at(now, transaction, self.cursors.durable)
    }

    /// How the transaction under a key stands: `None` if nobody holds the key. As long as the key is held, so is its answer, and what
    /// the history has dropped is answered all the same.
    pub fn view_by_key(&self, now: Moment, key: &IdempotencyKey) -> Option<TransactionView> {
        let held = self.keys.find(key)?;
        let mut view = self.view(now, held.transaction);
        if !self.table.contains(held.transaction)
            && matches!(view.state, StateView::NoEffects | StateView::Forgotten)
            && let Some((outcome, told_after)) = &held.answer
        {
            view.state = match *told_after > self.cursors.durable {
                true => StateView::Preparing,
                false => StateView::Ended(outcome.clone()),
            };
            view.key = Some(key.clone());
        }
        Some(view)
    }

    /// [`Coordinator::view`], told to those who hear it only once everything that was handed to the log is durable.
    pub(crate) fn view_once_durable(&self, transaction: TransactionId) -> TransactionView {
        self.view_at(self.now, transaction, self.cursors.accepted())
    }

    fn view_at(&self, now: Moment, transaction: TransactionId, durable: Lsn) -> TransactionView {
        let age_ms = self.mint.wall_ms(now).saturating_sub(transaction.milliseconds());
        if let Some(entry) = self.table.get(transaction) {
            return self.live_view(transaction, entry, age_ms, durable);
        }
        let state = match self.history.outcome(transaction) {
            // Its store has decided, and what the coordinator has written down of that may still be lost.
            Some((_, told_after)) if told_after > durable && transaction.is_unrecorded() => {
                StateView::Delegated
            }
            Some((_, told_after)) if told_after > durable => StateView::Preparing,
            Some((outcome, _)) => StateView::Ended(outcome.clone()),
            None if !self.is_mine(transaction) => StateView::NotMine,
            None if transaction <= self.history.horizon() || transaction.is_unrecorded() => {
                StateView::Forgotten
            }
            None => StateView::NoEffects,
        };
        TransactionView {
            transaction,
            state,
            branches: Vec::new(),
            key: None,
            age_ms,
        }
    }

    fn live_view(
        &self,
        transaction: TransactionId,
        entry: &Transaction,
        age_ms: u64,
        durable: Lsn,
    ) -> TransactionView {
        let may_be_told = entry.state.told_after().is_none_or(|lsn| lsn <= durable);
        let branches = entry
            .branches
            .iter()
            .map(|branch| {
                let resource = self.resources.get(branch.resource);
                BranchView {
                    branch: branch.id,
                    resource: resource.name.clone(),
                    state: branch.state.view(may_be_told),
                    connected: resource.is_connected(),
                }
            })
            .collect();
        let state = match &entry.state {
            State::Active => StateView::Active,
            _ if !may_be_told => StateView::Preparing,
            State::Preparing { .. } => StateView::Preparing,
            State::Delegated { .. } => StateView::Delegated,
            _ if !entry.deviations.is_empty() => {
                StateView::Heuristic(entry.outcome().expect("a decision was deviated from"))
            }
            State::Committing { .. } => StateView::Committing,
            // It may have been read-only and answered "committed"; a note that survived reads like one that was lost.
            State::Aborting {
                reason: AbortReason::Presumed,
                ..
            } => StateView::NoEffects,
            State::Aborting { .. } => StateView::Aborting,
        };
        let key = entry.key.as_ref().map(|record| record.key.clone());
        TransactionView {
            transaction,
            state,
            branches,
            key,
            age_ms,
        }
    }

    /// Up to `limit` live transactions with ids above `after`, in order.
    pub fn live(&self, now: Moment, after: Option<TransactionId>, limit: usize) -> Vec<TransactionView> {
        self.table
            .after(after)
            .take(limit)
            .map(|(transaction, _)| self.view(now, transaction))
            .collect()
    }

    /// Up to `limit` transactions' branches that wait for somebody, with ids above `after`, in order. All branches of one
    /// transaction come on one page.
    pub fn in_doubt(&self, now: Moment, after: Option<TransactionId>, limit: usize) -> Vec<InDoubtView> {
        let mut views = Vec::new();
        let live = self.table.after(after).flat_map(|(transaction, entry)| {
            let deviated = |branch, kind| {
                let deviation = entry
                    .deviations
                    .iter()
                    .find(|deviation| deviation.branch == branch);
                InDoubtState::Deviated {
                    decision: entry.state.decision().expect("a decision was deviated from"),
                    kind,
                    evidence: deviation
                        .map(|deviation| deviation.evidence.clone())
                        .unwrap_or_default(),
                }
            };
            let told = entry
                .state
                .told_after()
                .is_none_or(|lsn| lsn <= self.cursors.durable);
            entry
                .branches
                .iter()
                .filter(move |_| told)
                .filter_map(move |branch| {
                    let state = match branch.state {
                        BranchState::Delivering(Decision::Commit) => InDoubtState::Committing,
                        BranchState::Delivering(Decision::Abort) => InDoubtState::Aborting,
                        BranchState::Asked => InDoubtState::Delegated,
                        BranchState::Deviated(kind) => deviated(branch.id, kind),
                        _ => return None,
                    };
                    Some((transaction, branch.id, branch.resource, state))
                })
        });
        let from = after.map_or(Bound::Unbounded, |id| {
            Bound::Excluded((id, handfast_ids::BranchId(u32::MAX)))
        });
        let held = self
            .held
            .range((from, Bound::Unbounded))
            .filter(|((transaction, _), _)| !self.table.contains(*transaction))
            .map(|(&(transaction, branch), held)| (transaction, branch, held.resource, held.state.clone()));
        for (transaction, branch, index, state) in first_of_both(live, held, limit) {
            let resource = self.resources.get(index);
            views.push(InDoubtView {
                transaction,
                branch,
                resource: resource.name.clone(),
                connected: resource.is_connected(),
                state,
                age_ms: self.mint.wall_ms(now).saturating_sub(transaction.milliseconds()),
            });
        }
        views
    }

    /// The generation of a resource's store that the log knows.
    pub fn generation(&self, resource: &ResourceName) -> Option<Generation> {
        let index = self.resources.find(resource)?;
        Some(self.resources.get(index).generation)
    }

    /// How the coordinator is. Counts the table: not for every request.
    pub fn status(&self) -> StatusView {
        let mut table = TableView {
            live: self.table.len(),
            capacity: self.limits.transactions,
            keys: self.keys.len(),
            keys_capacity: self.limits.keys,
            committed_total: self.totals.committed,
            aborted_total: self.totals.aborted,
            ..TableView::default()
        };
        for entry in self.table.values() {
            let may_be_told = entry
                .state
                .told_after()
                .is_none_or(|lsn| lsn <= self.cursors.durable);
            *match &entry.state {
                State::Active => &mut table.active,
                _ if !may_be_told => &mut table.preparing,
                State::Preparing { .. } | State::Delegated { .. } => &mut table.preparing,
                _ if !entry.deviations.is_empty() => &mut table.heuristic,
                State::Committing { .. } => &mut table.committing,
                State::Aborting { .. } => &mut table.aborting,
            } += 1;
        }
        StatusView {
            log: self.log,
            epoch: self.mint.epoch(),
            durable: self.cursors.durable,
            accepted: self.cursors.accepted(),
            draining: self.draining,
            space_low: self.space == LogSpace::Low,
            table,
            resources: self.resources.iter().map(|resource| resource.view()).collect(),
        }
    }

    /// The state as records, for a checkpoint: what recovery folds out of them is what it would fold out of the log.
    pub fn snapshot(&self) -> Snapshot {
        let through = self.cursors.accepted();
        let (wall_ms, key_ms) = (self.mint.wall_ms(self.now), self.mint.key_ms(self.now));
        let epoch_started = |(epoch, predecessor_end)| Record::EpochStarted {
            log: self.log,
            epoch,
            predecessor_end,
            wall_ms,
            key_ms,
        };
        let mut records: Vec<Record> = match self.mint.epoch() {
            first @ Epoch(..=1) => vec![epoch_started((first, Lsn::ZERO))],
            _ => self.epoch_ends.beginnings().map(epoch_started).collect(),
        };
        records.push(Record::Horizon {
            transaction: self.history.horizon(),
            key_ms: self.keys.horizon_ms(),
        });
        records.extend(self.resources.iter().map(|resource| Record::Resource {
            name: resource.name.clone(),
            store: resource.store_id,
            generation: resource.generation,
        }));
        let commits: Vec<TransactionId> = self.history.commits().collect();
        records.extend(
            commits
                .chunks(COMMITS_PER_RECORD)
                .map(|chunk| Record::EndedCommits {
                    transactions: chunk.to_vec(),
                }),
        );
        for (held, outcome) in self.keys.answered() {
            if !self.table.contains(held.transaction) {
                let (key, transaction) = (held.record.clone(), held.transaction);
                records.push(Record::KeyHeld {
                    key,
                    transaction,
                    outcome: outcome.clone(),
                });
            }
        }
        for (transaction, entry) in self.table.iter() {
            self.snapshot_live(transaction, entry, &mut records);
        }
        Snapshot { through, records }
    }

    fn snapshot_live(&self, transaction: TransactionId, entry: &Transaction, records: &mut Vec<Record>) {
        // The checkpoint must not know more than the log: an end would be logged for what the log never saw begin.
        if !entry.logged {
            return;
        }
        let branches = self.hearing_records(transaction);
        let decision = match &entry.state {
            State::Active => return,
            State::Delegated { .. } => {
                let key = entry.key.clone();
                records.extend(branches.into_iter().map(|branch| Record::Delegated {
                    transaction,
                    branch,
                    key: key.clone(),
                }));
                return;
            }
            State::Preparing { .. }
            | State::Aborting {
                reason: AbortReason::Presumed,
                ..
            } => None,
            State::Aborting { decided: None, .. } => None,
            State::Committing { .. } => Some(DecisionRecord::Commit),
            State::Aborting { reason, .. } => Some(DecisionRecord::Abort(reason.clone())),
        };
        records.push(match decision {
            None => Record::Registered {
                transaction,
                branches,
            },
            Some(decision) => {
                // A key that has expired since may name another transaction by now.
                let is_held = |record: &&KeyRecord| {
                    let held = self.keys.find(&record.key);
                    held.is_some_and(|held| held.transaction == transaction)
                };
                let key = entry.key.as_deref().filter(is_held).cloned().map(Box::new);
                Record::Decided {
                    transaction,
                    decision,
                    branches,
                    key,
                }
            }
        });
        for deviation in entry.deviations.iter().cloned() {
            records.push(Record::Deviated {
                transaction,
                deviation,
            });
        }
    }
}

/// Merges two sequences that are ordered by transaction, up to `limit` transactions, never splitting one.
fn first_of_both<T>(
    live: impl Iterator<Item = (TransactionId, handfast_ids::BranchId, T, InDoubtState)>,
    held: impl Iterator<Item = (TransactionId, handfast_ids::BranchId, T, InDoubtState)>,
    limit: usize,
) -> Vec<(TransactionId, handfast_ids::BranchId, T, InDoubtState)> {
    let (mut live, mut held) = (live.peekable(), held.peekable());
    let mut merged = Vec::new();
    let mut transactions = 0;
    let mut last = None;
    loop {
        let live_first = match (live.peek(), held.peek()) {
            (Some(a), Some(b)) => a.0 <= b.0,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return merged,
        };
        let Some(next) = (if live_first { live.next() } else { held.next() }) else {
            return merged;
        };
        if last != Some(next.0) {
            transactions += 1;
            last = Some(next.0);
        }
        if transactions > limit {
            return merged;
        }
        merged.push(next);
    }
}
