//! A resource with prepared transactions of its own: concurrency, cancellation, deadlines, interactive branches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use handfast_participant::ids::BranchId;
use handfast_participant::participant::{EnlistError, Handle, SessionOptions};
use handfast_participant::proto::v1::{
    AckKind, DecisionKind, EnlistResult, InDoubtPhase, Limits, Prepare, SessionResponse, VoteKind,
};
use handfast_participant::{BranchKey, EnlistedBranch, Participant, ParticipantError};
use tokio::task::JoinHandle;

use crate::fake::{Fake, id, soon, transaction};
use crate::native_store::Store;

/// How many prepares run at once.
const PREPARES: usize = 3;

fn start(fake: &Fake) -> (Arc<Store>, Handle, JoinHandle<Result<(), ParticipantError>>) {
    let store = Arc::new(Store::default());
    let options = SessionOptions {
        backoff_first: Duration::from_millis(5),
        ..SessionOptions::default()
    };
    let participant = Participant::builder("orders-db", [&fake.address])
        .unwrap()
        .session_options(options)
        .concurrency(PREPARES, 2)
        .resource(store.clone());
    let handle = participant.handle();
    (
        store,
        handle,
        tokio::spawn(participant.run(std::future::pending())),
    )
}

fn operation(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn prepares_run_at_once_within_their_bound_and_hung_ones_block_no_decision() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([100], &operation("work")).await;
    assert_eq!(session.vote(100).await.kind(), VoteKind::Prepared);
    session.prepare(0..10, &operation("hang")).await;
    assert_eq!(session.commit(100).await, AckKind::Done);
    // Aborts make room, and whatever was cancelled has stopped.
    session.decide(DecisionKind::Abort, 0..10).await;
    let mut aborted = BTreeSet::new();
    for number in 0..10 {
        aborted.insert(session.ack(number).await);
    }
    assert_eq!(aborted, BTreeSet::from([AckKind::Done]));
    assert_eq!(store.most_running.load(Ordering::SeqCst), PREPARES);
    session.prepare([101], &operation("work")).await;
    assert_eq!(session.vote(101).await.kind(), VoteKind::Prepared);
    assert_eq!(store.running.load(Ordering::SeqCst), 0);
    task.abort();
}

#[tokio::test]
async fn a_repeated_prepare_runs_once_whether_it_comes_during_or_after() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1, 1, 1], &operation("later")).await;
    // A later frame was taken in, so the repeats were.
    session.prepare([2], &operation("work")).await;
    assert_eq!(session.vote(2).await.kind(), VoteKind::Prepared);
    store.later.notify_one();
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    session.prepare([1], &operation("later")).await;
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    assert_eq!(store.prepares.load(Ordering::SeqCst), 2);
    assert_eq!(session.abort(1).await, AckKind::Done);
    session.prepare([1], &operation("work")).await;
    assert_eq!(
        session.vote(1).await.kind(),
        VoteKind::Refused,
        "late work is fenced off"
    );
    task.abort();
}

#[tokio::test]
async fn a_prepare_past_its_deadline_is_dropped_without_a_vote() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    let prepare = Prepare {
        transaction_id: id(1),
        operation: Some(operation("hang")),
        timeout_ms: 20,
        ..Default::default()
    };
    session
        .send(SessionResponse {
            prepares: vec![prepare; 1],
            ..Default::default()
        })
        .await;
    // It held a place; once it is dropped, as many as may run do.
    session.prepare(2..2 + PREPARES as u32, &operation("hang")).await;
    while store.prepares.load(Ordering::SeqCst) < 1 + PREPARES {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.abort(1).await, AckKind::Done);
    assert!(session.votes_by_frame.is_empty());
    task.abort();
}

#[tokio::test]
async fn a_prepare_that_may_hold_gets_no_vote_and_is_ended_by_its_abort() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &operation("unknown")).await;
    while store.prepared.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.abort(1).await, AckKind::Done);
    session.prepare([2], &operation("work")).await;
    assert_eq!(session.vote(2).await.kind(), VoteKind::Prepared);
    assert_eq!(session.votes_by_frame, [1], "the other one had none");
    assert!(
        !store
            .prepared
            .lock()
            .unwrap()
            .iter()
            .any(|branch| branch.transaction == transaction(1))
    );
    task.abort();
}

#[tokio::test]
async fn the_time_of_a_prepare_runs_while_it_waits_for_its_turn() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    let prepare = |number| Prepare {
        transaction_id: id(number),
        operation: Some(operation("hang")),
        timeout_ms: 200,
        ..Default::default()
    };
    // In turns of their own they would hang for a hundred times as long.
    let prepares = (0..100 * PREPARES as u32).map(prepare).collect();
    session
        .send(SessionResponse {
            prepares,
            ..Default::default()
        })
        .await;
    session.prepare([1000], &operation("work")).await;
    assert_eq!(session.vote(1000).await.kind(), VoteKind::Prepared);
    assert_eq!(store.prepares.load(Ordering::SeqCst), PREPARES + 1);
    task.abort();
}

