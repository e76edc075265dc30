//! kill -9 at every step of a branch.

use std::time::Duration;

use handfast_proto::v1::DecisionKind::{Abort, Commit};
use handfast_proto::v1::{AckKind, DecisionKind};

use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::session::{answered, decision};
use crate::trial::{Trial, WINDOW};

/// How long after a message the process is killed: before it is read, amid the work, and after the sync, whatever that takes here.
pub(super) const MOMENTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(15),
    Duration::from_millis(60),
];
/// How often it is killed again while it recovers.
const RELAPSES: usize = 3;
/// How long it may take to end when it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub(super) const GROUP: Group = Group {
    name: "crashes",
    cases: &[
        Case {
            name: "kill-after-vote",
            checks: "killed right after its yes, it shows the branch as prepared and commits it",
            why: "The coordinator commits on this yes. If the crash has lost it, the others have paid and this one has not.",
            rule: "3-vote-only-what-is-durable",
            faults: &[22],
            run: |trial| Box::pin(kill_after_vote(trial, Commit)),
        },
        Case {
            name: "kill-after-vote-abort",
            checks: "killed right after its yes, it can still abort the branch",
            why: "A yes promises both: somebody else may have said no.",
            rule: "3-vote-only-what-is-durable",
            faults: &[21],
            run: |trial| Box::pin(kill_after_vote(trial, Abort)),
        },
        Case {
            name: "kill-amid-prepare",
            checks: "killed amid a prepare, it takes the abort, and nothing of the work remains",
            why: "What was half done when the process died must not block anybody, and must not happen.",
            rule: "7-an-abort-fences",
            faults: &[20, 21],
            run: |trial| Box::pin(kill_amid_prepare(trial)),
        },
        Case {
            name: "kill-amid-commit",
            checks: "killed amid a commit, it takes the repeated commit, with one effect",
            why: "The coordinator repeats the commit until it is acknowledged; the money must move once.",
            rule: "5-acknowledge-only-what-is-durable",
            faults: &[23],
            run: |trial| Box::pin(kill_amid_commit(trial)),
        },
        Case {
            name: "kill-after-ack",
            checks: "killed right after it acknowledged a commit, it no longer holds the branch, and acknowledges again",
            why: "The coordinator forgets what all have acknowledged. An effect that the crash takes back is lost for good.",
            rule: "5-acknowledge-only-what-is-durable",
            faults: &[23, 63],
            run: |trial| Box::pin(kill_after_ack(trial)),
        },
        Case {
            name: "kill-after-abort-ack",
            checks: "killed right after it acknowledged an abort, it no longer holds the branch, and acknowledges again",
            why: "What comes back after an acknowledged abort holds its locks until a scan finds it.",
            rule: "5-acknowledge-only-what-is-durable",
            faults: &[],
            run: |trial| Box::pin(kill_after_abort_ack(trial)),
        },
        Case {
            name: "kill-amid-recovery",
            checks: "killed again and again while it recovers, it keeps its promise",
            why: "A machine that crashes once often crashes again.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[9, 22],
            run: |trial| Box::pin(kill_amid_recovery(trial)),
        },
        Case {
            name: "many-in-doubt",
            checks: "killed with many branches prepared, it shows every one of them",
            why: "A branch that the list leaves out is never finished.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[60],
            run: |trial| Box::pin(many_in_doubt(trial)),
        },
        Case {
            name: "stop-in-order",
            checks: "asked to end (SIGTERM), it ends, and what it promised is still promised at the next start",
            why: "A deployment is a crash with manners: the promise outlives the process all the same.",
            rule: "8-keep-the-promise-until-you-are-told",
            faults: &[],
            run: |trial| Box::pin(stop_in_order(trial)),
        },
    ],
};

async fn kill_after_vote(trial: &mut Trial<'_>, kind: DecisionKind) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    let (mut session, scan) = trial.restarted().await?;
    must(scan.holds(branch), || {
        format!(
            "it voted prepared, was killed, and its scan now says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(kind, branch).await
}

async fn kill_amid_prepare(trial: &mut Trial<'_>) -> Checked {
    for moment in MOMENTS {
        let (mut session, _) = trial.session().await?;
        let (branch, operation) = (trial.branch(), trial.operation()?);
        session.prepare(branch, &operation).await?;
        session.listen_for(moment).await?;
        let (mut session, _) = trial.restarted().await?;
        session.finish(Abort, branch).await?;
        trial.kill().await?;
    }
    Ok(())
}

async fn kill_amid_commit(trial: &mut Trial<'_>) -> Checked {
    for moment in MOMENTS {
        let (mut session, _) = trial.session().await?;
        let branch = trial.prepared(&mut session).await?;
        session.decide(Commit, branch).await?;
        session.listen_for(moment).await?;
        let (mut session, _) = trial.restarted().await?;
        session.finish(Commit, branch).await?;
        trial.kill().await?;
    }
    Ok(())
}

async fn kill_after_ack(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await?;
    let (mut session, scan) = trial.restarted().await?;
    must(!scan.holds(branch), || {
        "it acknowledged the commit, was killed, and shows the branch as prepared again".to_owned()
    })?;
    session.finish(Commit, branch).await
}

async fn kill_after_abort_ack(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Abort, branch).await?;
    let (mut session, scan) = trial.restarted().await?;
    must(!scan.holds(branch), || {
        "it acknowledged the abort, was killed, and shows the branch as prepared again".to_owned()
    })?;
    session.finish(Abort, branch).await
}

async fn kill_amid_recovery(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    for moment in MOMENTS.into_iter().take(RELAPSES) {
        trial.kill().await?;
        let mut session = trial.arrive().await?;
        trial.welcome(&mut session, crate::trial::LIMITS).await?;
        session.listen_for(moment).await?;
    }
    let (mut session, scan) = trial.restarted().await?;
    must(scan.holds(branch), || {
        format!(
            "killed {RELAPSES} times while it recovered, it says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(Commit, branch).await
}

async fn many_in_doubt(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let mut branches = Vec::new();
    for _ in 0..WINDOW {
        branches.push(trial.prepared(&mut session).await?);
    }
    let (mut session, scan) = trial.restarted().await?;
    let lost: Vec<_> = branches.iter().filter(|branch| !scan.holds(**branch)).collect();
    must(lost.is_empty(), || {
        format!("{} of {WINDOW} prepared branches are not in its scan", lost.len())
    })?;
    let decisions = branches.iter().map(|branch| decision(Commit, *branch)).collect();
    session
        .send(handfast_proto::v1::SessionResponse {
            decisions,
            ..Default::default()
        })
        .await?;
    for branch in branches {
        let ack = session.ack(Commit, branch).await?;
        must(ack.kind() == AckKind::Done, || {
            format!("commit of branch {branch} was answered {}", answered(&ack))
        })?;
    }
    Ok(())
}

async fn stop_in_order(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    must(trial.stop(ENDS_WITHIN).await?, || {
        format!("it did not end within {} s of SIGTERM", ENDS_WITHIN.as_secs())
    })?;
    // A goodbye is good manners and no duty; one that is said has a reason.
    session.listen_for(Duration::ZERO).await?;
    if let Some(goodbye) = &session.goodbye {
        must(!goodbye.reason.is_empty(), || {
            "its goodbye has no reason, such as SHUTDOWN".to_owned()
        })?;
    }
    let (mut session, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        format!(
            "it was stopped in order, and its scan now says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(Commit, branch).await
}
