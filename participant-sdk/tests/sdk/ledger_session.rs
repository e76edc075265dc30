//! The ledger over a session: promises, decisions, repeats, reconnection, in-doubt branches, holding, silence, goodbye.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use handfast_participant::participant::{Handle, SessionOptions};
use handfast_participant::proto::status::{Failure, Reason};
use handfast_participant::proto::v1::{
    AckKind, AnswerKind, DecisionKind, InDoubtPhase, Limits, SessionResponse, VoteKind,
};
use handfast_participant::resources::ledger::{self, Account, Ledger, LedgerOperation, LedgerOptions};
use handfast_participant::{Participant, ParticipantError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::{Fake, LOG, soon};

/// A ledger that takes part.
struct Running {
    journal: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ParticipantError>>,
    handle: Handle,
}

impl Running {
    async fn start(directory: &Path, fake: &Fake) -> Running {
        let account = |name: &str| {
            (
                name.to_owned(),
                Account {
                    balance: 1000,
                    overdraft: false,
                },
            )
        };
        let accounts = vec![account("alice"), account("bob")];
        let ledger = Ledger::new(LedgerOptions {
            accounts,
            history: None,
        })
        .mirrored_in(directory);
        let options = SessionOptions {
            backoff_first: Duration::from_millis(5),
            // Most tests never end their side of the session.
            goodbye_timeout: Duration::from_millis(300),
            ..SessionOptions::default()
        };
        let participant = Participant::builder("ledger", [&fake.address])
            .unwrap()
            .session_options(options)
            .staged(ledger, ledger::journal_directory(directory))
            .await
            .unwrap();
        let handle = participant.handle();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(participant.run(async {
            let _ = stopped.await;
        }));
        let journal = ledger::journal_directory(directory);
        Running {
            journal,
            stop,
            task,
            handle,
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        soon("the end of the participant", self.task)
            .await
            .unwrap()
            .unwrap();
    }

    /// Ends it like a crash does: without a word, and wherever it is.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        // The thread of its disk first ends the write that is under way, as a kernel does, and then lets go of the lock.
        let freed = tokio::task::spawn_blocking(move || File::open(self.journal.join("LOCK"))?.lock());
        soon("the journal free of the killed participant", freed)
            .await
            .unwrap()
            .unwrap();
    }
}

fn transfer(amount: i64) -> Bytes {
    LedgerOperation::transfer("order", "alice", "bob", amount).encode()
}

#[tokio::test]
async fn a_single_branch_commits_at_once_and_tells_how_it_came_out_after_its_session() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    assert!(session.hello.one_phase);
    session.welcome().await;
    session.prepare_as(true, [1], &transfer(300)).await;
    assert_eq!(session.vote(1).await.kind(), VoteKind::Committed);
    session.prepare_as(true, [2], &transfer(701)).await;
    assert_eq!(session.vote(2).await.kind(), VoteKind::Refused);
    session.prepare_as(true, [1], &transfer(300)).await;
    assert_eq!(
        session.vote(1).await.kind(),
        VoteKind::Committed,
        "the same vote again"
    );
    running.kill().await;

    // Its answers may be lost: the next session shows the marker, and says what it can prove.
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    assert_eq!(session.scan().await, [(1, InDoubtPhase::Committed)]);
    session.welcome().await;
    assert_eq!(session.resolve(1).await, DecisionKind::Commit);
    assert_eq!(session.resolve(3).await, DecisionKind::Abort);
    session.prepare_as(true, [3], &transfer(100)).await;
    assert_eq!(
        session.vote(3).await.kind(),
        VoteKind::Refused,
        "it meets the fence"
    );
    session.forget(1).await;
    session.forget(3).await;
    session.prepare_as(true, [3], &transfer(100)).await;
    assert_eq!(
        session.vote(3).await.kind(),
        VoteKind::Refused,
        "also when that is gone"
    );
    running.stop().await;
    let report = ledger::inspect(directory.path()).await.unwrap();
    assert_eq!((report.balances["alice"], report.balances["bob"]), (700, 1300));
    assert_eq!((report.prepared.len(), report.markers.len()), (0, 0));
}