#[tokio::test]
async fn a_frame_with_an_operation_as_long_as_a_coordinator_may_allow_is_taken() {
    let fake = Fake::start().await;
    let (_store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &Bytes::from(vec![0; 33 << 20])).await;
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    task.abort();
}

#[tokio::test]
async fn the_first_frame_fits_whatever_limit_the_coordinator_has() {
    let fake = Fake::start().await;
    let store = Arc::new(Store::default());
    let branch = |number| BranchKey {
        log: crate::fake::LOG,
        transaction: transaction(number),
        branch: BranchId(0),
    };
    store.prepared.lock().unwrap().extend((0..5_000).map(branch));
    let participant = Participant::builder("orders-db", [&fake.address])
        .unwrap()
        .resource(store);
    let task = tokio::spawn(participant.run(std::future::pending()));
    let mut session = fake.accept().await;
    // A coordinator takes 64 KiB at least, and a line takes 50 bytes.
    let first = session.lines.len();
    assert!((1..=1_000).contains(&first), "{first}");
    session.welcome().await;
    assert_eq!(session.scan().await.len(), 5_000);
    task.abort();
}

#[tokio::test]
async fn a_decision_that_fails_is_not_acknowledged_and_succeeds_when_it_comes_again() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1, 2], &operation("work")).await;
    session.vote(1).await;
    session.vote(2).await;
    store.fails_to_finish.store(1, Ordering::SeqCst);
    session.decide(DecisionKind::Commit, [1]).await;
    while store.fails_to_finish.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        session.commit(2).await,
        AckKind::Done,
        "no answer about 1 came before"
    );
    assert_eq!(session.commit(1).await, AckKind::Done);
    task.abort();
}

#[tokio::test]
async fn a_store_that_is_another_one_is_opened_again_before_anything_else_is_asked_of_it() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &operation("work")).await;
    session.vote(1).await;
    let opened = store.opened.load(Ordering::SeqCst);
    store.is_another_store.store(true, Ordering::SeqCst);
    session.decide(DecisionKind::Commit, [1]).await;
    let mut session = fake.accept().await;
    assert_eq!(store.opened.load(Ordering::SeqCst), opened + 1);
    session.welcome().await;
    assert_eq!(session.commit(1).await, AckKind::Done);
    task.abort();
}

