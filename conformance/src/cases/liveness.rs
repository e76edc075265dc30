//! Being heard, and noticing that nobody speaks.

use std::time::Duration;

use handfast_proto::v1;
use handfast_proto::v1::DecisionKind::Commit;
use tokio::time::Instant;

use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::trial::{LIMITS, Trial};

/// The heartbeat of these cases.
const HEARTBEAT: Duration = Duration::from_millis(1_000);
/// After how many silent heartbeats a peer is gone.
const SILENT_HEARTBEATS: u32 = 3;
/// What a busy machine may add.
const LENIENCE: Duration = Duration::from_millis(1_000);

const QUICK: v1::Limits = v1::Limits {
    heartbeat_ms: HEARTBEAT.as_millis() as u64,
    // Scans are frames too, and would hide a missing heartbeat.
    scan_period_ms: 60_000,
    ..LIMITS
};

pub(super) const GROUP: Group = Group {
    name: "liveness",
    cases: &[
        Case {
            name: "heartbeat",
            checks: "it sends a frame within every heartbeat, an empty one if there is nothing to say",
            why: "A participant that is not heard is taken for dead, and its transactions abort.",
            rule: "9-be-heard-and-listen",
            faults: &[51],
            run: |trial| Box::pin(heartbeat(trial)),
        },
        Case {
            name: "silent-coordinator",
            checks: "a coordinator that says nothing for thrice the heartbeat is given up; it dials again and keeps its promise",
            why: "A half-open connection brings no error. The decision waits at a coordinator that can be reached.",
            rule: "9-be-heard-and-listen",
            faults: &[51],
            run: |trial| Box::pin(silent_coordinator(trial)),
        },
        Case {
            name: "frozen-connection",
            checks: "the same when not a byte passes any more, in either direction",
            why: "A dead switch looks like this: no error, no end, nothing.",
            rule: "9-be-heard-and-listen",
            faults: &[47, 51],
            run: |trial| Box::pin(frozen_connection(trial)),
        },
        Case {
            name: "patient-listener",
            checks: "a coordinator that beats, and says nothing else, is not given up",
            why: "A session that is torn down for nothing dooms the work on it.",
            rule: "9-be-heard-and-listen",
            faults: &[],
            run: |trial| Box::pin(patient_listener(trial)),
        },
    ],
};

async fn heartbeat(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session_with(QUICK).await?;
    session.heard_at.clear();
    let began_at = Instant::now();
    session.listen_for(HEARTBEAT * 4).await?;
    let mut moments = vec![began_at];
    moments.extend(session.heard_at.iter().filter(|at| **at > began_at));
    moments.push(Instant::now());
    let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap_or_default();
    must(longest <= HEARTBEAT + LENIENCE, || {
        format!(
            "for {} ms nothing was heard; the heartbeat is {} ms",
            longest.as_millis(),
            HEARTBEAT.as_millis()
        )
    })
}

async fn silent_coordinator(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session_with(QUICK).await?;
    let branch = trial.prepared(&mut session).await?;
    session.fall_silent();
    let early = session.end(HEARTBEAT).await;
    must(early.is_none(), || {
        "it gave the coordinator up within one heartbeat".to_owned()
    })?;
    let (mut next, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        "it gave a silent coordinator up, and the promise with it".to_owned()
    })?;
    next.finish(Commit, branch).await
}

async fn frozen_connection(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session_with(QUICK).await?;
    let branch = trial.prepared(&mut session).await?;
    trial.coordinator.link.freeze();
    // Long enough for it to notice. What it dials meanwhile hangs too, and comes through afterwards or is given up as well.
    tokio::time::sleep(HEARTBEAT * SILENT_HEARTBEATS + LENIENCE).await;
    trial.coordinator.link.cut();
    trial.coordinator.link.thaw();
    let (mut next, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        "its connection hung, and the promise is gone".to_owned()
    })?;
    next.finish(Commit, branch).await
}

async fn patient_listener(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.session_with(QUICK).await?;
    let end = session.end(HEARTBEAT * (SILENT_HEARTBEATS + 1)).await;
    must(end.is_none(), || {
        format!(
            "it gave up a coordinator that was heard all the time: {}",
            end.unwrap_or_default()
        )
    })?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await
}