#[tokio::test]
async fn a_transfer_is_promised_carried_out_acknowledged_and_forgotten() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    assert_eq!(
        (session.hello.resource.as_str(), session.hello.attached),
        ("ledger", true)
    );
    assert_eq!(session.scan().await, [], "the first scan comes with hello");
    session.welcome().await;

    session.prepare([1], &transfer(300)).await;
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    assert_eq!(session.commit(1).await, AckKind::Done);
    session.prepare([2], &transfer(701)).await;
    let refused = session.vote(2).await;
    assert_eq!(
        (refused.kind(), refused.reason.as_str()),
        (VoteKind::Refused, "INSUFFICIENT_FUNDS")
    );
    assert!(refused.retryable);
    session.forget(1).await;
    // Frames are taken in order, so the forgetting is done when a later one is answered.
    assert_eq!(session.abort(3).await, AckKind::Done);
    running.stop().await;

    while session.read().await {}
    assert_eq!(session.goodbye.unwrap().reason, "SHUTDOWN");
    let report = ledger::inspect(directory.path()).await.unwrap();
    assert_eq!(
        (report.balances["alice"], report.balances["bob"], report.total),
        (700, 1300, 2000)
    );
    assert_eq!(report.applied_by_reference()["order"], 1);
    assert_eq!((report.prepared.len(), report.markers.len()), (0, 0));
}

#[tokio::test]
async fn a_frame_of_prepares_is_answered_with_one_frame_of_votes() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare(0..500, &transfer(1)).await;
    for number in 0..500 {
        assert_eq!(session.vote(number).await.kind(), VoteKind::Prepared);
    }
    assert_eq!(session.votes_by_frame, [500]);
    running.stop().await;
}

#[tokio::test]
async fn repeats_and_reordered_messages_change_nothing() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1, 1], &transfer(100)).await;
    session.prepare([1], &transfer(100)).await;
    for _ in 0..3 {
        assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    }
    session.decide(DecisionKind::Commit, [1, 1, 1]).await;
    for _ in 0..3 {
        assert_eq!(session.ack(1).await, AckKind::Done);
    }
    // The abort overtakes its prepare.
    assert_eq!(session.abort(2).await, AckKind::Done);
    session.prepare([2], &transfer(100)).await;
    assert_eq!(session.vote(2).await.kind(), VoteKind::Refused);
    // A commit of what was never promised here.
    assert_eq!(session.commit(3).await, AckKind::Hazard);
    running.stop().await;
    let report = ledger::inspect(directory.path()).await.unwrap();
    assert_eq!((report.balances["alice"], report.applied.len()), (900, 1));
}

#[tokio::test]
async fn a_killed_participant_shows_its_promises_and_what_it_has_seen_and_is_told_the_decision() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.welcome().await;
    let store = session.hello.store_id.clone();
    session.prepare([1, 2], &transfer(100)).await;
    session.vote(1).await;
    session.vote(2).await;
    running.kill().await;

    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    assert_eq!(
        session.scan().await,
        [(1, InDoubtPhase::Prepared), (2, InDoubtPhase::Prepared)]
    );
    assert_eq!(session.hello.store_id, store);
    let seen = &session.hello.seen[0];
    assert_eq!(
        (seen.log_id.as_ref(), seen.epoch, seen.lsn),
        (LOG.to_bytes().as_slice(), 1, 200)
    );
    session.welcome().await;
    assert_eq!(session.commit(1).await, AckKind::Done);
    assert_eq!(session.abort(2).await, AckKind::Done);
    running.stop().await;
    let report = ledger::inspect(directory.path()).await.unwrap();
    assert_eq!((report.balances["alice"], report.applied.len()), (900, 1));
}

#[tokio::test]
async fn after_a_lost_session_the_next_one_shows_promises_and_sends_no_old_vote() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &transfer(100)).await;
    session.vote(1).await;
    session.prepare([2], &transfer(100)).await;
    drop(session);

    let mut session = fake.accept().await;
    let lines = session.scan().await;
    assert!(lines.contains(&(1, InDoubtPhase::Prepared)), "{lines:?}");
    session.welcome().await;
    for (number, phase) in lines {
        assert_eq!(phase, InDoubtPhase::Prepared);
        assert_eq!(session.abort(number).await, AckKind::Done);
    }
    assert!(session.votes_by_frame.is_empty(), "{:?}", session.votes_by_frame);
    running.stop().await;
    assert_eq!(
        ledger::inspect(directory.path()).await.unwrap().balances["alice"],
        1000
    );
}

