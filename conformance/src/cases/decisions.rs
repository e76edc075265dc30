//! Decisions that come twice, late, in the wrong order, or for nothing.

use std::time::Duration;

use handfast_proto::v1::{self, AckKind, DecisionKind, DecisionKind::Abort, DecisionKind::Commit, VoteKind};

use crate::branch::Branch;
use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::session::{Session, answered, decision, prepare, said, word};
use crate::trial::Trial;

/// How long something that must not come is waited for.
const A_WHILE: Duration = Duration::from_millis(500);
/// Transactions between a commit and its ancient repetition.
const LATER_TRANSACTIONS: usize = 8;
/// A decision that no version of the protocol has.
const UNKNOWN_DECISION: i32 = 77;

pub(super) const GROUP: Group = Group {
    name: "decisions",
    cases: &[
        Case {
            name: "commit-twice",
            checks: "a commit that comes twice is acknowledged twice, with one effect",
            why: "Acknowledgements are lost on the way, and the commit comes again. The money must move once.",
            rule: "5-acknowledge-only-what-is-durable",
            faults: &[23, 48],
            run: |trial| Box::pin(commit_twice(trial)),
        },
        Case {
            name: "commit-ancient",
            checks: "a commit repeated after other transactions and restarts is acknowledged, with one effect",
            why: "Until the coordinator says forget, it may still ask; a branch that is not recognized reads as lost money.",
            rule: "10-forget-only-when-told",
            faults: &[45, 72],
            run: |trial| Box::pin(commit_ancient(trial)),
        },
        Case {
            name: "abort-twice",
            checks: "an abort that comes twice is acknowledged twice",
            why: "What is never acknowledged stays on the operator's list for ever.",
            rule: "7-an-abort-fences",
            faults: &[48],
            run: |trial| Box::pin(abort_twice(trial)),
        },
        Case {
            name: "commit-of-nothing",
            checks: "a commit of a branch that it never had is answered with hazard, never with done",
            why: "A database that failed over may have lost the branch. \"Done\" would hide that half of a payment is missing.",
            rule: "6-absence-is-no-success",
            faults: &[24, 26],
            run: |trial| Box::pin(commit_of_nothing(trial)),
        },
        Case {
            name: "commit-after-abort",
            checks: "a commit of a branch that was aborted is answered with contrary or hazard, and does nothing",
            why: "The transaction is half done, and somebody must be told.",
            rule: "6-absence-is-no-success",
            faults: &[25],
            run: |trial| Box::pin(commit_after_abort(trial)),
        },
        Case {
            name: "abort-after-commit",
            checks: "an abort of a branch that was committed is answered with contrary or hazard, and takes nothing back",
            why: "What was acknowledged as committed has been told to the customer.",
            rule: "6-absence-is-no-success",
            faults: &[25],
            run: |trial| Box::pin(abort_after_commit(trial)),
        },
        Case {
            name: "abort-of-nothing",
            checks: "an abort of a branch that it never had is acknowledged",
            why: "The prepare may have been lost on the way; the coordinator waits for this acknowledgement all the same.",
            rule: "7-an-abort-fences",
            faults: &[44],
            run: |trial| Box::pin(abort_of_nothing(trial)),
        },
        Case {
            name: "abort-overtakes-prepare",
            checks: "an abort that overtakes its prepare fences it: the late prepare is not promised",
            why: "The transaction is over. A promise made now is kept for nobody and locks what it holds.",
            rule: "7-an-abort-fences",
            faults: &[44],
            run: |trial| Box::pin(abort_overtakes_prepare(trial, false)),
        },
        Case {
            name: "fence-survives-kill",
            checks: "the fence of an acknowledged abort survives kill -9",
            why: "Another instance may have answered the abort, while the late prepare is still on its way to the first.",
            rule: "7-an-abort-fences",
            faults: &[44, 68],
            run: |trial| Box::pin(abort_overtakes_prepare(trial, true)),
        },
        Case {
            name: "abort-amid-prepare",
            checks: "an abort amid the work of its prepare is acknowledged, and nothing of the work remains",
            why: "Deadlines strike while work is under way.",
            rule: "7-an-abort-fences",
            faults: &[27, 44],
            run: |trial| Box::pin(abort_amid_prepare(trial)),
        },
        Case {
            name: "prepare-after-commit",
            checks: "a prepare that comes again after its commit is not promised again",
            why: "The work would be done a second time.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[43, 46],
            run: |trial| Box::pin(prepare_after_commit(trial)),
        },
        Case {
            name: "decision-of-another",
            checks: "late decisions of one transaction leave the next one alone",
            why: "A participant that keeps \"the\" transaction of a session ends the wrong one.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[46],
            run: |trial| Box::pin(decision_of_another(trial)),
        },
        Case {
            name: "unknown-decision",
            checks: "a decision of a kind that it does not know is neither carried out nor acknowledged",
            why: "A later version may have more kinds. Guessing is a wrong commit or a wrong abort.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[62],
            run: |trial| Box::pin(unknown_decision(trial)),
        },
    ],
};

async fn commit_twice(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    let decisions = vec![decision(Commit, branch), decision(Commit, branch)];
    session
        .send(v1::SessionResponse {
            decisions,
            ..Default::default()
        })
        .await?;
    session.done(Commit, branch).await?;
    session.listen_for(A_WHILE).await?;
    session.acks.clear();
    session.finish(Commit, branch).await
}

