//! What a participant is answered about the branches that its scan found.
//!
//! | the owner knows | a prepared branch is answered |
//! |---|---|
//! | a decision that this participant will be sent in its turn, because it has come back | nothing: it would be told twice |
//! | a decision to commit, not ended | commit, once the decision is durable |
//! | active or preparing | wait |
//! | a branch of the same store under another name that it has had | nothing: it is the other name's to finish |
//! | a decision to abort, or a live transaction without this branch | abort |
//! | an ended commit | finished: look again; still prepared → held, never finished by itself |
//! | nothing; the id is above the horizon, of this epoch or an earlier one | abort |
//! | nothing; the id is at or below the horizon | forgotten: held |
//! | left to its participant, which has not said yet | wait: it has been asked, or will be |
//! | another log's or partition's id, or one of its own that it never minted | not mine, which is no decision |
//! | an id of its own log and a later epoch | nothing: this process is stale, and stops |
//!
//! The marker of a commit is different: it is a fact. It answers what was left to the participant, and where the record of
//! that was lost, it makes the commit known again.
//!
//! A line of a scan is never a vote: a branch that shows as prepared may belong to a session that is already lost.

use handfast_ids::{BranchId, TransactionId};

use crate::branch::{Branch, BranchState};
use crate::coordinator::Coordinator;
use crate::resources::ResourceIndex;
use crate::transaction::State;
use crate::view::InDoubtState;
use crate::{
    AnswerKind, Decision, DeviationKind, Effect, InDoubtLine, InDoubtPhase, Lsn, Message, Moment, Outcome,
    SessionId, StopReason,
};

/// How long a held branch is shown before somebody hears of it: some scans of any participant, whichever sessions it has.
const ALARM_AFTER_MS: u64 = 30_000;

/// A branch that a participant shows and no decision can be given for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HeldBranch {
    pub resource: ResourceIndex,
    pub state: InDoubtState,
    /// Since when it is shown.
    pub shown_first: Moment,
    /// The session and the number of its scan that showed it last.
    pub shown_by: (SessionId, u64),
    /// Somebody has heard of it.
    pub is_alarmed: bool,
}

/// The verdict on one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Decided(Decision, Option<Lsn>),
    Answer(AnswerKind, Option<Lsn>),
    Forget,
    /// A delegated branch has committed.
    Committed,
    /// So has one whose record was lost.
    Learn,
    /// It shows a commit of what has aborted.
    Contradiction,
    /// Nobody knows how it came out, not even that it was begun: its store must say.
    Resolve,
    /// Nothing to say: what is to be said has been, or will be.
    Silence,
    Stale,
}

impl Coordinator {
    /// Answers lines of a scan. A complete scan also clears what it no longer shows from the list of held branches.
    pub(crate) fn in_doubt_lines(
        &mut self,
        session: SessionId,
        lines: &[InDoubtLine],
        complete: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(&crate::resources::Session { resource, scan, .. }) = self.resources.session(session) else {
            return;
        };
        // One line of a later epoch proves that a successor has started: then none of the others may be answered either.
        let stale = lines
            .iter()
            .find(|line| self.verdict(resource, line) == Verdict::Stale);
        if let Some(line) = stale {
            let seen_epoch = line.transaction.epoch();
            return self.stop(StopReason::Superseded { seen_epoch }, effects);
        }
        for line in lines {
            let (transaction, branch) = (line.transaction, line.branch);
            match self.verdict(resource, line) {
                Verdict::Decided(decision, after) => {
                    self.send_decision(session, transaction, branch, decision, after, effects);
                }
                Verdict::Answer(answer, after) => {
                    self.send(
                        session,
                        Message::Answer {
                            transaction,
                            branch,
                            answer,
                        },
                        after,
                        effects,
                    );
                    if matches!(answer, AnswerKind::Finished | AnswerKind::Forgotten) {
                        self.hold(session, transaction, branch, InDoubtState::Held(answer), effects);
                    }
                }
                Verdict::Forget => {
                    let after = Some(self.cursors.accepted());
                    self.send(session, Message::Forget { transaction, branch }, after, effects);
                }
                Verdict::Committed => {
                    self.delegate_answered(session, transaction, branch, Decision::Commit, effects);
                }
                Verdict::Learn => self.learn_commit(session, transaction, branch, effects),
                Verdict::Contradiction => {
                    let deviated = InDoubtState::Deviated {
                        decision: Decision::Abort,
                        kind: DeviationKind::Mixed,
                        evidence: "a marker says that it committed".to_owned(),
                    };
                    self.hold(session, transaction, branch, deviated, effects);
                }
                Verdict::Resolve => {
                    self.send(session, Message::Resolve { transaction, branch }, None, effects);
                }
                Verdict::Silence | Verdict::Stale => {}
            }
        }
        if complete {
            self.held.retain(|_, held| {
                held.resource != resource || held.shown_by == (session, scan) || held.state.is_deviation()
            });
            if let Some(entry) = self.resources.session_mut(session) {
                entry.scan += 1;
            }
        }
    }

