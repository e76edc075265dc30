//! Answers to a prepare.

use std::time::Duration;

use bytes::Bytes;
use handfast_proto::v1::DecisionKind::{Abort, Commit};
use handfast_proto::v1::{self, VoteKind};

use crate::branch::Branch;
use crate::cases::{Case, Group};
use crate::fault::{Checked, must, wrong};
use crate::session::{Session, in_words, prepare, said};
use crate::trial::{Trial, WINDOW};

/// How long nothing must come, or may come.
const A_WHILE: Duration = Duration::from_millis(500);
/// The length of an operation that nobody can read.
const NONSENSE_BYTES: usize = 256 << 10;

pub(super) const GROUP: Group = Group {
    name: "voting",
    cases: &[
        Case {
            name: "commit",
            checks: "an operation is prepared, and committed with one effect",
            why: "This is what a participant is for.",
            rule: "3-vote-only-what-is-durable",
            faults: &[],
            run: |trial| Box::pin(commit(trial)),
        },
        Case {
            name: "abort",
            checks: "an operation is prepared, and aborted without an effect",
            why: "If one party says no, nothing may happen anywhere.",
            rule: "3-vote-only-what-is-durable",
            faults: &[],
            run: |trial| Box::pin(abort(trial)),
        },
        Case {
            name: "refuse",
            checks: "what cannot be done is refused with a reason, and leaves nothing behind",
            why: "A refusal that still holds something is a lock that nobody will ever release.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[],
            run: |trial| Box::pin(refuse(trial)),
        },
        Case {
            name: "read-only",
            checks: "an operation that changes nothing is voted read-only, and holds nothing afterwards",
            why: "A read-only branch hears of no decision: what it still holds it holds for ever.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[],
            run: |trial| Box::pin(read_only(trial)),
        },
        Case {
            name: "nonsense",
            checks: "an operation that it cannot read harms nobody: the session goes on",
            why: "One mistaken client must not take the resource away from all others.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[62],
            run: |trial| Box::pin(nonsense(trial)),
        },
        Case {
            name: "never-enlisted",
            checks: "a prepare without an operation, for a branch that never enlisted, is not promised",
            why: "There is no work behind it: a yes would let the others commit without this part.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[50, 73],
            run: |trial| Box::pin(never_enlisted(trial)),
        },
        Case {
            name: "prepare-twice",
            checks: "a prepare that comes twice gets the same vote, at once and later, and the work is done once",
            why: "A message that is repeated on the way must not take the money twice.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[43],
            run: |trial| Box::pin(prepare_twice(trial)),
        },
        Case {
            name: "refuse-twice",
            checks: "a refused prepare that comes again is refused again",
            why: "The first no has aborted the transaction everywhere; a yes now is a promise that nobody resolves.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[43],
            run: |trial| Box::pin(refuse_twice(trial)),
        },
        Case {
            name: "window",
            checks: "as many prepares as the window allows, in one frame, get a vote each",
            why: "The coordinator sends up to the window without waiting; one lost vote aborts its transaction.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[],
            run: |trial| Box::pin(window(trial)),
        },
        Case {
            name: "two-branches",
            checks: "two branches of one transaction are two promises, finished one by one",
            why: "A transaction may touch a resource twice. Taken for one, half of the work is lost.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[61, 74],
            run: |trial| Box::pin(two_branches(trial)),
        },
        Case {
            name: "late-vote",
            checks: "when the time of a prepare is over, an abort still cleans up, whatever became of the vote",
            why: "The coordinator has aborted by then. A late yes must not stay behind as a promise.",
            rule: "4-answer-every-prepare-and-repeat-the-answer",
            faults: &[27],
            run: |trial| Box::pin(late_vote(trial)),
        },
        Case {
            name: "frame-limit",
            checks: "no frame is longer than the coordinator takes, however much there is to say",
            why: "The coordinator ends a session over a frame that is too long, again and again.",
            rule: "9-be-heard-and-listen",
            faults: &[62],
            run: |trial| Box::pin(frame_limit(trial)),
        },
    ],
};

async fn commit(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await
}

async fn abort(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Abort, branch).await
}

async fn refuse(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.refused()?);
    session.prepare(branch, &operation).await?;
    votes(&mut session, branch, VoteKind::Refused, "--refused").await?;
    holds_nothing(&mut session, branch, "refused").await
}

async fn read_only(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.read_only()?);
    session.prepare(branch, &operation).await?;
    votes(&mut session, branch, VoteKind::ReadOnly, "--read-only").await?;
    holds_nothing(&mut session, branch, "voted read-only").await
}

async fn nonsense(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    for nonsense in [Bytes::new(), Bytes::from(vec![0xff; NONSENSE_BYTES])] {
        let branch = trial.branch();
        session.prepare(branch, &nonsense).await?;
        // Some participants take any bytes for an operation; the trial checks that its abort leaves nothing.
        session.vote(branch).await?;
        session.finish(Abort, branch).await?;
    }
    let branch = trial.prepared(&mut session).await?;
    session.finish(Abort, branch).await
}

