//! One phase: a transaction of one branch is left to its participant, which commits it or does not.
//!
//! 1. `Delegated` is appended. It is forced, and durable before the prepare leaves, if somebody may ask later by a key or by
//!    an id that was told before. Nobody can ask for an unkeyed one-shot transaction so; its record rides along with the
//!    next that is forced, and its id says that a missing record proves nothing.
//! 2. The store writes effect and marker in one step and says so. That is the decision; the marker stays until the end of
//!    the transaction is durable, so nothing is lost if the coordinator's own note of it is.
//! 3. If the answer may be lost (deadline, session lost, a client aborts, restart), the coordinator must not decide. It asks
//!    the store, again and again: a marker says committed; otherwise the store writes a fence under the marker's key, so
//!    that a late prepare collides with it, and says aborted.
//!
//! Until then the outcome is unknown, and is told so.
//!
//! Only an attached store is trusted with it. Its newest session is the only one that works, so once that one has written the
//! fence and its end is durable, no prepare of an older session can come any more. A detached store has several instances:
//! one that was cut off could commit after another one's fence was forgotten. In two phases such work is found prepared
//! and is rolled back; in one it would be done.

use handfast_ids::{BranchId, TransactionId};

use crate::branch::{BranchEvent, BranchState, Step};
use crate::coordinator::Coordinator;
use crate::delivery::spread;
use crate::resources::ResourceIndex;
use crate::transaction::{OwedSince, State};
use crate::{
    AbortReason, BranchRecord, Decision, DecisionRecord, Effect, FinishedTransaction, Lsn, Message, Moment,
    Outcome, Record, Rejection, Reply, SessionId,
};

impl Coordinator {
    /// Whether these are the branches of a transaction that can be left to its participant.
    pub(crate) fn can_delegate(&self, resources: &[ResourceIndex]) -> bool {
        matches!(resources, [only] if self.resources.takes_one_phase(*only))
    }

    /// Leaves a sealed transaction to its only participant; what must be durable before the prepare leaves.
    pub(crate) fn delegate(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) -> Option<Lsn> {
        let branch = self.branch_records(transaction).pop()?;
        let entry = self.table.get_mut(transaction)?;
        entry.logged = true;
        entry.state = State::Delegated {
            deadline: entry.timer.unwrap_or(self.now),
            doubt: None,
            attempts: 0,
        };
        let record = Record::Delegated {
            transaction,
            branch,
            key: entry.key.clone(),
        };
        let must_be_known = !transaction.is_unrecorded();
        let lsn = self.append(record, must_be_known, effects);
        must_be_known.then_some(lsn)
    }

    /// The participant's answer may be lost: from now on its store is asked. If that can prove no commit, the transaction
    /// aborts for this reason.
    pub(crate) fn doubt(
        &mut self,
        transaction: TransactionId,
        reason: AbortReason,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let State::Delegated {
            doubt: doubt @ None, ..
        } = &mut entry.state
        else {
            return;
        };
        *doubt = Some(reason);
        entry.owed_since = OwedSince::at(self.now);
        for branch in &mut entry.branches {
            if let Step::To(next) = branch.state.on(BranchEvent::Doubt) {
                branch.state = next;
                self.resources.get_mut(branch.resource).awaited_bytes -= entry.operation_bytes;
            }
        }
        self.operation_bytes -= std::mem::take(&mut entry.operation_bytes);
        self.ask(transaction, effects);
    }

    /// Asks the store how it came out, if it is there; sets the timer for the next try. There is no last try.
    fn ask(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let State::Delegated { attempts, .. } = &mut entry.state else {
            return;
        };
        let wait_ms = self.limits.redelivery_wait_ms(*attempts);
        *attempts += 1;
        let asked = entry
            .branches
            .iter()
            .find(|branch| branch.state == BranchState::Asked);
        if let Some(branch) = asked
            && let Some(session) = self.resources.get_mut(branch.resource).session_again(transaction)
        {
            let branch = branch.id;
            self.send(session, Message::Resolve { transaction, branch }, None, effects);
        }
        let at = Moment(self.now.0 + wait_ms + spread(transaction, wait_ms));
        self.set_timer(transaction, Some(at));
    }

    /// The timer of a delegated transaction has fired: its deadline, or the next question. Who still waits after the
    /// deadline and a question is told that it is not known yet.
    pub(crate) fn delegated_timer_fired(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let State::Delegated { deadline, doubt, .. } = &entry.state else {
            return;
        };
        if doubt.is_none() {
            return self.doubt(transaction, AbortReason::Deadline, effects);
        }
        if *deadline <= self.now {
            for waiter in std::mem::take(&mut entry.waiters).iter() {
                self.reply(waiter.call, Reply::Undecided { transaction }, None, effects);
            }
        }
        self.ask(transaction, effects);
    }

