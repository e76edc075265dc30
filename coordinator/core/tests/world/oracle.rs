//! The guarantees of the design, held against every step of a world.
//!
//! The oracle sees what goes in, what is appended, and what is performed; it never looks into the coordinator. It
//! knows, as the coordinator does not, what the disk kept over a crash.

mod delegation;

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::view::StateView;
use handfast_core::{
    AckKind, AnswerKind, BranchRecord, Call, Decision, DecisionRecord, Effect, Event, InDoubtPhase, Lsn,
    Message, Outcome, Record, Rejection, Reply, SessionId, Vote,
};
use handfast_ids::{BranchId, IdempotencyKey, ResourceName, StoreId, TransactionId};

type BranchKey = (TransactionId, BranchId);
/// The same text with another expiry is another key.
type Key = (IdempotencyKey, u64);

/// What was promised so far, and every promise that was broken.
#[derive(Debug, Default)]
pub struct Oracle {
    pub violations: Vec<String>,
    sessions: BTreeMap<SessionId, (ResourceName, StoreId)>,
    one_phase: BTreeSet<SessionId>,
    welcomed: BTreeSet<SessionId>,
    registered: BTreeMap<TransactionId, (Lsn, Vec<BranchRecord>)>,
    /// Left to a participant; what was sent stays known although the record may be lost.
    delegated: BTreeMap<TransactionId, Delegated>,
    decided: BTreeMap<TransactionId, Decided>,
    ended: BTreeMap<TransactionId, Lsn>,
    asked: BTreeMap<BranchKey, SessionId>,
    yes: BTreeMap<BranchKey, Yes>,
    applied: BTreeSet<(BranchKey, ResourceName, StoreId)>,
    /// Stores have said that these did not happen and never will.
    not_applied: BTreeSet<BranchKey>,
    told_abort: BTreeSet<(BranchKey, ResourceName)>,
    told_outcome: BTreeMap<TransactionId, Outcome>,
    told_never: BTreeSet<TransactionId>,
    calls: BTreeMap<Call, Key>,
    answers: BTreeMap<Key, (TransactionId, Outcome)>,
}

#[derive(Clone, Debug)]
struct Decided {
    lsn: Lsn,
    commit: bool,
    branches: Vec<BranchRecord>,
    key: Option<Key>,
}

