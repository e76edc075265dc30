//! What every frame of a participant must keep to, whatever the case is about.

use std::collections::{BTreeSet, VecDeque};

use handfast_ids::{LogId, TransactionId};
use handfast_proto::{convert, v1};
use prost::Message;

use crate::branch::{Branch, Facts};

/// A line of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub branch: Branch,
    pub phase: v1::InDoubtPhase,
}

/// A complete scan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    pub lines: Vec<Line>,
}

impl Scan {
    /// What the scan says of a branch.
    pub fn phase(&self, branch: Branch) -> Option<v1::InDoubtPhase> {
        self.lines
            .iter()
            .find(|line| line.branch == branch)
            .map(|line| line.phase)
    }

    /// The same in words.
    pub fn says(&self, branch: Branch) -> String {
        super::in_words(self.phase(branch))
    }

    /// Whether nothing of the branch is left, or its marker.
    pub fn is_over(&self, branch: Branch) -> bool {
        matches!(
            self.phase(branch),
            None | Some(v1::InDoubtPhase::Marker | v1::InDoubtPhase::Committed)
        )
    }

    /// Whether it shows the branch as prepared.
    pub fn holds(&self, branch: Branch) -> bool {
        self.phase(branch) == Some(v1::InDoubtPhase::Prepared)
    }
}

/// What the coordinator says of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Prepare { delegated: bool },
    Decision(v1::DecisionKind),
}

/// What was asked, and what has come of scans.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The longest frame that the welcome allows.
    pub frame_bytes: Option<u64>,
    prepares: BTreeSet<(TransactionId, u32)>,
    /// Those that leave the decision to the participant.
    delegated: BTreeSet<(TransactionId, u32)>,
    decisions: BTreeSet<(TransactionId, u32, i32)>,
    lines: Vec<Line>,
    scans: VecDeque<Scan>,
}

impl Checks {
    /// Notes what the coordinator says, and of which branches.
    pub fn saying(&mut self, frame: &v1::SessionResponse, log: LogId) -> Vec<(Branch, Said)> {
        let mut said = Vec::new();
        for prepare in &frame.prepares {
            if let Ok(transaction) = convert::transaction_id(&prepare.transaction_id) {
                self.prepares.insert((transaction, prepare.branch));
                if prepare.delegated {
                    self.delegated.insert((transaction, prepare.branch));
                }
                let number = prepare.branch;
                said.push((
                    Branch {
                        log,
                        transaction,
                        number,
                    },
                    Said::Prepare {
                        delegated: prepare.delegated,
                    },
                ));
            }
        }
        for decision in &frame.decisions {
            if let Ok(transaction) = convert::transaction_id(&decision.transaction_id) {
                self.decisions
                    .insert((transaction, decision.branch, decision.kind));
                let number = decision.branch;
                said.push((
                    Branch {
                        log,
                        transaction,
                        number,
                    },
                    Said::Decision(decision.kind()),
                ));
            }
        }
        said
    }

    /// Takes a frame, and what it says into the facts.
    pub fn take(&mut self, frame: &mut v1::SessionRequest, log: LogId, facts: &mut Facts) {
        let bytes = frame.encoded_len() as u64;
        if self.frame_bytes.is_some_and(|limit| bytes > limit) {
            facts
                .violations
                .insert("a frame was longer than limits.frame_bytes of the welcome (rule 9)".to_owned());
        }
        if frame.hello.is_some() {
            facts
                .violations
                .insert("hello was said twice on one session (rule 1)".to_owned());
        }
        if !frame.enlistments.is_empty() {
            facts
                .violations
                .insert("it enlisted in a transaction that nobody began (rule 11)".to_owned());
        }
        for vote in &frame.votes {
            if let Err(violation) = self.vote(vote, log, facts) {
                facts.violations.insert(violation);
            }
        }
        for ack in &frame.acks {
            if let Err(violation) = self.ack(ack, log, facts) {
                facts.violations.insert(violation);
            }
        }
        for line in std::mem::take(&mut frame.in_doubt) {
            match read_line(&line) {
                Ok(line) => {
                    if line.phase == v1::InDoubtPhase::Prepared {
                        facts.fate(line.branch).may_be_prepared = true;
                    }
                    self.lines.push(line);
                }
                Err(violation) => {
                    facts.violations.insert(violation);
                }
            }
        }
        if frame.scan_complete {
            let lines = std::mem::take(&mut self.lines);
            self.scans.push_back(Scan { lines });
        }
    }

