//! A promise outlives sessions, silence, and answers that are no decision.

use std::time::Duration;

use handfast_proto::v1::AnswerKind::{Finished, Forgotten, NotMine, Wait};
use handfast_proto::v1::DecisionKind::{Abort, Commit};
use handfast_proto::v1::{self, AnswerKind, DecisionKind, VoteKind};

use crate::branch::Branch;
use crate::cases::{Case, Group};
use crate::fault::{Checked, must, wrong};
use crate::session::{Session, decision, in_words, plain};
use crate::trial::{LIMITS, SCAN_PERIOD, Trial};

/// How long something that must not come is waited for.
const A_WHILE: Duration = Duration::from_millis(500);
/// An answer that no version of the protocol has.
const UNKNOWN_ANSWER: i32 = 99;
/// Scans through which a branch is left without an answer.
const SILENT_SCANS: usize = 5;

pub(super) const GROUP: Group = Group {
    name: "waiting",
    cases: &[
        Case {
            name: "session-lost",
            checks: "when its session ends, it dials again and shows the branch as prepared: nothing is aborted by itself",
            why: "The coordinator may have decided to commit a moment ago. Whoever aborts by himself undoes half of it.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[22, 47],
            run: |trial| Box::pin(session_lost(trial, Loss::Ended)),
        },
        Case {
            name: "connection-cut",
            checks: "the same when the connection is cut",
            why: "A cut connection says nothing about the decision.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[47],
            run: |trial| Box::pin(session_lost(trial, Loss::Cut)),
        },
        Case {
            name: "coordinator-goodbye",
            checks: "the same when the coordinator says goodbye",
            why: "Coordinators are restarted and replaced; promises stay.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[],
            run: |trial| Box::pin(session_lost(trial, Loss::Goodbye)),
        },
        Case {
            name: "coordinator-away",
            checks: "the same when nobody can be reached for a while",
            why: "In doubt means waiting, for as long as it takes.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[47],
            run: |trial| Box::pin(session_lost(trial, Loss::Away)),
        },
        Case {
            name: "killed-while-away",
            checks: "killed and started while nobody can be reached, it keeps dialing and keeps its promise",
            why: "A power cut takes both; who is up first has to wait for the other.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[22],
            run: |trial| Box::pin(killed_while_away(trial)),
        },
        Case {
            name: "process-stands-still",
            checks: "stopped for a while (SIGSTOP) and given up meanwhile, it dials again and keeps its promise",
            why: "Machines pause: snapshots, swapping, debuggers. The process does not know that time has passed.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[55],
            run: |trial| Box::pin(process_stands_still(trial)),
        },
        Case {
            name: "work-of-a-lost-session",
            checks: "work of a lost session is not voted for on the next one, and its abort leaves nothing",
            why: "The coordinator has aborted it. A vote that belongs to an older session is an answer to nothing.",
            rule: "11-a-lost-session-ends-its-work",
            faults: &[68, 73],
            run: |trial| Box::pin(work_of_a_lost_session(trial)),
        },
        Case {
            name: "no-answer",
            checks: "a branch that gets no answer through several scans stays prepared",
            why: "Silence is not a decision.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[11, 66],
            run: |trial| Box::pin(no_answer(trial)),
        },
        Case {
            name: "answer-wait",
            checks: "the answer wait keeps the branch",
            why: "The others are still being asked.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[11],
            run: |trial| Box::pin(answered(trial, Wait as i32)),
        },
        Case {
            name: "answer-not-mine",
            checks: "the answer not-mine keeps the branch",
            why: "Only the coordinator that owns the transaction knows how it ends.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[64],
            run: |trial| Box::pin(answered(trial, NotMine as i32)),
        },
        Case {
            name: "answer-finished",
            checks: "the answer finished keeps the branch for an operator, also over a restart",
            why: "Its commit has ended long ago, so this store has lost what it once acknowledged. Rolling it back undoes half.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[33, 63],
            run: |trial| Box::pin(answered(trial, Finished as i32)),
        },
        Case {
            name: "answer-forgotten",
            checks: "the answer forgotten keeps the branch for an operator, also over a restart",
            why: "Nobody knows any more how it ended; a guess is wrong half of the time.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[33],
            run: |trial| Box::pin(answered(trial, Forgotten as i32)),
        },
        Case {
            name: "answer-unknown",
            checks: "an answer of a kind that it does not know keeps the branch",
            why: "A later version may have more kinds; none of them is a decision.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[62],
            run: |trial| Box::pin(answered(trial, UNKNOWN_ANSWER)),
        },
        Case {
            name: "decision-at-handshake",
            checks: "a commit right behind the welcome, and the same again, are carried out once",
            why: "The coordinator sends what is decided as soon as somebody dials in, and answers the scan with it as well.",
            rule: "1-say-hello-first",
            faults: &[7, 22],
            run: |trial| Box::pin(decision_at_handshake(trial)),
        },
    ],
};