async fn never_enlisted(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.branch();
    let mut frame = prepare(branch, &Bytes::new());
    (frame.operation, frame.operations) = (None, 1);
    session
        .send(v1::SessionResponse {
            prepares: vec![frame],
            ..Default::default()
        })
        .await?;
    let vote = session.vote(branch).await?;
    must(vote.kind() == VoteKind::Refused, || said(&vote))?;
    holds_nothing(&mut session, branch, "refused").await
}

async fn prepare_twice(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    let prepares = vec![prepare(branch, &operation), prepare(branch, &operation)];
    session
        .send(v1::SessionResponse {
            prepares,
            ..Default::default()
        })
        .await?;
    session.prepared(branch).await?;
    session.prepare(branch, &operation).await?;
    session.prepared(branch).await?;
    session.finish(Commit, branch).await?;
    // What came of the second prepare of the first frame must not outlive the commit; the trial looks.
    session.listen_for(A_WHILE).await?;
    let votes = std::mem::take(&mut session.votes);
    for vote in &votes {
        must(vote.kind() == VoteKind::Prepared, || {
            format!("the same prepare got another vote: {}", said(vote))
        })?;
    }
    Ok(())
}

async fn refuse_twice(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.refused()?);
    for _ in 0..2 {
        session.prepare(branch, &operation).await?;
        votes(&mut session, branch, VoteKind::Refused, "--refused").await?;
    }
    holds_nothing(&mut session, branch, "refused").await
}

async fn window(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let mut asked = Vec::new();
    for _ in 0..WINDOW {
        asked.push((trial.branch(), trial.operation()?));
    }
    let prepares = asked
        .iter()
        .map(|(branch, operation)| prepare(*branch, operation))
        .collect();
    session
        .send(v1::SessionResponse {
            prepares,
            ..Default::default()
        })
        .await?;
    for (branch, _) in &asked {
        session.prepared(*branch).await?;
    }
    for (place, (branch, _)) in asked.iter().enumerate() {
        let kind = if place % 2 == 0 { Commit } else { Abort };
        session.finish(kind, *branch).await?;
    }
    Ok(())
}

async fn two_branches(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let first = trial.prepared(&mut session).await?;
    let second = Branch {
        number: first.number + 1,
        ..first
    };
    session.prepare(second, &trial.operation()?).await?;
    session.prepared(second).await?;
    session.finish(Commit, first).await?;
    let scan = session.fresh_scan().await?;
    must(scan.holds(second) && !scan.holds(first), || {
        format!(
            "branch {first} was committed, and of branch {second} of the same transaction the scan now says {}",
            scan.says(second)
        )
    })?;
    session.finish(Commit, second).await
}

async fn late_vote(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    let mut late = prepare(branch, &operation);
    late.timeout_ms = 1;
    session
        .send(v1::SessionResponse {
            prepares: vec![late],
            ..Default::default()
        })
        .await?;
    session.listen_for(A_WHILE).await?;
    session.finish(Abort, branch).await?;
    holds_nothing(&mut session, branch, "aborted").await
}

async fn frame_limit(trial: &mut Trial<'_>) -> Checked {
    const FRAME_BYTES: u64 = 4096;
    const REFUSALS: usize = 200;
    let limits = v1::Limits {
        frame_bytes: FRAME_BYTES,
        window: REFUSALS as u32,
        ..crate::trial::LIMITS
    };
    let (mut session, _) = trial.session_with(limits).await?;
    let mut asked = Vec::new();
    for _ in 0..REFUSALS {
        asked.push((trial.branch(), trial.refused()?));
    }
    let prepares = asked
        .iter()
        .map(|(branch, operation)| prepare(*branch, operation))
        .collect();
    session
        .send(v1::SessionResponse {
            prepares,
            ..Default::default()
        })
        .await?;
    for (branch, _) in &asked {
        votes(&mut session, *branch, VoteKind::Refused, "--refused").await?;
    }
    Ok(())
}

/// Waits for this vote; another one says which operation to look at.
async fn votes(session: &mut Session, branch: Branch, kind: VoteKind, flag: &str) -> Checked {
    let vote = session.vote(branch).await?;
    must(vote.kind() == kind, || {
        format!("{} (is the operation of {flag} a right one?)", said(&vote))
    })
}

async fn holds_nothing(session: &mut Session, branch: Branch, what: &str) -> Checked {
    match session.fresh_scan().await?.phase(branch) {
        None | Some(v1::InDoubtPhase::Marker) => Ok(()),
        Some(phase) => wrong(format!(
            "the branch was {what}, and a scan shows it as {}",
            in_words(Some(phase))
        )),
    }
}
