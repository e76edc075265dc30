//! Scans, markers, and when they may go.

use std::time::Duration;

use handfast_proto::v1;
use handfast_proto::v1::DecisionKind::{Abort, Commit};

use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::trial::{LIMITS, Trial};

/// Scans that are waited for.
const SCANS: usize = 5;
/// How often markers are let go before they must be gone.
const FORGETS: usize = 20;

pub(super) const GROUP: Group = Group {
    name: "forgetting",
    cases: &[
        Case {
            name: "scan-repeats",
            checks: "the scan is repeated every scan period, each ends with the complete flag and shows the branch",
            why: "Late prepares and orphans are found by scans alone. A promise that no scan shows is held for ever.",
            rule: "9-be-heard-and-listen",
            faults: &[56, 58],
            run: |trial| Box::pin(scan_repeats(trial)),
        },
        Case {
            name: "scan-tells-the-log",
            checks: "a line of a scan names the log of the coordinator that the branch belongs to",
            why: "Two coordinators may share a store. Without the log each takes the other's branches for orphans.",
            rule: "12-a-branch-belongs-to-a-log",
            faults: &[57, 64],
            run: |trial| Box::pin(scan_tells_the_log(trial)),
        },
        Case {
            name: "forget-lets-go",
            checks: "after forget the marker goes, and scans no longer show it",
            why: "Markers that stay for ever fill the store and every scan.",
            rule: "10-forget-only-when-told",
            faults: &[72],
            run: |trial| Box::pin(forget_lets_go(trial)),
        },
        Case {
            name: "forget-of-nothing",
            checks: "forget for a branch that it does not know harms nobody",
            why: "Forget is repeated like everything else.",
            rule: "10-forget-only-when-told",
            faults: &[],
            run: |trial| Box::pin(forget_of_nothing(trial)),
        },
        Case {
            name: "forget-of-a-promise",
            checks: "forget for a branch that is prepared does not end the promise",
            why: "Forget speaks of markers. A promise ends by a decision and by nothing else.",
            rule: "10-forget-only-when-told",
            faults: &[],
            run: |trial| Box::pin(forget_of_a_promise(trial)),
        },
    ],
};

async fn scan_repeats(trial: &mut Trial<'_>) -> Checked {
    const PERIOD: Duration = Duration::from_millis(200);
    let limits = v1::Limits {
        scan_period_ms: PERIOD.as_millis() as u64,
        ..LIMITS
    };
    let (mut session, _) = trial.session_with(limits).await?;
    let branch = trial.prepared(&mut session).await?;
    session.fresh_scan().await?;
    for _ in 0..SCANS {
        let scan = session.scan().await?;
        must(scan.holds(branch), || {
            format!("a scan says {} of a prepared branch", scan.says(branch))
        })?;
    }
    session.finish(Commit, branch).await
}

async fn scan_tells_the_log(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    let scan = session.fresh_scan().await?;
    let is_it = |line: &&crate::session::Line| line.branch.transaction == branch.transaction;
    let shown = scan.lines.iter().find(is_it).map(|line| line.branch.log);
    must(shown == Some(branch.log), || {
        let shown = shown.map_or("does not show it".to_owned(), |log| format!("says {log}"));
        format!("the branch belongs to log {}, and the scan {shown}", branch.log)
    })?;
    session.finish(Abort, branch).await
}

async fn forget_lets_go(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let committed = trial.prepared(&mut session).await?;
    session.finish(Commit, committed).await?;
    let aborted = trial.prepared(&mut session).await?;
    session.finish(Abort, aborted).await?;
    let mut shown = None;
    for _ in 0..FORGETS {
        session.forget(&[committed, aborted]).await?;
        let scan = session.fresh_scan().await?;
        shown = [committed, aborted]
            .into_iter()
            .find(|branch| scan.phase(*branch).is_some());
        if shown.is_none() {
            break;
        }
    }
    must(shown.is_none(), || {
        format!("told {FORGETS} times to forget its branches, it still shows a marker")
    })
}

async fn forget_of_nothing(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let nothing = trial.branch();
    session.forget(&[nothing, nothing]).await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await
}

async fn forget_of_a_promise(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    session.forget(&[branch]).await?;
    let scan = session.fresh_scan().await?;
    must(scan.holds(branch), || "forget has ended a promise".to_owned())?;
    let (mut session, scan) = trial.restarted().await?;
    must(scan.holds(branch), || {
        "after forget and a restart the promise is gone".to_owned()
    })?;
    session.finish(Commit, branch).await
}