/// How a session is lost.
#[derive(Clone, Copy)]
enum Loss {
    Ended,
    Cut,
    Goodbye,
    Away,
}

async fn session_lost(trial: &mut Trial<'_>, loss: Loss) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    match loss {
        Loss::Ended => drop(session),
        Loss::Cut => trial.coordinator.link.cut(),
        Loss::Goodbye => session.say_goodbye("DRAINING").await?,
        Loss::Away => {
            trial.coordinator.link.close().await;
            tokio::time::sleep(A_WHILE).await;
            trial.be_reachable().await?;
        }
    }
    let (mut session, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        format!(
            "it voted prepared, lost its session, and its scan now says {} of the branch",
            scan.says(branch)
        )
    })?;
    stays(&mut session, branch, "after the session was lost").await?;
    session.finish(Commit, branch).await
}

async fn killed_while_away(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    trial.coordinator.link.close().await;
    trial.kill().await?;
    trial.start()?;
    tokio::time::sleep(2 * A_WHILE).await;
    trial.be_reachable().await?;
    let (mut session, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        format!(
            "it was started while nobody could be reached, and its scan now says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(Commit, branch).await
}

async fn process_stands_still(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    trial.freeze_process(true);
    drop(session);
    tokio::time::sleep(A_WHILE).await;
    trial.freeze_process(false);
    let (mut session, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        format!(
            "it was stopped for a while, and its scan now says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(Commit, branch).await
}

async fn work_of_a_lost_session(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    session.prepare(branch, &operation).await?;
    trial.coordinator.link.cut();
    drop(session);
    let (mut session, _) = trial.session().await?;
    // A vote here is told by the rule that holds on every session: nobody votes unasked.
    session.listen_for(A_WHILE).await?;
    session.finish(Abort, branch).await?;
    let scan = session.fresh_scan().await?;
    must(
        scan.phase(branch)
            .is_none_or(|phase| phase == v1::InDoubtPhase::Marker),
        || "work of a lost session was aborted, and it is still there".to_owned(),
    )?;
    session.prepare(branch, &operation).await?;
    let vote = session.vote(branch).await?;
    must(vote.kind() != VoteKind::Prepared, || {
        "the aborted work of a lost session is promised when it is asked for again".to_owned()
    })
}

async fn no_answer(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    for _ in 0..SILENT_SCANS {
        stays(&mut session, branch, "without an answer").await?;
    }
    session.finish(Commit, branch).await
}

async fn answered(trial: &mut Trial<'_>, kind: i32) -> Checked {
    let name = AnswerKind::try_from(kind).map_or("of an unknown kind".to_owned(), |kind| {
        plain(kind.as_str_name(), "ANSWER_KIND_")
    });
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.answer(kind, branch).await?;
    stays(&mut session, branch, &name).await?;
    // Answered again, as it is after every scan.
    session.answer(kind, branch).await?;
    stays(&mut session, branch, &name).await?;
    let (mut session, scan) = trial.restarted().await?;
    must(scan.holds(branch), || {
        format!("the branch was answered {name}, and is gone after a restart")
    })?;
    session.answer(kind, branch).await?;
    stays(&mut session, branch, &name).await?;
    let decision: DecisionKind = if kind == Wait as i32 { Commit } else { Abort };
    session.finish(decision, branch).await
}

async fn decision_at_handshake(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    trial.kill().await?;
    drop(session);
    let mut session = trial.arrive().await?;
    let frame = v1::SessionResponse {
        decisions: vec![decision(Commit, branch)],
        ..Default::default()
    };
    trial.welcome_with(&mut session, LIMITS, frame).await?;
    session.decide(Commit, branch).await?;
    session.done(Commit, branch).await?;
    session.finish(Commit, branch).await
}

/// The branch is prepared in a scan that began after now.
async fn stays(session: &mut Session, branch: Branch, answered: &str) -> Checked {
    session.listen_for(SCAN_PERIOD).await?;
    match session.fresh_scan().await?.phase(branch) {
        Some(v1::InDoubtPhase::Prepared) => Ok(()),
        phase => wrong(format!(
            "the branch was promised, then {answered}, and a scan now says {} of it",
            in_words(phase)
        )),
    }
}
