//! Sealing, votes, and the decision.

use handfast_ids::{BranchId, TransactionId};

use crate::branch::{BranchEvent, BranchState, Stay, Step, VoteEvent};
use crate::coordinator::Coordinator;
use crate::transaction::{OwedSince, State, Transaction, Waiter};
use crate::{
    AbortReason, Decision, DecisionRecord, Effect, ExpectedBranch, InDoubtLine, InDoubtPhase, Lsn, Message,
    Moment, Outcome, Record, Refusal, Reply, SessionId, Vote, Wait,
};

impl Coordinator {
    /// No more branches: ask each for its promise.
    pub(crate) fn seal(
        &mut self,
        transaction: TransactionId,
        expected: &[ExpectedBranch],
        effects: &mut Vec<Effect>,
    ) {
        let now = self.now;
        let delegated = self.table.get(transaction).is_some_and(|entry| {
            let resources: Vec<_> = entry.branches.iter().map(|branch| branch.resource).collect();
            self.can_delegate(&resources)
        });
        let event = match delegated {
            true => BranchEvent::Delegate { sent: now },
            false => BranchEvent::Prepare { sent: now },
        };
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        assert_eq!(entry.state, State::Active, "a set of branches is sealed once");
        entry.state = State::Preparing {
            unvoted: entry.branches.len(),
        };
        let timeout_ms = entry.timer.map_or(0, |deadline| deadline.0.saturating_sub(now.0));
        let mut prepares = Vec::with_capacity(expected.len());
        for expected in expected {
            let Some(branch) = entry.branch_mut(expected.branch) else {
                continue;
            };
            if let (Some(session), Step::To(next)) = (branch.state.pinned_to(), branch.state.on(event)) {
                branch.state = next;
                let (branch, operations) = (expected.branch, expected.operations);
                let message = Message::Prepare {
                    transaction,
                    branch,
                    operation: None,
                    operations,
                    timeout_ms,
                    delegated,
                };
                prepares.push((session, message));
            }
        }
        if prepares.is_empty() {
            return self.decide(transaction, effects);
        }
        if delegated {
            let after = self.delegate(transaction, effects);
            for (session, message) in prepares {
                self.send(session, message, after, effects);
            }
            return;
        }
        // What is unknown at or below the horizon is not answered "abort". A transaction that the horizon has passed
        // while it was active must therefore be known before anybody promises anything for it.
        let must_be_known = transaction <= self.history.horizon();
        let registered = self.register(transaction, must_be_known, effects);
        let after = registered.filter(|_| must_be_known);
        for (session, message) in prepares {
            self.send(session, message, after, effects);
        }
    }

    /// Notes in the log that prepares are on their way, so that a restart can abort without waiting to be asked.
    pub(crate) fn register(
        &mut self,
        transaction: TransactionId,
        force: bool,
        effects: &mut Vec<Effect>,
    ) -> Option<Lsn> {
        self.table.get_mut(transaction)?.logged = true;
        let branches = self.branch_records(transaction);
        let record = Record::Registered {
            transaction,
            branches,
        };
        Some(self.append(record, force, effects))
    }

    /// A vote counts only from the session that was asked.
    pub(crate) fn vote(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        vote: Vote,
        effects: &mut Vec<Effect>,
    ) {
        let event = match &vote {
            // No promise but a fact about the store, as a scan might show it.
            Vote::Committed => {
                let phase = InDoubtPhase::Committed;
                return self.in_doubt_lines(
                    session,
                    &[self.line(transaction, branch, phase)],
                    false,
                    effects,
                );
            }
            Vote::Prepared { prepared_for_ms } => VoteEvent::Prepared {
                prepared_for_ms: *prepared_for_ms,
            },
            Vote::ReadOnly => VoteEvent::ReadOnly,
            Vote::Refused { .. } => VoteEvent::Refused,
        };
        let step = match self.table.get_mut(transaction) {
            Some(entry) => entry
                .branch_mut(branch)
                .map(|branch| branch.state.on(BranchEvent::Vote { session, vote: event })),
            None => None,
        };
        match step {
            Some(Step::To(next)) => self.voted(transaction, branch, next, vote, effects),
            Some(Step::Stay(Stay::Duplicate | Stay::Contradiction)) => {}
            // A yes that comes too late, or for something unknown, is a prepared branch without a home: it is answered
            // as a scan that found it would be.
            Some(Step::Stay(Stay::Late | Stay::Unasked)) | None => {
                if matches!(vote, Vote::Prepared { .. }) {
                    let line = self.line(transaction, branch, InDoubtPhase::Prepared);
                    self.in_doubt_lines(session, &[line], false, effects);
                }
            }
        }
    }

    fn line(&self, transaction: TransactionId, branch: BranchId, phase: InDoubtPhase) -> InDoubtLine {
        InDoubtLine {
            transaction,
            branch,
            log: self.log,
            phase,
        }
    }