#[derive(Clone, Debug)]
struct Delegated {
    /// Where its record is, or was.
    lsn: Lsn,
    is_recorded: bool,
    branch: BranchRecord,
    key: Option<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Yes {
    Prepared,
    ReadOnly,
}

impl Oracle {
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::SessionUp { session, hello } => {
                self.sessions
                    .insert(*session, (hello.resource.clone(), hello.store));
                if hello.one_phase && hello.attached {
                    self.one_phase.insert(*session);
                }
            }
            Event::InDoubt { session, lines, .. } => {
                for line in lines.iter().filter(|line| line.phase == InDoubtPhase::Committed) {
                    self.applied_at(*session, (line.transaction, line.branch));
                }
            }
            Event::Execute { call, request } => {
                if let Some(claim) = &request.key {
                    self.calls.insert(*call, (claim.key.clone(), claim.expires_at_ms));
                }
            }
            Event::Vote {
                session,
                transaction,
                branch,
                vote,
            } => {
                let key = (*transaction, *branch);
                let yes = match vote {
                    Vote::Prepared { .. } => Yes::Prepared,
                    Vote::ReadOnly => Yes::ReadOnly,
                    Vote::Committed => return self.applied_at(*session, key),
                    Vote::Refused { .. } => {
                        if self.asked.get(&key) == Some(session) {
                            self.not_applied.insert(key);
                        }
                        return;
                    }
                };
                if self.asked.get(&key) == Some(session) {
                    self.yes.entry(key).or_insert(yes);
                }
            }
            Event::Ack {
                session,
                transaction,
                branch,
                ack,
            } => {
                let key = (*transaction, *branch);
                match (ack.decision, &ack.kind) {
                    (Decision::Commit, AckKind::Done) => self.applied_at(*session, key),
                    (Decision::Abort, AckKind::Done) if self.sessions.contains_key(session) => {
                        self.not_applied.insert(key);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    pub fn appended(&mut self, lsn: Lsn, record: &Record) {
        match record {
            Record::Registered {
                transaction,
                branches,
            } => {
                self.registered.insert(*transaction, (lsn, branches.clone()));
            }
            Record::Delegated {
                transaction,
                branch,
                key,
            } => {
                self.registered.insert(*transaction, (lsn, vec![branch.clone()]));
                let delegated = Delegated {
                    lsn,
                    is_recorded: true,
                    branch: branch.clone(),
                    key: key.as_ref().map(|key| (key.key.clone(), key.expires_at_ms)),
                };
                self.delegated.insert(*transaction, delegated);
            }
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                let decided = Decided {
                    lsn,
                    commit: *decision == DecisionRecord::Commit,
                    branches: branches.clone(),
                    key: key.as_ref().map(|key| (key.key.clone(), key.expires_at_ms)),
                };
                self.check_decision(*transaction, &decided);
                self.decided.insert(*transaction, decided);
            }
            Record::Ended { transaction } => {
                self.check_end(*transaction);
                self.ended.insert(*transaction, lsn);
            }
            _ => {}
        }
    }

    pub fn performed(&mut self, effect: &Effect, durable: Lsn) {
        match effect {
            Effect::Send { session, message, .. } => self.sent(*session, message, durable),
            Effect::Reply { call, reply, .. } => self.replied(*call, reply, durable),
            _ => {}
        }
    }

    /// What the disk did not keep was never promised to anybody, or a check above has already failed.
    pub fn crashed(&mut self, kept: Lsn) {
        self.registered.retain(|_, (lsn, _)| *lsn <= kept);
        self.decided.retain(|_, decided| decided.lsn <= kept);
        self.ended.retain(|_, lsn| *lsn <= kept);
        for delegated in self.delegated.values_mut() {
            delegated.is_recorded &= delegated.lsn <= kept;
        }
    }

    /// Whether the log, as far as the disk kept it, says that the transaction commits.
    pub fn is_committed(&self, transaction: TransactionId) -> bool {
        self.decided
            .get(&transaction)
            .is_some_and(|decided| decided.commit)
    }

    /// How many branches must take place.
    pub fn branches_to_commit(&self, transaction: TransactionId) -> usize {
        let decided = self.decided.get(&transaction);
        let decided = decided.filter(|decided| decided.commit);
        match decided {
            Some(decided) if decided.branches.is_empty() => {
                usize::from(self.was_committed_alone(transaction))
            }
            Some(decided) => decided.branches.len(),
            None => 0,
        }
    }

    fn check_decision(&mut self, transaction: TransactionId, decided: &Decided) {
        if let Some(before) = self.decided.get(&transaction) {
            let before = before.lsn;
            self.violation(format!("{transaction} was decided already at {}", before.0));
        }
        if !decided.commit {
            return;
        }
        if self.told_never.contains(&transaction) {
            self.violation(format!(
                "{transaction} commits, and a client was told that it never will"
            ));
        }
        let registered = self.registered.get(&transaction).cloned();
        let alone = decided.branches.is_empty() && self.was_committed_alone(transaction);
        for record in registered.into_iter().flat_map(|(_, branches)| branches) {
            let key = (transaction, record.branch);
            if alone {
                continue;
            }
            if !self.yes.contains_key(&key) {
                self.violation(format!(
                    "{transaction} commits without a yes of branch {} from the session that was asked",
                    record.branch
                ));
            }
            if self.yes.get(&key) == Some(&Yes::Prepared) && !decided.branches.contains(&record) {
                self.violation(format!(
                    "{transaction} commits without telling branch {}",
                    record.branch
                ));
            }
            if self.told_abort.contains(&(key, record.resource.clone())) && decided.branches.contains(&record)
            {
                self.violation(format!(
                    "{transaction} commits, and branch {} was told to abort",
                    record.branch
                ));
            }
        }
        let twice = self
            .decided
            .iter()
            .find(|(_, other)| other.commit && other.key.is_some() && other.key == decided.key);
        if let Some((&other, _)) = twice.filter(|(other, _)| **other != transaction) {
            self.violation(format!("{transaction} commits under the key of {other}"));
        }
    }

    fn check_end(&mut self, transaction: TransactionId) {
        let Some(decided) = self.decided.get(&transaction).filter(|decided| decided.commit) else {
            return;
        };
        for record in decided.branches.clone() {
            let applied = (
                (transaction, record.branch),
                record.resource.clone(),
                record.store,
            );
            if !self.applied.contains(&applied) {
                self.violation(format!(
                    "{transaction} ends before the store of {} has committed branch {}",
                    record.resource, record.branch
                ));
            }
        }
    }

    fn sent(&mut self, session: SessionId, message: &Message, durable: Lsn) {
        if !self.welcomed.contains(&session) && !matches!(message, Message::Welcome { .. }) {
            self.violation(format!("{session:?} hears {message:?} before its welcome"));
        }
        let resource = self.sessions.get(&session).map(|(resource, _)| resource.clone());
        match *message {
            Message::Welcome { .. } => {
                self.welcomed.insert(session);
            }
            Message::Prepare {
                transaction,
                branch,
                delegated,
                ..
            } => {
                if delegated {
                    self.check_delegated(session, transaction, durable);
                }
                if self.asked.insert((transaction, branch), session).is_some() {
                    self.violation(format!(
                        "branch {branch} of {transaction} is asked to prepare twice"
                    ));
                }
            }
            Message::Decision {
                transaction,
                branch,
                decision: Decision::Commit,
            } => {
                let decided = self.decided.get(&transaction);
                let told = decided.is_some_and(|decided| {
                    decided.commit
                        && decided.lsn <= durable
                        && decided.branches.iter().any(|record| {
                            record.branch == branch && Some(&record.resource) == resource.as_ref()
                        })
                });
                if !told {
                    self.violation(format!(
                        "branch {branch} of {transaction} is told to commit without a durable record"
                    ));
                }
            }
            Message::Decision {
                transaction,
                branch,
                decision: Decision::Abort,
            } => {
                if self.must_commit(transaction, branch, resource.as_ref()) {
                    self.violation(format!(
                        "branch {branch} of {transaction} is told to abort, and the log may hold its commit"
                    ));
                }
                if let Some(resource) = resource {
                    self.told_abort.insert(((transaction, branch), resource));
                }
            }
            Message::Answer {
                transaction,
                answer: AnswerKind::Finished,
                ..
            } => self.check_disclosed(transaction, durable, "a participant"),
            Message::Forget { transaction, branch } => self.check_forget(transaction, branch, durable),
            Message::Answer { .. } | Message::Enlisted { .. } | Message::Resolve { .. } => {}
        }
    }

    fn check_forget(&mut self, transaction: TransactionId, branch: BranchId, durable: Lsn) {
        let logged = self.decided.contains_key(&transaction) || self.registered.contains_key(&transaction);
        let ended = self.ended.get(&transaction).is_some_and(|lsn| *lsn <= durable);
        // Nothing was to be delivered, so the decision was the end.
        let alone = self
            .decided
            .get(&transaction)
            .is_some_and(|decided| decided.commit && decided.branches.is_empty() && decided.lsn <= durable);
        if logged && !ended && !alone {
            self.violation(format!(
                "branch {branch} of {transaction} is forgotten before its end is durable"
            ));
        }
    }

    fn replied(&mut self, call: Call, reply: &Reply, durable: Lsn) {
        match reply {
            Reply::Outcome { transaction, outcome } => self.outcome(call, *transaction, outcome, durable),
            Reply::Rejected(Rejection::UnknownTransaction { transaction }) => {
                if self.is_committed(*transaction) || self.was_committed_alone(*transaction) {
                    self.violation(format!(
                        "{call:?} is told that {transaction} never happened, and it commits"
                    ));
                }
                self.told_never.insert(*transaction);
            }
            Reply::View { view, .. } => match &view.state {
                StateView::Committing | StateView::Ended(Outcome::Committed) => {
                    self.check_disclosed(view.transaction, durable, "a watcher");
                }
                StateView::Aborting | StateView::Ended(Outcome::Aborted { .. }) | StateView::NoEffects
                    if self.is_committed(view.transaction) || self.was_committed_alone(view.transaction) =>
                {
                    self.violation(format!(
                        "{} commits, and a watcher is told otherwise",
                        view.transaction
                    ));
                }
                StateView::Aborting | StateView::Ended(Outcome::Aborted { .. })
                    if self.told_outcome.get(&view.transaction) == Some(&Outcome::Committed) =>
                {
                    let transaction = view.transaction;
                    self.violation(format!(
                        "{transaction} was told as committed, and a watcher reads an abort"
                    ));
                }
                _ => {}
            },
            Reply::Begun { .. } | Reply::Rejected(_) | Reply::Undecided { .. } => {}
        }
    }

    fn outcome(&mut self, call: Call, transaction: TransactionId, outcome: &Outcome, durable: Lsn) {
        let key = self.calls.get(&call).cloned();
        match outcome {
            Outcome::Committed if self.decided.contains_key(&transaction) => {
                self.check_disclosed(transaction, durable, "a client");
            }
            Outcome::Committed => self.check_nothing_to_redo(call, transaction),
            Outcome::Aborted { .. } => {
                if self.is_committed(transaction) || self.was_committed_alone(transaction) {
                    self.violation(format!(
                        "{call:?} is told that {transaction} aborted, and it commits"
                    ));
                }
                self.check_abort_has_a_proof(call, transaction);
                let durable_abort = self
                    .decided
                    .get(&transaction)
                    .is_some_and(|decided| decided.lsn <= durable);
                if key.is_some() && !durable_abort {
                    self.violation(format!("{transaction} is answered under a key, undurably"));
                }
            }
            Outcome::Heuristic { .. } => {}
        }
        if let Some(before) = self.told_outcome.insert(transaction, outcome.clone())
            && before != *outcome
            && !matches!(outcome, Outcome::Heuristic { .. })
        {
            self.violation(format!(
                "{transaction} was told as {before:?} and is told as {outcome:?}"
            ));
        }
        let Some(key) = key else { return };
        let answer = (transaction, outcome.clone());
        if let Some(before) = self.answers.insert(key.clone(), answer.clone())
            && (before.0 != answer.0
                || before.1 != answer.1 && !matches!(answer.1, Outcome::Heuristic { .. }))
        {
            self.violation(format!(
                "key {} was answered {before:?} and is answered {answer:?}",
                key.0
            ));
        }
    }

    /// A commit without a record is told only if every branch was read-only and no key asks for it later.
    fn check_nothing_to_redo(&mut self, call: Call, transaction: TransactionId) {
        let registered = self.registered.get(&transaction).cloned();
        let branches = registered.map(|(_, branches)| branches).unwrap_or_default();
        let all_read_only = branches
            .iter()
            .all(|record| self.yes.get(&(transaction, record.branch)) == Some(&Yes::ReadOnly));
        if !all_read_only || self.calls.contains_key(&call) {
            self.violation(format!(
                "{call:?} is told that {transaction} committed without a record"
            ));
        }
    }

    fn check_disclosed(&mut self, transaction: TransactionId, durable: Lsn, to: &str) {
        if let Some(decided) = self.decided.get(&transaction)
            && (!decided.commit || decided.lsn > durable)
            && !(decided.commit && self.was_committed_alone(transaction))
        {
            self.violation(format!("{to} is told that {transaction} committed, undurably"));
        }
    }

    fn must_commit(
        &self,
        transaction: TransactionId,
        branch: BranchId,
        resource: Option<&ResourceName>,
    ) -> bool {
        self.decided.get(&transaction).is_some_and(|decided| {
            decided.commit
                && decided
                    .branches
                    .iter()
                    .any(|record| record.branch == branch && Some(&record.resource) == resource)
        })
    }

    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }
}