async fn commit_ancient(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let ancient = trial.prepared(&mut session).await?;
    session.finish(Commit, ancient).await?;
    for _ in 0..LATER_TRANSACTIONS {
        let branch = trial.prepared(&mut session).await?;
        session.finish(Commit, branch).await?;
        session.forget(&[branch]).await?;
    }
    let (mut session, _) = trial.restarted().await?;
    session.finish(Commit, ancient).await?;
    let (mut session, _) = trial.restarted().await?;
    session.finish(Commit, ancient).await
}

async fn abort_twice(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Abort, branch).await?;
    session.finish(Abort, branch).await
}

async fn commit_of_nothing(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.branch();
    session.decide(Commit, branch).await?;
    let ack = session.ack(Commit, branch).await?;
    must(ack.kind() == AckKind::Hazard, || {
        format!(
            "a commit of a branch that never was prepared was answered {} {}",
            answered(&ack),
            ack.evidence
        )
    })
}

async fn commit_after_abort(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Abort, branch).await?;
    deviates(&mut session, Commit, branch, "aborted").await
}

async fn abort_after_commit(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await?;
    deviates(&mut session, Abort, branch, "committed").await
}

async fn abort_of_nothing(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.branch();
    session.finish(Abort, branch).await?;
    session.finish(Abort, branch).await
}

async fn abort_overtakes_prepare(trial: &mut Trial<'_>, killed: bool) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    session.finish(Abort, branch).await?;
    if killed {
        session = trial.restarted().await?.0;
    }
    session.prepare(branch, &operation).await?;
    promises_nothing(&mut session, branch).await
}

async fn abort_amid_prepare(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    // Once in frames that follow each other, once in the same frame: a prepare is taken before a decision on it.
    let (first, operation) = (trial.branch(), trial.operation()?);
    session.prepare(first, &operation).await?;
    session.decide(Abort, first).await?;
    let (second, operation) = (trial.branch(), trial.operation()?);
    let frame = v1::SessionResponse {
        prepares: vec![prepare(second, &operation)],
        decisions: vec![decision(Abort, second)],
        ..Default::default()
    };
    session.send(frame).await?;
    for branch in [first, second] {
        session.done(Abort, branch).await?;
        let scan = session.fresh_scan().await?;
        must(!scan.holds(branch), || {
            "the aborted branch is prepared all the same".to_owned()
        })?;
    }
    Ok(())
}

async fn prepare_after_commit(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    session.prepare(branch, &operation).await?;
    session.prepared(branch).await?;
    session.finish(Commit, branch).await?;
    session.prepare(branch, &operation).await?;
    promises_nothing(&mut session, branch).await?;
    let (mut session, _) = trial.restarted().await?;
    session.prepare(branch, &operation).await?;
    promises_nothing(&mut session, branch).await?;
    session.finish(Commit, branch).await
}

async fn decision_of_another(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let aborted = trial.prepared(&mut session).await?;
    session.finish(Abort, aborted).await?;
    let committed = trial.prepared(&mut session).await?;
    session.finish(Commit, committed).await?;
    let next = trial.prepared(&mut session).await?;
    session.finish(Commit, committed).await?;
    session.finish(Abort, aborted).await?;
    let scan = session.fresh_scan().await?;
    must(scan.holds(next), || {
        format!(
            "late decisions of earlier transactions came, and the scan says {} of the next one's branch",
            scan.says(next)
        )
    })?;
    session.finish(Abort, next).await
}

async fn unknown_decision(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    let mut unknown = decision(Commit, branch);
    unknown.kind = UNKNOWN_DECISION;
    session
        .send(v1::SessionResponse {
            decisions: vec![unknown],
            ..Default::default()
        })
        .await?;
    // A participant that ends the session over it is careful enough: it promises nothing less.
    if session.end(A_WHILE).await.is_some() {
        session = trial.session().await?.0;
    }
    must(session.acks.is_empty(), || {
        "it acknowledged a decision of an unknown kind".to_owned()
    })?;
    let scan = session.fresh_scan().await?;
    must(scan.holds(branch), || {
        "a decision of an unknown kind has ended the branch".to_owned()
    })?;
    session.finish(Commit, branch).await
}

/// The decision contradicts what was done; the answer must say so.
async fn deviates(session: &mut Session, kind: DecisionKind, branch: Branch, was: &str) -> Checked {
    session.decide(kind, branch).await?;
    let ack = session.ack(kind, branch).await?;
    must(matches!(ack.kind(), AckKind::Hazard | AckKind::Contrary), || {
        format!(
            "{} of a branch that was {was} was answered {}",
            word(kind),
            answered(&ack)
        )
    })
}

/// A prepare that comes after its decision.
async fn promises_nothing(session: &mut Session, branch: Branch) -> Checked {
    let vote = session.vote(branch).await?;
    must(vote.kind() != VoteKind::Prepared, || {
        format!(
            "a prepare that came after its decision: {}; it must be refused",
            said(&vote)
        )
    })?;
    let scan = session.fresh_scan().await?;
    must(!scan.holds(branch), || {
        "a prepare that came after its decision is promised".to_owned()
    })
}
