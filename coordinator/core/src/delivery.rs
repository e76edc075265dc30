//! Delivery of the decision, until everybody has acknowledged it.

use handfast_ids::{BranchId, TransactionId};

use crate::branch::{BranchEvent, BranchState, Step};
use crate::coordinator::Coordinator;
use crate::resources::Resource;
use crate::transaction::{State, Transaction};
use crate::view::InDoubtState;
use crate::{
    AbortReason, Ack, AckKind, BranchRecord, Decision, DecisionRecord, Deviation, DeviationKind, Effect,
    FinishedTransaction, Lsn, Message, Moment, Outcome, Record, SessionId,
};

impl Coordinator {
    /// Sends the decision to every branch whose resource is there.
    pub(crate) fn deliver(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        self.deliver_by(transaction, Resource::next_session, effects);
    }

    /// Sends it again to those that have not acknowledged it, but for what a returned resource is sent in its turn.
    fn deliver_again(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        self.deliver_by(
            transaction,
            |resource| resource.session_again(transaction),
            effects,
        );
    }

    /// Sends the decision to every branch that has not acknowledged it, by the session that is picked, if one is; sets the timer
    /// for the next try. There is no last try.
    fn deliver_by(
        &mut self,
        transaction: TransactionId,
        mut pick: impl FnMut(&mut Resource) -> Option<SessionId>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let after = entry.state.told_after();
        // An abort needs no durable record to be carried out: losing it would be an abort as well.
        let (after, attempts) = match &mut entry.state {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => return,
            State::Committing { attempts, .. } => (after, attempts),
            State::Aborting { attempts, .. } => (None, attempts),
        };
        let wait_ms = self.limits.redelivery_wait_ms(*attempts);
        *attempts += 1;
        let mut open = false;
        let mut messages = Vec::new();
        for branch in &entry.branches {
            if let BranchState::Delivering(decision) = branch.state {
                open = true;
                if let Some(session) = pick(self.resources.get_mut(branch.resource)) {
                    messages.push((
                        session,
                        Message::Decision {
                            transaction,
                            branch: branch.id,
                            decision,
                        },
                    ));
                }
            }
        }
        for (session, message) in messages {
            self.send(session, message, after, effects);
        }
        let at = open.then(|| Moment(self.now.0 + wait_ms + spread(transaction, wait_ms)));
        self.set_timer(transaction, at);
    }

    /// The one timer of a transaction has fired: its deadline before the decision, redelivery after it.
    pub(crate) fn timer_fired(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get(transaction) else {
            return;
        };
        match entry.state {
            State::Active | State::Preparing { .. } => {
                self.abort(transaction, AbortReason::Deadline, effects)
            }
            State::Delegated { .. } => self.delegated_timer_fired(transaction, effects),
            State::Committing { .. } | State::Aborting { .. } => self.deliver_again(transaction, effects),
        }
    }

    /// An acknowledgement counts from any session of the store that holds the branch.
    pub(crate) fn ack(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        ack: Ack,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.resources.session(session).map(|session| session.resource) else {
            return;
        };
        let store = self.resources.get(index).store;
        let Some(entry) = self.table.get_mut(transaction) else {
            return self.ack_without_transaction(session, transaction, branch, ack, effects);
        };
        if matches!(entry.state, State::Delegated { .. }) {
            // What proves nothing leaves it unknown, and it is asked again.
            if ack.kind == AckKind::Done {
                self.delegate_answered(session, transaction, branch, ack.decision, effects);
            }
            return;
        }
        let Some(target) = entry.branch_mut(branch) else {
            return;
        };
        if target.resource != index || target.store != store {
            return;
        }
        let event = match &ack.kind {
            AckKind::Done => BranchEvent::Ack(ack.decision),
            AckKind::Hazard { .. } => BranchEvent::Deviate(ack.decision, DeviationKind::Hazard),
            AckKind::Contrary { .. } => BranchEvent::Deviate(ack.decision, DeviationKind::Mixed),
        };
        let Step::To(next) = target.state.on(event) else {
            return;
        };
        target.state = next;
        self.resources.get_mut(index).finish_one(transaction, self.now);
        if let Some(unacked) = entry.state.unacked() {
            *unacked -= 1;
        }
        if let (AckKind::Hazard { evidence } | AckKind::Contrary { evidence }, BranchState::Deviated(kind)) =
            (ack.kind, next)
        {
            let resource = self.resources.get(index).name.clone();
            self.deviated(
                transaction,
                Deviation {
                    branch,
                    resource,
                    kind,
                    evidence,
                },
                effects,
            );
        }
        self.end_if_done(transaction, effects);
    }

    /// The transaction has ended, or never was: the decision was given in answer to a question. What the participant
    /// still keeps for the branch may go once the end is durable; a deviation is kept for the operator.
    fn ack_without_transaction(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        ack: Ack,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_mine(transaction) {
            return;
        }
        match ack.kind {
            AckKind::Done if ack.decision == Decision::Commit && self.is_unaccounted(transaction) => {
                self.learn_commit(session, transaction, branch, effects);
            }
            AckKind::Done => {
                let after = Some(self.cursors.accepted());
                self.send(session, Message::Forget { transaction, branch }, after, effects);
            }
            // A commit that was under way twice, and behind its back another instance was told to forget: this one finds no
            // marker, and has to say so. Every branch of an ended commit has acknowledged, so nothing is lost. Nor is it of one
            // that is forgotten: this log told nobody to commit what had not been decided, and nothing leaves it before its end.
            AckKind::Hazard { .. }
                if ack.decision == Decision::Commit && self.may_have_committed(transaction) => {}
            AckKind::Hazard { evidence } => {
                let deviated = InDoubtState::Deviated {
                    decision: ack.decision,
                    kind: DeviationKind::Hazard,
                    evidence,
                };
                self.hold(session, transaction, branch, deviated, effects);
            }
            AckKind::Contrary { evidence } => {
                let deviated = InDoubtState::Deviated {
                    decision: ack.decision,
                    kind: DeviationKind::Mixed,
                    evidence,
                };
                self.hold(session, transaction, branch, deviated, effects);
            }
        }
    }

