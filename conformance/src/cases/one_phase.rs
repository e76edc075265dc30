//! Branches that are left to the participant: it decides, and can be asked how.

use handfast_proto::v1::DecisionKind::{Abort, Commit, Resolve};
use handfast_proto::v1::{AckKind, DecisionKind, InDoubtPhase, VoteKind};

use crate::branch::Branch;
use crate::cases::crashes::MOMENTS;
use crate::cases::{Case, Group};
use crate::fault::{Checked, Fault, must, wrong};
use crate::session::{Scan, Session, answered, said, word};
use crate::trial::Trial;

const RULE: &str = "14-decide-alone-only-what-you-can-prove";

pub(super) const GROUP: Group = Group {
    name: "one-phase",
    cases: &[
        Case {
            name: "delegated-kill",
            checks: "killed right after it committed what was left to it, it shows the marker of the commit, with one effect",
            why: "Its vote is the decision: the client is told committed on it. What the crash takes back was promised to a person.",
            rule: RULE,
            faults: &[70],
            run: |trial| Box::pin(delegated_kill(trial)),
        },
        Case {
            name: "delegated-kill-amid",
            checks: "killed amid what was left to it, it says how that came out, and says it again, with an effect if it says commit",
            why: "The answer was lost, so its store is the only one that knows. A wrong word here is told to the client.",
            rule: RULE,
            faults: &[70],
            run: |trial| Box::pin(delegated_kill_amid(trial)),
        },
        Case {
            name: "delegated-twice",
            checks: "a prepare that leaves it the decision and comes twice is answered committed twice, with one effect",
            why: "A message that is repeated on the way must not take the money twice.",
            rule: RULE,
            faults: &[43],
            run: |trial| Box::pin(delegated_twice(trial)),
        },
        Case {
            name: "resolve-fences",
            checks: "asked how a branch came out that it never had, it says abort, and refuses the work that comes later",
            why: "The client was told aborted. Late work commits by itself here, and nobody comes after it to roll it back.",
            rule: RULE,
            faults: &[68, 70],
            run: |trial| Box::pin(resolve_fences(trial)),
        },
        Case {
            name: "resolve-after-commit",
            checks: "asked how a branch came out that it committed, it says commit, as often as it is asked and after a restart",
            why: "An abort that is told of a commit makes the client do the work again.",
            rule: RULE,
            faults: &[70],
            run: |trial| Box::pin(resolve_after_commit(trial)),
        },
        Case {
            name: "resolve-of-a-promise",
            checks: "asked how a branch came out that it only promised, it rolls it back and says abort",
            why: "Nobody decided it and nobody will: what only waits would hold its locks for ever.",
            rule: RULE,
            faults: &[],
            run: |trial| Box::pin(resolve_of_a_promise(trial)),
        },
    ],
};

/// A session with a participant that takes such branches.
async fn session(trial: &mut Trial<'_>) -> Checked<(Session, Scan)> {
    let (session, scan) = trial.session().await?;
    if session.hello.one_phase && session.hello.attached {
        return Ok((session, scan));
    }
    let words = "its hello does not say one_phase of an attached store, so no decision is ever left to it";
    Err(Fault::NotChecked(words.to_owned()))
}

/// Waits for the vote on a branch that was left to it. Giving the decision back is no fault, and nothing to look at here.
async fn committed(session: &mut Session, branch: Branch) -> Checked {
    let vote = session.vote(branch).await?;
    match vote.kind() {
        VoteKind::Committed => Ok(()),
        VoteKind::Prepared => Err(Fault::NotChecked(
            "it says one_phase, and gave the decision back: it voted prepared".to_owned(),
        )),
        _ => wrong(format!(
            "left the decision on an operation that succeeds, {}",
            said(&vote)
        )),
    }
}

/// A new branch that was left to it, and that it committed.
async fn left(trial: &mut Trial<'_>, session: &mut Session) -> Checked<Branch> {
    let (branch, operation) = (trial.branch(), trial.operation()?);
    session.delegate(branch, &operation).await?;
    committed(session, branch).await?;
    Ok(branch)
}

