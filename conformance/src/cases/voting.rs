//! Answers to a prepare.

use handfast_proto::v1::DecisionKind::{Abort, Commit};

use crate::cases::{Case, Group};
use crate::fault::Checked;
use crate::trial::Trial;

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
