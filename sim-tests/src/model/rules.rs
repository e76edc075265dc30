//! The rules that hold in every state, and the checks that catch what breaks them.
//!
//! A check runs at the moment at which something becomes visible: a record appended, a message sent, a client answered, a
//! branch carried out. So the path to a breach ends with the step that broke the rule.
//!
//! Sources: `docs/PROTOCOL.md`; stability and consistency after Gray and Lamport, *Consensus on Transaction Commit*, ACM
//! TODS 31(1), 2006, section 2.

use handfast_core::view::{InDoubtState, StateView, TransactionView};
use handfast_core::{BranchStateView, Decision, DecisionRecord, Outcome, Record, SessionId, Wait};
use handfast_ids::{BranchId, TransactionId};

use super::network::{Part, short, short_part};
use super::participant::{Fate, Slot};
use super::state::{State, Told};
use super::world::{ClientRole, World};

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// No transaction has one branch committed and another rolled back.
    Atomic,
    /// A commit implies that every branch voted yes.
    AllVoted,
    /// A branch lives and dies with one session until it has voted.
    Pinned,
    /// What was decided stays decided, in the log and towards participants; "abort" is never followed by "commit".
    Stable,
    /// What a client was told never changes and is what happened.
    Told,
    /// One key: at most one committed transaction, one answer.
    OneKey,
    /// Nothing of a decision is disclosed before it is durable.
    Durable,
    /// Nothing is forgotten before all have acknowledged.
    Remembered,
    /// An effect happens once.
    Once,
    /// No panic, no refusal of an own log, no deviation or stop without a cause.
    Sound,
}

/// A rule that was broken, and how.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breach {
    pub rule: Rule,
    pub text: String,
}