    /// Sees to it that somebody who begins to wait for a transaction in doubt is answered within a bound: after a restart there
    /// is no timer, and after many questions without an answer the next one may be a minute away.
    pub(crate) fn answer_in_time(&mut self, transaction: TransactionId) {
        let at = Moment(self.now.0 + self.limits.redelivery_min_ms);
        let waits_longer = self
            .table
            .get(transaction)
            .is_some_and(|entry| entry.state.is_in_doubt() && entry.timer.is_none_or(|timer| timer > at));
        if waits_longer {
            self.set_timer(transaction, Some(at));
        }
    }

    /// The participant's store has said how a delegated branch came out. It counts from any session of that very store.
    pub(crate) fn delegate_answered(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        decision: Decision,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.resources.session(session).map(|session| session.resource) else {
            return;
        };
        let store = self.resources.get(index).store;
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let Some(target) = entry.branch_mut(branch) else {
            return;
        };
        if target.resource != index || target.store != store {
            return;
        }
        let Step::To(next) = target.state.on(BranchEvent::Ack(decision)) else {
            return;
        };
        target.state = next;
        let resource = self.resources.get_mut(index);
        resource.finish_one(transaction, self.now);
        // Nothing any more if it was asked: then they were given back with the doubt.
        resource.awaited_bytes -= entry.operation_bytes;
        // It is the coordinator's again, and the one branch has said everything.
        match (
            decision,
            std::mem::replace(&mut entry.state, State::Preparing { unvoted: 0 }),
        ) {
            (Decision::Commit, _) => self.committed_by_participant(transaction, effects),
            (Decision::Abort, State::Delegated { doubt, .. }) => {
                self.fenced(transaction, doubt.unwrap_or(AbortReason::Presumed), effects);
            }
            (Decision::Abort, _) => unreachable!("a branch is asked only while its transaction is delegated"),
        }
    }

    /// The store holds effect and marker durably: that is the decision. The coordinator's note of it may be lost, because
    /// the marker stays until the end is durable, and proves it again.
    fn committed_by_participant(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get(transaction) else {
            return;
        };
        let record = Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: Vec::new(),
            key: entry.key.clone(),
        };
        self.append(record, false, effects);
        self.totals.committed += 1;
        self.carry_out(transaction, Decision::Commit, effects, |unacked| {
            State::Committing {
                decided: Lsn::ZERO,
                unacked,
                attempts: 0,
            }
        });
    }

    /// The store had no marker and holds a fence now: nothing was executed, and nothing ever will be.
    fn fenced(&mut self, transaction: TransactionId, reason: AbortReason, effects: &mut Vec<Effect>) {
        // Before the restart it may have been read-only and answered "committed": it reads "no effects".
        if reason == AbortReason::Presumed
            && let Some(entry) = self.table.get_mut(transaction)
        {
            for waiter in std::mem::take(&mut entry.waiters).iter() {
                let rejection = Rejection::UnknownTransaction { transaction };
                self.reply(waiter.call, Reply::Rejected(rejection), None, effects);
            }
        }
        self.abort(transaction, reason, effects);
    }

    /// Whether a transaction that is not in the table may have been committed by its participant alone, and no record says
    /// so.
    pub(crate) fn is_unaccounted(&self, transaction: TransactionId) -> bool {
        transaction.is_unrecorded()
            && transaction > self.history.horizon()
            && self.history.outcome(transaction).is_none()
    }

    /// A marker proves that a transaction committed, and its record was lost with the coordinator's process: it is known
    /// again, and the marker may go once that is durable.
    pub(crate) fn learn_commit(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.resources.session(session).map(|session| session.resource) else {
            return;
        };
        let record = Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: Vec::new(),
            key: None,
        };
        let lsn = self.append(record, false, effects);
        self.history.insert(transaction, Outcome::Committed, lsn);
        let resource = self.resources.get(index);
        let finished = FinishedTransaction {
            transaction,
            outcome: Outcome::Committed,
            key: None,
            branches: vec![BranchRecord {
                branch,
                resource: resource.name.clone(),
                store: resource.store_id,
            }],
        };
        effects.push(Effect::Finished {
            transaction: Box::new(finished),
            after: self.after(Some(lsn)),
        });
        let forget = Message::Forget { transaction, branch };
        self.send(session, forget, Some(lsn), effects);
    }
}