#[tokio::test]
async fn scans_that_fail_say_nothing_and_are_counted_until_one_is_complete() {
    let fake = Fake::start().await;
    let (store, handle, task) = start(&fake);
    let limits = Limits {
        frame_bytes: 1 << 20,
        heartbeat_ms: 60_000,
        scan_period_ms: 5,
        window: 10,
    };
    let mut session = fake.accept().await;
    session.scan().await;
    session.welcome_with(limits).await;
    session.prepare([1], &operation("work")).await;
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    let failed = || handle.counters().failed_scans.load(Ordering::Relaxed);
    let shown = || handle.counters().prepared.load(Ordering::Relaxed);
    soon("the promise to be scanned", async {
        while shown() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(failed(), 0);
    store.is_away.store(true, Ordering::SeqCst);
    soon("scans to fail", async {
        while failed() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(shown(), 1, "what the last complete one showed");
    store.is_away.store(false, Ordering::SeqCst);
    soon("a complete scan", async {
        while failed() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(session.commit(1).await, AckKind::Done, "in the same session");
    task.abort();
}

#[tokio::test]
async fn branches_that_are_forgotten_gather_for_a_call() {
    const BRANCHES: u32 = 50;
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    // Each is forgotten in a turn of its own, because the next one is answered in between.
    for number in 1..=BRANCHES {
        session.prepare([number], &operation("work")).await;
        session.vote(number).await;
        assert_eq!(session.commit(number).await, AckKind::Done);
        session.forget(number).await;
    }
    soon("all markers to go", async {
        while !store.ended.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let calls = store.forget_calls.load(Ordering::SeqCst);
    assert!(
        calls <= BRANCHES as usize / 5,
        "{calls} calls for {BRANCHES} branches"
    );
    task.abort();
}

#[tokio::test]
async fn a_marker_stays_until_a_repeated_commit_has_found_it() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &operation("work")).await;
    session.vote(1).await;
    assert_eq!(session.commit(1).await, AckKind::Done);
    let gate = store.gate.lock().await;
    session.decide(DecisionKind::Commit, [1]).await;
    soon("the commit that comes again", async {
        while store.at_the_gate.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    session.forget(1).await;
    // The vote shows that the frame before it was taken in, too.
    session.prepare([2], &operation("work")).await;
    session.vote(2).await;
    drop(gate);
    assert_eq!(session.ack(1).await, AckKind::Done);
    soon("the marker's end", async {
        while !store.ended.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    task.abort();
}

#[tokio::test]
async fn a_lost_session_cancels_work_and_the_next_hello_shows_what_is_prepared() {
    let fake = Fake::start().await;
    let (store, _handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &operation("work")).await;
    session.vote(1).await;
    session.prepare([2], &operation("hang")).await;
    while store.running.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(session);
    let mut session = fake.accept().await;
    assert_eq!(
        store.running.load(Ordering::SeqCst),
        0,
        "work is cancelled before hello"
    );
    assert_eq!(session.scan().await, [(1, InDoubtPhase::Prepared)]);
    session.welcome().await;
    assert_eq!(session.commit(1).await, AckKind::Done);
    assert_eq!(session.commit(1).await, AckKind::Done);
    assert_eq!(session.commit(2).await, AckKind::Hazard);
    task.abort();
}

async fn enlist(fake_session: &mut crate::fake::Session, handle: &Handle, branch: u32) -> EnlistedBranch {
    let joining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.enlist(transaction(7)).await }
    });
    while fake_session.enlistments.is_empty() {
        assert!(fake_session.read().await);
    }
    let enlist = fake_session.enlistments.pop_front().unwrap();
    let result = EnlistResult {
        transaction_id: enlist.transaction_id,
        enlistment: enlist.enlistment,
        branch,
        ..Default::default()
    };
    fake_session
        .send(SessionResponse {
            enlistments: vec![result],
            ..Default::default()
        })
        .await;
    soon("an enlistment", joining).await.unwrap().unwrap()
}

fn interactive(branch: u32, operations: u64) -> SessionResponse {
    let prepare = Prepare {
        transaction_id: id(7),
        branch,
        operation: None,
        operations,
        timeout_ms: 5_000,
        delegated: false,
    };
    SessionResponse {
        prepares: vec![prepare],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_service_joins_works_and_is_prepared_if_the_counts_match() {
    let fake = Fake::start().await;
    let (store, handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    let right = enlist(&mut session, &handle, 0).await;
    let wrong = enlist(&mut session, &handle, 1).await;
    assert!(store.hand_over(&right, 2) && store.hand_over(&wrong, 2));
    session.send(interactive(0, 2)).await;
    assert_eq!(session.vote(7).await.kind(), VoteKind::Prepared);
    session.send(interactive(1, 3)).await;
    assert_eq!(session.vote(7).await.kind(), VoteKind::Refused);
    task.abort();
}

#[tokio::test]
async fn a_branch_dies_with_its_session_and_refusals_are_told() {
    let fake = Fake::start().await;
    let (store, handle, task) = start(&fake);
    let mut session = fake.accept().await;
    session.welcome().await;
    let mut enlisted = enlist(&mut session, &handle, 0).await;
    assert!(store.hand_over(&enlisted, 1));
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.enlist(transaction(8)).await }
    });
    while session.enlistments.is_empty() {
        assert!(session.read().await);
    }
    drop(session);
    let lost = soon("the end of the enlistment", waiting).await.unwrap();
    assert_eq!(lost.unwrap_err(), EnlistError::SessionLost);
    soon("the branch's doom", enlisted.doomed()).await;

    let mut session = fake.accept().await;
    session.welcome().await;
    assert!(
        enlisted.is_doomed() && !store.hand_over(&enlisted, 1),
        "work that comes late is not taken"
    );
    assert!(store.opened.load(Ordering::SeqCst) >= 2);
    session.send(interactive(0, 1)).await;
    assert_eq!(
        session.vote(7).await.kind(),
        VoteKind::Refused,
        "open work was rolled back"
    );

    let refused = tokio::spawn(async move { handle.enlist(transaction(9)).await });
    while session.enlistments.is_empty() {
        assert!(session.read().await);
    }
    let enlist = session.enlistments.pop_front().unwrap();
    let result = EnlistResult {
        transaction_id: enlist.transaction_id,
        enlistment: enlist.enlistment,
        refusal: "SEALED".into(),
        ..Default::default()
    };
    session
        .send(SessionResponse {
            enlistments: vec![result],
            ..Default::default()
        })
        .await;
    let refused = soon("a refusal", refused).await.unwrap();
    assert_eq!(refused.unwrap_err(), EnlistError::Refused("SEALED".into()));
    task.abort();
}
