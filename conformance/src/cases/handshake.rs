//! Who dials in, and what is said before anything else.

use std::time::Duration;

use handfast_proto::v1;

use crate::cases::{Case, Group};
use crate::fault::{Checked, must, wrong};
use crate::session;
use crate::trial::{LIMITS, Trial};

/// How long the coordinator keeps its welcome to itself, or refuses everybody.
const HESITATION: Duration = Duration::from_secs(2);
/// The most that a participant with patience dials in that time.
const PATIENT_DIALS: u32 = 40;

pub(super) const GROUP: Group = Group {
    name: "handshake",
    cases: &[
        Case {
            name: "hello",
            checks: "it dials in, says hello with its name, store, instance and version, and lists what is prepared",
            why: "The handshake is recovery: without it nothing that was promised before a crash is ever finished.",
            rule: "1-say-hello-first",
            faults: &[22],
            run: |trial| Box::pin(hello(trial)),
        },
        Case {
            name: "store-outlives-process",
            checks: "after kill -9 it is the same store, of no lower generation, and another instance",
            why: "A store that changes its name with each start can acknowledge what another store has promised; the \
                  coordinator refuses it, and its branches stay in doubt.",
            rule: "2-a-store-has-one-name-for-ever",
            faults: &[32, 69],
            run: |trial| Box::pin(store_outlives_process(trial)),
        },
        Case {
            name: "instance-outlives-session",
            checks: "when the session is lost the same process dials again, as the same instance of the same store",
            why: "A branch is pinned to the instance that it was sent to.",
            rule: "2-a-store-has-one-name-for-ever",
            faults: &[],
            run: |trial| Box::pin(instance_outlives_session(trial)),
        },
        Case {
            name: "waits-for-welcome",
            checks: "before the welcome it says nothing but hello and its scan, and it waits for a slow one",
            why: "A coordinator that has just started reads its log before it answers; whoever hangs up meanwhile never gets in.",
            rule: "1-say-hello-first",
            faults: &[11],
            run: |trial| Box::pin(waits_for_welcome(trial)),
        },
        Case {
            name: "no-welcome",
            checks: "when no welcome comes at all it gives the session up and dials again",
            why: "A half-open connection brings no error. Whoever waits for ever keeps its locks for ever.",
            rule: "9-be-heard-and-listen",
            faults: &[51],
            run: |trial| Box::pin(no_welcome(trial)),
        },
        Case {
            name: "patience",
            checks: "refused again and again it dials again, with waits between",
            why: "A coordinator that comes back must not be run over by those who waited for it.",
            rule: "9-be-heard-and-listen",
            faults: &[],
            run: |trial| Box::pin(patience(trial)),
        },
        Case {
            name: "work-with-welcome",
            checks: "a welcome that carries a prepare in the same frame is answered with a vote",
            why: "Frames carry whatever has gathered. What is overlooked there aborts for no reason.",
            rule: "1-say-hello-first",
            faults: &[],
            run: |trial| Box::pin(work_with_welcome(trial)),
        },
    ],
};

async fn hello(trial: &mut Trial<'_>) -> Checked {
    let (session, _) = trial.session().await?;
    must(session.hello.store_id.iter().any(|byte| *byte != 0), || {
        "hello.store_id is all zeros; it is made once, at random, in the store itself".to_owned()
    })
}

async fn store_outlives_process(trial: &mut Trial<'_>) -> Checked {
    let (first, _) = trial.session().await?;
    let (second, _) = trial.restarted().await?;
    let (first, second) = (&first.hello, &second.hello);
    must(first.store_id == second.store_id, || {
        "hello.store_id is another one after a restart".to_owned()
    })?;
    must(first.generation <= second.generation, || {
        let (first, second) = (first.generation, second.generation);
        format!("hello.generation fell from {first} to {second}")
    })?;
    must(first.instance_id != second.instance_id, || {
        "hello.instance_id is the same after a restart; each process makes a new one".to_owned()
    })
}

async fn instance_outlives_session(trial: &mut Trial<'_>) -> Checked {
    let (first, _) = trial.session().await?;
    let hello = first.hello.clone();
    drop(first);
    let (second, _) = trial.session().await?;
    must(second.hello.instance_id == hello.instance_id, || {
        "hello.instance_id changed although the process lives".to_owned()
    })?;
    must(second.hello.store_id == hello.store_id, || {
        "hello.store_id changed although the process lives".to_owned()
    })
}

async fn waits_for_welcome(trial: &mut Trial<'_>) -> Checked {
    let mut session = trial.arrive().await?;
    if let Some(how) = session.end(HESITATION).await {
        return wrong(format!(
            "it did not wait {} s for a welcome: {how}",
            HESITATION.as_secs()
        ));
    }
    trial.welcome(&mut session, LIMITS).await?;
    session.scan().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(v1::DecisionKind::Abort, branch).await
}

async fn no_welcome(trial: &mut Trial<'_>) -> Checked {
    let silent = trial.arrive().await?;
    // It dials again while the first session is still open on our side.
    trial.session().await?;
    drop(silent);
    Ok(())
}

async fn patience(trial: &mut Trial<'_>) -> Checked {
    let (session, _) = trial.session().await?;
    trial.coordinator.shut_door();
    drop(session);
    tokio::time::sleep(HESITATION).await;
    let dials = trial.coordinator.open_door();
    must(dials <= PATIENT_DIALS, || {
        format!(
            "it dialed {dials} times in {} s; wait between, longer each time",
            HESITATION.as_secs()
        )
    })?;
    trial.session().await.map(|_| ())
}

async fn work_with_welcome(trial: &mut Trial<'_>) -> Checked {
    let mut session = trial.arrive().await?;
    let (branch, operation) = (trial.branch(), trial.operation()?);
    let frame = v1::SessionResponse {
        prepares: vec![session::prepare(branch, &operation)],
        ..Default::default()
    };
    trial.welcome_with(&mut session, LIMITS, frame).await?;
    session.prepared(branch).await?;
    session.finish(v1::DecisionKind::Commit, branch).await
}