    /// The oldest complete scan that was not taken.
    pub fn take_scan(&mut self) -> Option<Scan> {
        self.scans.pop_front()
    }

    fn vote(&self, vote: &v1::Vote, log: LogId, facts: &mut Facts) -> Result<(), String> {
        let transaction = convert::transaction_id(&vote.transaction_id)
            .map_err(|failure| format!("a vote with a wrong id: {failure}"))?;
        if !self.prepares.contains(&(transaction, vote.branch)) {
            return Err(
                "it voted for a branch that was not asked to prepare on this session (rules 4 and 11)"
                    .to_owned(),
            );
        }
        let number = vote.branch;
        match vote.kind() {
            v1::VoteKind::Unspecified => Err(format!("a vote of the unknown kind {}", vote.kind)),
            v1::VoteKind::Refused if vote.reason.is_empty() => Err(
                "a refusal without a reason; give a stable one, such as INSUFFICIENT_FUNDS (rule 4)"
                    .to_owned(),
            ),
            v1::VoteKind::Prepared => {
                facts
                    .fate(Branch {
                        log,
                        transaction,
                        number,
                    })
                    .may_be_prepared = true;
                Ok(())
            }
            v1::VoteKind::Committed if self.delegated.contains(&(transaction, vote.branch)) => {
                facts
                    .fate(Branch {
                        log,
                        transaction,
                        number,
                    })
                    .committed = true;
                Ok(())
            }
            v1::VoteKind::Committed => Err(
                "it committed a branch that was not left to it; without `delegated` in the prepare it may only promise (rule 4)"
                    .to_owned(),
            ),
            v1::VoteKind::ReadOnly | v1::VoteKind::Refused => Ok(()),
        }
    }

    fn ack(&self, ack: &v1::Ack, log: LogId, facts: &mut Facts) -> Result<(), String> {
        let transaction = convert::transaction_id(&ack.transaction_id)
            .map_err(|failure| format!("an acknowledgement with a wrong id: {failure}"))?;
        let was_sent = |kind: i32| self.decisions.contains(&(transaction, ack.branch, kind));
        let was_asked = match ack.decision() {
            v1::DecisionKind::Commit | v1::DecisionKind::Abort => {
                was_sent(ack.decision) || was_sent(v1::DecisionKind::Resolve.into())
            }
            // An answer says which of the two was found.
            v1::DecisionKind::Resolve => false,
            v1::DecisionKind::Unspecified => was_sent(ack.decision),
        };
        if !was_asked {
            return Err("it acknowledged a decision that was not sent on this session (rule 5)".to_owned());
        }
        let number = ack.branch;
        let fate = facts.fate(Branch {
            log,
            transaction,
            number,
        });
        match (ack.kind(), ack.decision()) {
            (v1::AckKind::Unspecified, _) => {
                return Err(format!("an acknowledgement of the unknown kind {}", ack.kind));
            }
            (v1::AckKind::Done, v1::DecisionKind::Commit) => fate.committed = true,
            (v1::AckKind::Done, _) => fate.aborted = true,
            (v1::AckKind::Hazard | v1::AckKind::Contrary, _) => {
                fate.deviated = true;
                if ack.evidence.is_empty() {
                    return Err(
                        "hazard or contrary without evidence; an operator needs to be told what was seen (rule 6)"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(())
    }
}

fn read_line(line: &v1::InDoubt) -> Result<Line, String> {
    let wrong = |failure| format!("a line of a scan with a wrong id: {failure}");
    let branch = Branch {
        log: convert::log_id(&line.log_id).map_err(wrong)?,
        transaction: convert::transaction_id(&line.transaction_id).map_err(wrong)?,
        number: line.branch,
    };
    match line.phase() {
        v1::InDoubtPhase::Unspecified => Err(format!("a line of a scan of the unknown phase {}", line.phase)),
        phase => Ok(Line { branch, phase }),
    }
}