    /// Whether a transaction has ended, and all of it was committed or nobody knows any more.
    fn may_have_committed(&self, transaction: TransactionId) -> bool {
        match self.history.outcome(transaction) {
            Some((outcome, _)) => *outcome == Outcome::Committed,
            None => transaction <= self.history.horizon(),
        }
    }

    /// Writes down that a participant deviated. The transaction stays in the table until an operator resolves it.
    fn deviated(&mut self, transaction: TransactionId, deviation: Deviation, effects: &mut Vec<Effect>) {
        let branches = self.hearing_records(transaction);
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        entry.deviations.push(deviation.clone());
        let outcome = entry.outcome().expect("a decision was carried out");
        // A deviation makes sense only after its decision: a presumed abort gets its record now.
        let undocumented = match &entry.state {
            State::Aborting {
                reason,
                decided: None,
                ..
            } => Some(DecisionRecord::Abort(reason.clone())),
            _ => None,
        };
        if let Some(decision) = undocumented {
            self.append(
                Record::Decided {
                    transaction,
                    decision,
                    branches,
                    key: None,
                },
                true,
                effects,
            );
        }
        let lsn = self.append(
            Record::Deviated {
                transaction,
                deviation,
            },
            true,
            effects,
        );
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        entry.logged = true;
        match &mut entry.state {
            State::Active | State::Preparing { .. } | State::Delegated { .. } => {
                unreachable!("only a decision can be deviated from")
            }
            State::Committing { decided, .. } => *decided = lsn,
            State::Aborting { decided, .. } => *decided = Some(lsn),
        }
        if let Some(key) = &entry.key {
            self.keys.answer(&key.key, transaction, outcome.clone(), lsn);
        }
        self.notify_watchers(transaction, effects);
    }

    /// Once all have answered: those who waited for the effects are told, and a transaction from which nobody deviated
    /// leaves the table.
    pub(crate) fn end_if_done(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        if !entry.state.is_decided() || entry.state.unacked() != Some(&mut 0) {
            return;
        }
        let outcome = entry.outcome().expect("it is decided");
        self.answer_waiters(transaction, &outcome, true, effects);
        self.set_timer(transaction, None);
        if !matches!(outcome, Outcome::Heuristic { .. }) {
            self.end(transaction, outcome, effects);
        }
    }

    fn end(&mut self, transaction: TransactionId, outcome: Outcome, effects: &mut Vec<Effect>) {
        let branches = self.branch_records(transaction);
        let Some(entry) = self.table.remove(transaction) else {
            return;
        };
        let ended =
            entry.logged || matches!(entry.state, State::Committing { decided, .. } if decided > Lsn::ZERO);
        let after = ended.then(|| self.append(Record::Ended { transaction }, false, effects));
        for branch in entry
            .branches
            .iter()
            .filter(|branch| branch.state.hears_decision())
        {
            if let Some(session) = self.resources.get_mut(branch.resource).next_session() {
                self.send(
                    session,
                    Message::Forget {
                        transaction,
                        branch: branch.id,
                    },
                    after,
                    effects,
                );
            }
        }
        // What was presumed to abort over a restart may have been read-only and answered "committed": it reads "no effects".
        if outcome
            != (Outcome::Aborted {
                reason: AbortReason::Presumed,
            })
        {
            let told_after = entry.state.told_after().unwrap_or(Lsn::ZERO);
            self.history.insert(transaction, outcome.clone(), told_after);
            let key = entry.key.map(|record| record.key);
            let finished = FinishedTransaction {
                transaction,
                outcome,
                key,
                branches,
            };
            effects.push(Effect::Finished {
                transaction: Box::new(finished),
                after: self.after(after),
            });
        }
        self.notify_watchers(transaction, effects);
    }

    /// The branches of a live transaction, as the log keeps them.
    pub(crate) fn branch_records(&self, transaction: TransactionId) -> Vec<BranchRecord> {
        let branches = self
            .table
            .get(transaction)
            .map(|entry: &Transaction| entry.branches.as_slice());
        branches
            .unwrap_or_default()
            .iter()
            .map(|branch| self.resources.record(branch))
            .collect()
    }

    /// Those of them that must hear the decision.
    pub(crate) fn hearing_records(&self, transaction: TransactionId) -> Vec<BranchRecord> {
        let branches = self
            .table
            .get(transaction)
            .map(|entry: &Transaction| entry.branches.as_slice());
        branches
            .unwrap_or_default()
            .iter()
            .filter(|branch| branch.state.hears_decision())
            .map(|branch| self.resources.record(branch))
            .collect()
    }

    /// Tells one session one decision again, in answer to a question.
    pub(crate) fn send_decision(
        &self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        decision: Decision,
        after: Option<Lsn>,
        effects: &mut Vec<Effect>,
    ) {
        self.send(
            session,
            Message::Decision {
                transaction,
                branch,
                decision,
            },
            after,
            effects,
        );
    }
}

/// Spreads redeliveries over a quarter of the wait, differently for each transaction and the same in each replay.
pub(crate) fn spread(transaction: TransactionId, wait_ms: u64) -> u64 {
    let mixed =
        (transaction.as_u128() as u64 ^ transaction.milliseconds()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) % (wait_ms / 4 + 1)
}