impl State {
    /// A record on its way into the log.
    pub fn check_append(&mut self, world: &World, record: &Record) {
        match record {
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                let id = *transaction;
                let branches: Vec<BranchId> = branches.iter().map(|branch| branch.branch).collect();
                if self.journal.story(id).decided.is_some() {
                    self.breach(Rule::Stable, format!("{} is decided twice", short(id)));
                }
                if *decision == DecisionRecord::Commit {
                    self.check_commit(world, id, &branches);
                    let keyed = |other: &Record| {
                        matches!(
                            other,
                            Record::Decided {
                                decision: DecisionRecord::Commit,
                                key: Some(_),
                                ..
                            }
                        )
                    };
                    if key.is_some() && self.journal.numbered().any(|(_, other)| keyed(other)) {
                        self.breach(
                            Rule::OneKey,
                            "a second transaction commits under the key".to_owned(),
                        );
                    }
                } else if self.memory.committed.iter().any(|part| part.0 == id) {
                    self.breach(
                        Rule::Stable,
                        format!("{} aborts after it was committed", short(id)),
                    );
                }
            }
            Record::Ended { transaction } => self.check_end(*transaction),
            Record::Deviated { deviation, .. } if !self.memory.restored => {
                self.breach(Rule::Sound, format!("a deviation without a cause: {deviation:?}"));
            }
            _ => {}
        }
    }

    /// Every branch has promised, and those that have something to commit will hear of it.
    fn check_commit(&mut self, world: &World, id: TransactionId, hearing: &[BranchId]) {
        let expected: Vec<BranchId> = if world.is_interactive() {
            let counted = self.clients.iter().find_map(|client| client.expected.clone());
            counted.unwrap_or_default().into_iter().collect()
        } else {
            (0..world.participants.len() as u32).map(BranchId).collect()
        };
        for branch in expected {
            let part = (id, branch);
            // Its participant has decided.
            if hearing.is_empty() && self.memory.committed.contains(&part) {
                continue;
            }
            let prepared = self.memory.prepared.contains(&part);
            let heard =
                self.memory.heard.contains(&part) && (prepared || self.memory.read_only.contains(&part));
            if prepared != hearing.contains(&branch) || !heard {
                self.breach(
                    Rule::AllVoted,
                    format!("{} commits without its vote", short_part(part)),
                );
            }
            if self.memory.told_abort.contains(&part) && prepared {
                self.breach(
                    Rule::Stable,
                    format!("{} was told to abort and commits", short_part(part)),
                );
            }
        }
        for told in [Told::Aborted, Told::NoEffects] {
            if self.memory.told.contains(&(id, told)) {
                self.breach(
                    Rule::Told,
                    format!("{} commits, and a client was told {told:?}", short(id)),
                );
            }
        }
    }

    /// Nothing may be open at any store: from here on, nobody remembers.
    fn check_end(&mut self, id: TransactionId) {
        let commits = self.journal.story(id).commits();
        for part in self
            .memory
            .prepared
            .iter()
            .copied()
            .filter(|part| part.0 == id)
            .collect::<Vec<_>>()
        {
            let prepared = self
                .participants
                .iter()
                .any(|it| it.branches.get(&part) == Some(&Slot::Prepared));
            if prepared && !self.memory.restored || commits && !self.memory.committed.contains(&part) {
                self.breach(
                    Rule::Remembered,
                    format!(
                        "{} has not acknowledged, and the transaction ends",
                        short_part(part)
                    ),
                );
            }
        }
    }

    /// A branch joins, or is asked to prepare.
    pub fn check_pinned(&mut self, part: Part, session: SessionId) {
        let first = *self.memory.pinned.entry(part).or_insert(session);
        if first != session {
            let text = format!(
                "{} goes on by session {}, not {}",
                short_part(part),
                session.0,
                first.0
            );
            self.breach(Rule::Pinned, text);
        }
    }

    /// A decision leaves for a participant.
    pub fn check_decision(&mut self, part: Part, commits: bool) {
        let story = self.journal.story(part.0);
        let (durable, heard) = match story.decided {
            Some(decided) => (decided.durable, hears(decided.record, part.1)),
            None => (false, false),
        };
        let decided_commit = story.commits();
        if commits {
            self.memory.told_commit.insert(part);
            if !decided_commit {
                self.breach(
                    Rule::Stable,
                    format!("{} is told to commit, which nobody decided", short_part(part)),
                );
            } else if !durable {
                self.breach(
                    Rule::Durable,
                    format!("{} is told to commit before that is durable", short_part(part)),
                );
            }
        } else {
            self.memory.told_abort.insert(part);
            if decided_commit && heard {
                self.breach(
                    Rule::Stable,
                    format!("{} is told to abort, and the log says commit", short_part(part)),
                );
            }
        }
        if self.memory.told_commit.contains(&part) && self.memory.told_abort.contains(&part) {
            self.breach(Rule::Stable, format!("{} is told both", short_part(part)));
        }
    }

    /// A participant is told to decide: what somebody may ask about later must be known to the log.
    pub fn check_delegated(&mut self, id: TransactionId) {
        let delegated = self.journal.story(id).delegated;
        if delegated.is_none() || delegated == Some(false) && !id.is_unrecorded() {
            self.breach(
                Rule::Durable,
                format!("{} is left to its participant before that is durable", short(id)),
            );
        }
    }

    /// A participant may let go of marker and fence.
    pub fn check_forget(&mut self, part: Part) {
        let story = self.journal.story(part.0);
        // Nobody else was to hear of it, so the decision was the end.
        let is_learned = story
            .decided
            .is_some_and(|decided| decided.durable && !hears(decided.record, part.1) && story.commits());
        if story.mentioned && story.ended != Some(true) && !is_learned {
            self.breach(
                Rule::Remembered,
                format!("{} may forget before the end is durable", short_part(part)),
            );
        }
    }

    /// A prepared branch has come to its end.
    pub fn came_out(&mut self, fate: Fate) {
        let first = match fate {
            Fate::Committed(part) => self.memory.committed.insert(part),
            Fate::RolledBack(part) => self.memory.rolled_back.insert(part),
        };
        if !first && !self.memory.restored {
            self.breach(Rule::Once, format!("an effect happens twice: {fate:?}"));
        }
    }

    /// What is told of an outcome must be in the durable log.
    pub fn check_outcome_is_durable(&mut self, id: TransactionId, outcome: &Outcome, whom: &str) {
        let story = self.journal.story(id);
        let read_only = !self.memory.prepared.iter().any(|part| part.0 == id);
        // The marker is the proof, and stays until the end is durable.
        let alone = self.memory.committed.iter().any(|part| part.0 == id) && read_only;
        let good = match outcome {
            Outcome::Committed if alone => true,
            Outcome::Aborted { .. } if alone => false,
            Outcome::Committed if read_only && story.decided.is_none() => true,
            Outcome::Committed => story.commits() && !story.is_undurable(),
            Outcome::Aborted { .. } => !story.commits() && !story.is_undurable(),
            Outcome::Heuristic { .. } => self.memory.restored && !story.is_undurable(),
        };
        if !good {
            self.breach(
                Rule::Durable,
                format!(
                    "{whom} learns {outcome:?} of {}, which the log does not hold",
                    short(id)
                ),
            );
        }
    }

    /// Who asked to wait for the effects is told only when they are there.
    pub fn check_applied(&mut self, role: &ClientRole, id: TransactionId, outcome: &Outcome) {
        let (ClientRole::Executes { wait, .. } | ClientRole::Commits { wait }) = role else {
            return;
        };
        let open = |part: &&Part| part.0 == id && !self.memory.committed.contains(part);
        if *wait == Wait::Applied
            && *outcome == Outcome::Committed
            && self.memory.prepared.iter().any(|part| open(&part))
        {
            self.breach(
                Rule::Told,
                format!("{} is told as applied, and is not", short(id)),
            );
        }
    }

    /// A view shows no decision that could still be lost.
    pub fn check_view(&mut self, view: &TransactionView) {
        let shown = match &view.state {
            StateView::Committing | StateView::Ended(Outcome::Committed) => Some(Decision::Commit),
            StateView::Aborting | StateView::Ended(Outcome::Aborted { .. }) => Some(Decision::Abort),
            StateView::Heuristic(Outcome::Heuristic { decision, .. })
            | StateView::Ended(Outcome::Heuristic { decision, .. }) => Some(*decision),
            _ => None,
        };
        let branch_shown = view.branches.iter().find_map(|branch| match branch.state {
            BranchStateView::Committing | BranchStateView::Committed => Some(Decision::Commit),
            BranchStateView::Aborting | BranchStateView::Aborted => Some(Decision::Abort),
            _ => None,
        });
        let id = view.transaction;
        let denies = matches!(
            view.state,
            StateView::NoEffects | StateView::Aborting | StateView::Ended(Outcome::Aborted { .. })
        );
        if denies && self.memory.committed.iter().any(|part| part.0 == id) && !self.memory.restored {
            self.breach(
                Rule::Told,
                format!("{} has committed, and a view denies it", short(id)),
            );
        }
        let story = self.journal.story(id);
        let read_only = !self.memory.prepared.iter().any(|part| part.0 == id);
        let alone = read_only && self.memory.committed.iter().any(|part| part.0 == id);
        let decided = story.decided.map(|decided| decided.decision);
        let is_known = |decision: Decision| match decided {
            Some(Decision::Commit) if alone => decision == Decision::Commit,
            Some(decided) => decided == decision && !story.is_undurable(),
            None => decision == Decision::Abort || read_only,
        };
        let early = shown
            .into_iter()
            .chain(branch_shown)
            .find(|&decision| !is_known(decision));
        if let Some(decision) = early {
            self.breach(
                Rule::Durable,
                format!("a view shows {decision:?} of {} too early", short(id)),
            );
        }
    }

    /// What must hold between steps.
    pub fn check_state(&mut self) {
        for id in self.memory.transactions.clone() {
            let of = |part: &&Part| part.0 == id;
            let committed = self.memory.committed.iter().find(of).copied();
            let rolled_back = self.memory.rolled_back.iter().find(of).copied();
            if let (Some(committed), Some(rolled_back)) = (committed, rolled_back) {
                let text = format!(
                    "{} committed, {} rolled back",
                    short_part(committed),
                    short_part(rolled_back)
                );
                self.breach(Rule::Atomic, text);
            }
            let told = |told| self.memory.told.contains(&(id, told));
            let kept = !(told(Told::Committed) && (told(Told::Aborted) || rolled_back.is_some()))
                && !((told(Told::Aborted) || told(Told::NoEffects)) && committed.is_some());
            if !kept {
                self.breach(
                    Rule::Told,
                    format!("a client was told otherwise of {}", short(id)),
                );
            }
            self.check_view(&self.coordinator.view(self.now, id));
        }
        let definite = self
            .memory
            .answers
            .iter()
            .filter(|(_, told)| *told != Told::Heuristic);
        if definite.count() > 1 {
            self.breach(
                Rule::OneKey,
                format!("one key has several answers: {:?}", self.memory.answers),
            );
        }
        for line in self.coordinator.in_doubt(self.now, None, usize::MAX) {
            let undurable = self.journal.story(line.transaction).is_undurable();
            if undurable && matches!(line.state, InDoubtState::Committing | InDoubtState::Aborting) {
                self.breach(
                    Rule::Durable,
                    format!(
                        "the operator sees the decision of {} too early",
                        short(line.transaction)
                    ),
                );
            }
        }
    }
}

fn hears(record: &Record, branch: BranchId) -> bool {
    matches!(record, Record::Decided { branches, .. } if branches.iter().any(|it| it.branch == branch))
}

#[cfg(test)]
mod tests;