/// 1. A session brings a welcome of a later epoch, and nothing that the journal would write.
/// 2. It is lost, and the next one may reach the process of an earlier epoch, which wakes up late.
/// 3. Hello must tell that one that its time is over.
#[tokio::test]
async fn what_a_session_was_told_is_shown_by_the_next_one() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    assert!(session.hello.seen.is_empty());
    session.welcome().await;
    session
        .send(SessionResponse {
            durable_lsn: 777,
            ..SessionResponse::default()
        })
        .await;
    drop(session);
    let mut session = fake.accept().await;
    let seen = &session.hello.seen[0];
    assert_eq!(
        (seen.log_id.as_ref(), seen.epoch, seen.lsn),
        (LOG.to_bytes().as_slice(), 1, 777)
    );
    session.welcome().await;
    running.stop().await;
}

#[tokio::test]
async fn many_promises_are_shown_in_chunks() {
    const PROMISES: u32 = 20_001;
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.welcome().await;
    let nothing_much = LedgerOperation::post("gift", "bob", 1).encode();
    for from in (0..PROMISES).step_by(5_000) {
        session
            .prepare(from..PROMISES.min(from + 5_000), &nothing_much)
            .await;
    }
    for number in 0..PROMISES {
        session.vote(number).await;
    }
    drop(session);
    let mut session = fake.accept().await;
    assert!(
        !session.lines.is_empty() && session.scans == 0,
        "the first chunk comes with hello"
    );
    session.welcome().await;
    assert_eq!(session.scan().await.len(), PROMISES as usize);
    running.stop().await;
}

#[tokio::test]
async fn a_promise_that_the_coordinator_has_forgotten_is_held_and_never_finished() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let mut session = fake.accept().await;
    session.scan().await;
    session.welcome().await;
    session.prepare([1, 2], &transfer(100)).await;
    session.vote(1).await;
    session.vote(2).await;
    session.answer(AnswerKind::NotMine, 2).await;
    session.answer(AnswerKind::Finished, 1).await;
    // It looks again, shows what it found, and holds it.
    let both = [(1, InDoubtPhase::Prepared), (2, InDoubtPhase::Prepared)];
    assert_eq!(session.scan().await, both);
    session.answer(AnswerKind::Forgotten, 1).await;
    assert_eq!(session.commit(2).await, AckKind::Done);
    assert_eq!(running.handle.counters().held.load(Ordering::Relaxed), 1);
    running.stop().await;
    assert_eq!(ledger::inspect(directory.path()).await.unwrap().prepared.len(), 1);
}

#[tokio::test]
async fn a_silent_coordinator_is_noticed_and_a_quiet_one_gets_heartbeats_and_scans() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    let limits = Limits {
        frame_bytes: 1 << 20,
        heartbeat_ms: 60,
        scan_period_ms: 30,
        window: 10,
    };
    let mut quiet = fake.accept().await;
    quiet.scan().await;
    quiet.welcome_with(limits).await;
    for _ in 0..10 {
        quiet.send(SessionResponse::default()).await;
        quiet.scan().await;
    }
    // From here on nothing is sent: the participant leaves and dials again.
    while quiet.read().await {}
    let mut again = fake.accept().await;
    again.welcome().await;
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_that_only_a_person_can_mend_ends_the_participant_and_others_do_not() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let running = Running::start(directory.path(), &fake).await;
    fake.accept()
        .await
        .refuse(Failure::new(Reason::Draining, "shutting down"))
        .await;
    fake.accept()
        .await
        .refuse(Failure::new(Reason::Superseded, "somebody else came"))
        .await;
    fake.accept()
        .await
        .refuse(Failure::new(
            Reason::StoreMismatch,
            "another store is known as ledger",
        ))
        .await;
    let error = soon("the end of the participant", running.task)
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(&error, ParticipantError::Refused(failure) if failure.reason == Reason::StoreMismatch),
        "{error}"
    );
}