    fn voted(
        &mut self,
        transaction: TransactionId,
        branch: BranchId,
        next: BranchState,
        vote: Vote,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        // What was left to the participant comes back with its vote.
        if matches!(entry.state, State::Delegated { .. }) {
            entry.state = State::Preparing { unvoted: 1 };
        }
        let State::Preparing { unvoted } = &mut entry.state else {
            unreachable!("a branch is in Preparing only while its transaction is")
        };
        *unvoted -= 1;
        let all_voted = *unvoted == 0;
        let Some(voter) = entry.branch_mut(branch) else {
            return;
        };
        voter.state = next;
        let index = voter.resource;
        let resource = self.resources.get_mut(index);
        resource.awaited_bytes -= entry.operation_bytes;
        if !next.is_unfinished() {
            resource.finish_one(transaction, self.now);
        }
        if let Vote::Refused {
            reason,
            message,
            retryable,
        } = vote
        {
            let resource = self.resources.get(index).name.clone();
            let refusal = Refusal {
                resource,
                reason,
                message,
                retryable,
            };
            self.abort(transaction, AbortReason::Refused(Box::new(refusal)), effects);
        } else if all_voted {
            self.decide(transaction, effects);
        }
    }

    /// All have voted, and nobody refused.
    fn decide(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.table.get(transaction) else {
            return;
        };
        if let Some(index) = self.expiring_too_soon(entry) {
            let resource = self.resources.get(index).name.clone();
            return self.abort(transaction, AbortReason::PromiseExpired { resource }, effects);
        }
        let key = entry.key.clone();
        let hearing = self.hearing_records(transaction);
        // All read-only and no key: nothing to redo, nothing to remember, no record.
        let decided = if hearing.is_empty() && key.is_none() {
            Lsn::ZERO
        } else {
            let decision = DecisionRecord::Commit;
            self.append(
                Record::Decided {
                    transaction,
                    decision,
                    branches: hearing,
                    key,
                },
                true,
                effects,
            )
        };
        self.totals.committed += 1;
        self.carry_out(transaction, Decision::Commit, effects, |unacked| {
            State::Committing {
                decided,
                unacked,
                attempts: 0,
            }
        });
    }

    /// Whether some promise would run out before the decision could reach it.
    fn expiring_too_soon(&self, entry: &Transaction) -> Option<crate::resources::ResourceIndex> {
        let needed_until = Moment(self.now.0 + self.limits.promise_margin_ms);
        entry.branches.iter().find_map(|branch| match branch.state {
            BranchState::Prepared {
                expires: Some(expires),
            } if expires < needed_until => Some(branch.resource),
            _ => None,
        })
    }

    /// Decides to abort. Presumed: not logged, except under a key, whose answer must survive.
    pub(crate) fn abort(
        &mut self,
        transaction: TransactionId,
        reason: AbortReason,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        if entry.state.is_decided() {
            return;
        }
        if matches!(entry.state, State::Delegated { .. }) {
            return self.doubt(transaction, reason, effects);
        }
        let mut decided = None;
        if let Some(key) = entry.key.clone() {
            entry.logged = true;
            let branches = self.hearing_records(transaction);
            let decision = DecisionRecord::Abort(reason.clone());
            let record = Record::Decided {
                transaction,
                decision,
                branches,
                key: Some(key),
            };
            decided = Some(self.append(record, true, effects));
        }
        self.totals.aborted += 1;
        self.carry_out(transaction, Decision::Abort, effects, |unacked| State::Aborting {
            reason,
            decided,
            unacked,
            attempts: 0,
        });
    }

    /// Moves a transaction into its decided state: tells the branches, the key, and those who wait.
    pub(crate) fn carry_out(
        &mut self,
        transaction: TransactionId,
        decision: Decision,
        effects: &mut Vec<Effect>,
        state: impl FnOnce(usize) -> State,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let mut unacked = 0;
        for branch in &mut entry.branches {
            if branch.state.pinned_to().is_some() {
                self.resources.get_mut(branch.resource).awaited_bytes -= entry.operation_bytes;
            }
            if let Step::To(next) = branch.state.on(BranchEvent::Decide(decision)) {
                branch.state = next;
                unacked += 1;
            }
        }
        entry.state = state(unacked);
        entry.owed_since = OwedSince::at(self.now);
        self.operation_bytes -= std::mem::take(&mut entry.operation_bytes);
        let told_after = entry.state.told_after();
        let outcome = entry.outcome().expect("it has just been decided");
        if let Some(key) = &entry.key {
            let after = told_after.expect("every decision under a key is logged");
            self.keys.answer(&key.key, transaction, outcome.clone(), after);
        }
        self.deliver(transaction, effects);
        self.answer_waiters(transaction, &outcome, false, effects);
        self.notify_watchers(transaction, effects);
        self.end_if_done(transaction, effects);
    }

    /// Answers those who wait for the decision, or, once it is `applied`, everybody.
    pub(crate) fn answer_waiters(
        &mut self,
        transaction: TransactionId,
        outcome: &Outcome,
        applied: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let everybody = applied || matches!(entry.state, State::Aborting { .. });
        let told_after = entry.state.told_after();
        let is_answered = |waiter: &&Waiter| everybody || waiter.wait == Wait::Decided;
        let waiters = std::mem::take(&mut entry.waiters);
        entry.waiters = waiters
            .iter()
            .filter(|waiter| !is_answered(waiter))
            .copied()
            .collect();
        for waiter in waiters.iter().filter(is_answered) {
            let reply = Reply::Outcome {
                transaction,
                outcome: outcome.clone(),
            };
            self.reply(waiter.call, reply, told_after, effects);
        }
    }
}