/// Asks how a branch came out.
async fn resolved(session: &mut Session, branch: Branch) -> Checked<DecisionKind> {
    session.decide(Resolve, branch).await?;
    let ack = session.ack(Resolve, branch).await?;
    must(ack.kind() == AckKind::Done, || {
        format!(
            "asked how branch {branch} came out, it answered {} to {}: {}",
            answered(&ack),
            word(ack.decision()),
            ack.evidence
        )
    })?;
    Ok(ack.decision())
}

async fn came_out(session: &mut Session, branch: Branch, expected: DecisionKind, of: &str) -> Checked {
    let found = resolved(session, branch).await?;
    must(found == expected, || {
        format!("asked how a branch came out that {of}, it says {}", word(found))
    })
}

async fn delegated_kill(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = session(trial).await?;
    let branch = left(trial, &mut session).await?;
    let (mut session, scan) = trial.restarted().await?;
    must(scan.phase(branch) == Some(InDoubtPhase::Committed), || {
        format!(
            "it committed a branch that was left to it, was killed, and its scan now says {} of the branch instead of \"committed\"",
            scan.says(branch)
        )
    })?;
    came_out(&mut session, branch, Commit, "it voted committed").await
}

async fn delegated_kill_amid(trial: &mut Trial<'_>) -> Checked {
    for moment in MOMENTS {
        let (mut session, _) = session(trial).await?;
        let (branch, operation) = (trial.branch(), trial.operation()?);
        session.delegate(branch, &operation).await?;
        session.listen_for(moment).await?;
        let (mut session, scan) = trial.restarted().await?;
        let found = resolved(&mut session, branch).await?;
        must(
            found == Commit || scan.phase(branch) != Some(InDoubtPhase::Committed),
            || "its scan shows the marker of a commit, and asked it says abort".to_owned(),
        )?;
        came_out(
            &mut session,
            branch,
            found,
            "it was asked about before, with another answer,",
        )
        .await?;
        trial.kill().await?;
    }
    Ok(())
}

async fn delegated_twice(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = session(trial).await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    session.delegate(branch, &operation).await?;
    committed(&mut session, branch).await?;
    session.delegate(branch, &operation).await?;
    committed(&mut session, branch).await
}

async fn resolve_fences(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = session(trial).await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    came_out(&mut session, branch, Abort, "never was").await?;
    session.delegate(branch, &operation).await?;
    refused(&mut session, branch).await?;
    let (mut session, _) = trial.restarted().await?;
    session.delegate(branch, &operation).await?;
    refused(&mut session, branch).await?;
    came_out(&mut session, branch, Abort, "it has fenced").await
}

async fn refused(session: &mut Session, branch: Branch) -> Checked {
    let vote = session.vote(branch).await?;
    must(vote.kind() == VoteKind::Refused, || {
        format!(
            "work came after the branch was answered abort, and {}",
            said(&vote)
        )
    })
}

async fn resolve_after_commit(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = session(trial).await?;
    let alone = left(trial, &mut session).await?;
    let told = trial.prepared(&mut session).await?;
    session.finish(Commit, told).await?;
    for branch in [alone, told, alone, told] {
        came_out(&mut session, branch, Commit, "it committed").await?;
    }
    let (mut session, _) = trial.restarted().await?;
    for branch in [alone, told] {
        came_out(&mut session, branch, Commit, "it committed").await?;
    }
    Ok(())
}

async fn resolve_of_a_promise(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = session(trial).await?;
    let branch = trial.prepared(&mut session).await?;
    came_out(&mut session, branch, Abort, "it only promised").await?;
    let (mut session, scan) = trial.restarted().await?;
    must(!scan.holds(branch), || {
        "asked how a promise came out it said abort, and after a restart it shows it as prepared".to_owned()
    })?;
    came_out(&mut session, branch, Abort, "it rolled back").await
}
