//! What a participant remembers of coordinators, and coordinators that lie about themselves.

use handfast_ids::LogId;
use handfast_proto::v1::DecisionKind::Commit;
use handfast_proto::v1::{self, AckKind};

use crate::branch::{Branch, random_log};
use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::session::Standing;
use crate::trial::Trial;

/// How far a log moves between two steps of a case.
const STEP: u64 = 500;

pub(super) const GROUP: Group = Group {
    name: "epochs",
    cases: &[
        Case {
            name: "seen",
            checks: "after a branch and kill -9, hello shows the log, the epoch and the position that it was told",
            why: "It is the witness: a coordinator on an old copy of its log is noticed by nobody else, and would undo commits.",
            rule: "13-remember-what-you-were-told",
            faults: &[18, 65],
            run: |trial| Box::pin(seen(trial)),
        },
        Case {
            name: "seen-grows",
            checks: "a coordinator that restarts with a higher epoch is remembered with it",
            why: "The epoch tells a stale process from its successor.",
            rule: "13-remember-what-you-were-told",
            faults: &[52, 64],
            run: |trial| Box::pin(seen_grows(trial)),
        },
        Case {
            name: "seen-never-shrinks",
            checks: "a coordinator that comes with a lower epoch and an older log does not make it forget the higher one",
            why: "This is the old copy. The hello that shows the higher position is what stops it.",
            rule: "13-remember-what-you-were-told",
            faults: &[18, 65],
            run: |trial| Box::pin(seen_never_shrinks(trial)),
        },
        Case {
            name: "another-log",
            checks: "a coordinator of another log sees the branch with its own log's id, and cannot end it",
            why: "Ids of two logs can be the same. Whose branch it is decides who may end it.",
            rule: "12-a-branch-belongs-to-a-log",
            faults: &[57, 64],
            run: |trial| Box::pin(another_log(trial)),
        },
    ],
};

async fn seen(trial: &mut Trial<'_>) -> Checked {
    let told = advance(trial, 0);
    work(trial).await?;
    shows(trial, told).await
}

async fn seen_grows(trial: &mut Trial<'_>) -> Checked {
    let before = advance(trial, 0);
    work(trial).await?;
    shows(trial, before).await?;
    let after = advance(trial, 1);
    work(trial).await?;
    shows(trial, after).await
}

async fn seen_never_shrinks(trial: &mut Trial<'_>) -> Checked {
    let high = advance(trial, 2);
    work(trial).await?;
    trial.standing = Standing {
        epoch: high.epoch - 1,
        lsn: high.lsn - STEP,
        ..high
    };
    let lied = work(trial).await;
    trial.standing = high;
    // A participant may also refuse to work for a coordinator that it knows to be stale.
    let _ = lied;
    shows(trial, high).await
}

async fn another_log(trial: &mut Trial<'_>) -> Checked {
    let own = trial.standing;
    let (mut session, _) = trial.session().await?;
    let branch = trial.prepared(&mut session).await?;
    drop(session);
    trial.standing = Standing {
        log: random_log(),
        epoch: 1,
        lsn: 1,
    };
    let meddled = meddle(trial, branch).await;
    trial.standing = own;
    meddled?;
    let (mut session, scan) = trial.restarted().await?;
    must(scan.holds(branch), || {
        format!(
            "a coordinator of another log has come and gone, and the scan says {} of the branch",
            scan.says(branch)
        )
    })?;
    session.finish(Commit, branch).await
}

/// Says commit for the same transaction, as a coordinator that does not own it.
async fn meddle(trial: &mut Trial<'_>, branch: Branch) -> Checked {
    let (mut session, scan) = trial.session().await?;
    must(scan.holds(branch), || {
        format!(
            "to a coordinator of another log the scan says {} of the branch of log {}",
            scan.says(branch),
            branch.log
        )
    })?;
    session.answer(v1::AnswerKind::NotMine.into(), branch).await?;
    let same_id = Branch {
        log: trial.standing.log,
        ..branch
    };
    session.decide(Commit, same_id).await?;
    let ack = session.ack(Commit, same_id).await?;
    must(ack.kind() != AckKind::Done, || {
        "a coordinator of another log said commit for the same transaction id, and it was done".to_owned()
    })?;
    must(session.fresh_scan().await?.holds(branch), || {
        "a coordinator of another log has ended the branch".to_owned()
    })
}

/// The coordinator's log moves on, and perhaps its epoch.
fn advance(trial: &mut Trial<'_>, epochs: u32) -> Standing {
    trial.standing.epoch += epochs;
    trial.standing.lsn += STEP;
    trial.standing
}

/// A session that brings something to write, and then kill -9.
async fn work(trial: &mut Trial<'_>) -> Checked {
    let (mut session, _) = trial.restarted().await?;
    let branch = trial.prepared(&mut session).await?;
    session.finish(Commit, branch).await?;
    trial.kill().await
}

/// Hello shows at least this.
async fn shows(trial: &mut Trial<'_>, told: Standing) -> Checked {
    trial.kill().await?;
    let session = trial.arrive().await?;
    let of_log = |seen: &&v1::Seen| LogId::from_slice(&seen.log_id) == Some(told.log);
    let shown = session
        .hello
        .seen
        .iter()
        .filter(of_log)
        .map(|seen| (seen.epoch, seen.lsn))
        .max();
    must(shown.is_some_and(|shown| shown >= (told.epoch, told.lsn)), || {
        let shown = shown.map_or("nothing".to_owned(), |(epoch, lsn)| {
            format!("epoch {epoch} and lsn {lsn}")
        });
        let Standing { epoch, lsn, .. } = told;
        format!("it was told epoch {epoch} and lsn {lsn}, and its hello shows {shown} of this log")
    })
}