    /// Puts a branch on the operator's list, who hears of it if it is still shown after a while, and of a deviation at once. It stays
    /// until a complete scan no longer shows it; a deviation stays.
    pub(crate) fn hold(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        branch: BranchId,
        state: InDoubtState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(&crate::resources::Session { resource, scan, .. }) = self.resources.session(session) else {
            return;
        };
        let known = self.held.get(&(transaction, branch));
        if known.is_some_and(|known| known.state.is_deviation()) {
            return;
        }
        if known.is_none() && self.held.len() >= self.limits.held_branches {
            return;
        }
        // A scan may have been overtaken by the end of the commit, and so may a vote behind it: that is over by then.
        let shown_first = known.map_or(self.now, |known| known.shown_first);
        let again = self.now.0 >= shown_first.0 + ALARM_AFTER_MS;
        let was_alarmed = known.is_some_and(|known| known.is_alarmed);
        let is_alarmed = was_alarmed || again || state.is_deviation();
        if is_alarmed && !was_alarmed {
            effects.push(Effect::Held {
                transaction,
                branch,
                resource: self.resources.get(resource).name.clone(),
                state: state.clone(),
            });
        }
        let held = HeldBranch {
            resource,
            state,
            shown_first,
            shown_by: (session, scan),
            is_alarmed,
        };
        self.held.insert((transaction, branch), held);
    }

    /// The store has had another name, and this branch joined under that one: it is the other's to finish.
    fn is_of_another_name(&self, branch: &Branch, resource: ResourceIndex) -> bool {
        branch.resource != resource && branch.store == self.resources.get(resource).store
    }

    fn verdict(&self, resource: ResourceIndex, line: &InDoubtLine) -> Verdict {
        let transaction = line.transaction;
        if line.log != self.log || transaction.partition() != self.mint.partition() {
            return Verdict::Answer(AnswerKind::NotMine, None);
        }
        if transaction.epoch() > self.mint.epoch() {
            return Verdict::Stale;
        }
        if !self.is_mine(transaction) {
            return Verdict::Answer(AnswerKind::NotMine, None);
        }
        match (line.phase, self.table.get(transaction)) {
            (InDoubtPhase::Marker, Some(_)) => Verdict::Silence,
            (InDoubtPhase::Marker, None) => Verdict::Forget,
            (InDoubtPhase::Committed, Some(entry)) => match entry.state {
                State::Delegated { .. } => Verdict::Committed,
                _ => Verdict::Silence,
            },
            (InDoubtPhase::Committed, None) => match self.history.outcome(transaction) {
                Some((Outcome::Aborted { .. }, _)) => Verdict::Contradiction,
                None if transaction > self.history.horizon() => match transaction.is_unrecorded() {
                    true => Verdict::Learn,
                    // Its record would have been durable before the prepare left.
                    false => Verdict::Contradiction,
                },
                _ => Verdict::Forget,
            },
            (phase, Some(entry)) => {
                let branch = entry.branch(line.branch);
                let decided = entry.state.told_after();
                if branch.is_some_and(|branch| self.is_of_another_name(branch, resource)) {
                    return Verdict::Silence;
                }
                let branch = branch.filter(|branch| branch.resource == resource);
                match branch.map(|branch| branch.state) {
                    // It will be told in its turn, and so would be twice.
                    Some(BranchState::Delivering(_))
                        if self.resources.get(resource).will_hear_of(transaction) =>
                    {
                        Verdict::Silence
                    }
                    Some(state) => verdict_on_live(state, phase, &entry.state, decided),
                    // Work by a branch that never joined. Whatever is decided, it is not decided for this one.
                    None => Verdict::Decided(Decision::Abort, None),
                }
            }
            (phase, None) => match self.history.outcome(transaction) {
                Some((Outcome::Committed | Outcome::Heuristic { .. }, _))
                    if phase == InDoubtPhase::Preparing =>
                {
                    Verdict::Silence
                }
                Some((Outcome::Committed | Outcome::Heuristic { .. }, told_after)) => {
                    Verdict::Answer(AnswerKind::Finished, Some(told_after))
                }
                Some((Outcome::Aborted { .. }, _)) => Verdict::Decided(Decision::Abort, None),
                // Work that may still commit by itself: its marker or a fence must say.
                None if transaction.is_unrecorded() && phase == InDoubtPhase::Preparing => Verdict::Resolve,
                None if transaction > self.history.horizon() => Verdict::Decided(Decision::Abort, None),
                None => Verdict::Answer(AnswerKind::Forgotten, None),
            },
        }
    }
}

/// The verdict on a branch of a live transaction.
fn verdict_on_live(branch: BranchState, phase: InDoubtPhase, state: &State, decided: Option<Lsn>) -> Verdict {
    match (branch, state) {
        (
            BranchState::Enlisted { .. }
            | BranchState::Preparing { .. }
            | BranchState::Delegated { .. }
            | BranchState::Asked
            | BranchState::Prepared { .. },
            _,
        ) => Verdict::Answer(AnswerKind::Wait, None),
        // It promised nothing, so it holds nothing that a commit could need.
        (BranchState::ReadOnly | BranchState::Refused, _) => Verdict::Decided(Decision::Abort, None),
        (BranchState::Delivering(_) | BranchState::Finished(_) | BranchState::Deviated(_), state) => {
            match (state, phase) {
                (State::Committing { .. }, InDoubtPhase::Prepared) => {
                    Verdict::Decided(Decision::Commit, decided)
                }
                (State::Committing { .. }, _) => Verdict::Silence,
                (
                    State::Active
                    | State::Preparing { .. }
                    | State::Delegated { .. }
                    | State::Aborting { .. },
                    _,
                ) => Verdict::Decided(Decision::Abort, None),
            }
        }
    }
}

#[cfg(test)]
mod tests;
