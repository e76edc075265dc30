//! The table of `journal.rs`, row by row, and what may be said when.

use super::*;
use v1::{AckKind, VoteKind};

#[tokio::test]
async fn a_vote_waits_until_the_promise_is_durable() {
    let mut bench = Bench::new().await;
    bench.disk.hold_syncs();
    bench.prepare(branch(1), b"work");
    assert!(
        bench.said_so_far().await.votes.is_empty(),
        "nothing is said while the sync is under way"
    );
    assert!(
        bench.after_crash().await.lines().is_empty(),
        "and a crash leaves nothing"
    );

    bench.disk.let_syncs_go();
    assert_eq!(bench.said_so_far().await.votes[0].kind(), VoteKind::Prepared);
    assert_eq!(
        bench.after_crash().await.lines().len(),
        1,
        "a promise that was voted survives"
    );
}

#[tokio::test]
async fn an_acknowledgement_waits_until_the_effect_is_durable() {
    for decision in [Decision::Commit, Decision::Abort] {
        let mut bench = Bench::new().await;
        assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Prepared);
        bench.disk.hold_syncs();
        bench.decide(branch(1), decision);
        bench.decide(branch(1), decision);
        assert!(
            bench.said_so_far().await.acks.is_empty(),
            "nothing is said, not even to a repeated decision"
        );
        assert_eq!(
            bench.after_crash().await.journal.staged().reserved.len(),
            1,
            "a crash leaves the promise"
        );

        bench.disk.let_syncs_go();
        let acks = bench.said_so_far().await.acks;
        assert!(
            acks.len() == 2 && acks.iter().all(|ack| ack.kind() == AckKind::Done),
            "{acks:?}"
        );
        let applied = bench.after_crash().await.journal.staged().applied.len();
        assert_eq!(applied, usize::from(decision == Decision::Commit));
    }
}

/// A commit is noted, the session is lost before its sync, and the next Hello shows the marker: that is acknowledgement enough
/// for the coordinator to tell a client that it is applied.
#[tokio::test]
async fn what_a_hello_shows_as_done_may_be_read() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Prepared);
    let before = bench.journal.staged().synced;
    bench.decide(branch(1), Decision::Commit);
    bench.journal.session_lost();
    let opened = bench.journal.open().await.unwrap();
    assert_eq!(opened.lines[0].phase, crate::resource::ScanPhase::Committed);
    let synced = bench.journal.staged().synced;
    assert!(synced > before, "readers see what was applied");
    assert_eq!(synced, bench.journal.log.durable().0);
}

#[tokio::test]
async fn a_frame_of_prepares_costs_one_batch() {
    let mut bench = Bench::new().await;
    let before = bench.journal.log.counters().batches;
    for number in 0..50 {
        let work = Work::Operation(Bytes::from_static(b"work"));
        let request = PrepareRequest {
            branch: branch(number),
            work,
            seen: seen(5),
            deadline: crate::runtime::from_now(Duration::from_secs(1)),
            delegated: false,
        };
        bench.journal.prepare(request, &mut bench.outbox);
    }
    bench.journal.start();
    assert_eq!(bench.said_so_far().await.votes.len(), 50);
    // The test's log is small enough for a checkpoint to be due, which demands nothing more.
    assert_eq!(bench.journal.log.counters().batches - before, 1);
}

#[tokio::test]
async fn a_repeated_prepare_gets_the_same_vote_and_works_once() {
    let mut bench = Bench::new().await;
    for (number, operation, vote) in [
        (1, b"work".as_slice(), VoteKind::Prepared),
        (2, b"nothing", VoteKind::ReadOnly),
        (3, b"no", VoteKind::Refused),
    ] {
        assert_eq!(bench.vote(branch(number), operation).await, vote);
        // Were it asked again, the service would answer otherwise.
        assert_eq!(
            bench
                .vote(branch(number), if number == 1 { b"work" } else { b"other" })
                .await,
            vote
        );
    }
    assert_eq!(bench.journal.staged().reserved.len(), 1);
}

#[tokio::test]
async fn a_repeated_commit_is_acknowledged_and_applied_once_also_after_a_crash() {
    let mut bench = Bench::new().await;
    bench.vote(branch(1), b"work").await;
    assert_eq!(bench.ack(branch(1), Decision::Commit).await, AckKind::Done);
    assert_eq!(bench.ack(branch(1), Decision::Commit).await, AckKind::Done);
    let mut bench = bench.after_crash().await;
    assert_eq!(bench.ack(branch(1), Decision::Commit).await, AckKind::Done);
    assert_eq!(bench.journal.staged().applied.len(), 1);
    assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Refused);
}

#[tokio::test]
async fn absence_after_commit_is_a_hazard_and_never_done() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.ack(branch(1), Decision::Commit).await, AckKind::Hazard);
    assert_eq!(bench.ack(branch(1), Decision::Commit).await, AckKind::Hazard);
}

#[tokio::test]
async fn an_abort_that_overtakes_its_prepare_keeps_it_out_also_after_a_crash() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.ack(branch(1), Decision::Abort).await, AckKind::Done);
    assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Refused);
    let mut bench = bench.after_crash().await;
    assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Refused);
    assert_eq!(bench.ack(branch(1), Decision::Abort).await, AckKind::Done);
    assert!(bench.journal.staged().reserved.is_empty());
}

#[tokio::test]
async fn a_decision_against_what_was_done_is_reported() {
    let mut bench = Bench::new().await;
    bench.vote(branch(1), b"work").await;
    bench.ack(branch(1), Decision::Commit).await;
    assert_eq!(bench.ack(branch(1), Decision::Abort).await, AckKind::Contrary);
    bench.ack(branch(2), Decision::Abort).await;
    assert_eq!(bench.ack(branch(2), Decision::Commit).await, AckKind::Contrary);
}

#[tokio::test]
async fn markers_and_fences_go_on_forget_and_promises_do_not() {
    let mut bench = Bench::new().await;
    for number in [1, 2] {
        bench.vote(branch(number), b"work").await;
    }
    bench.ack(branch(1), Decision::Commit).await;
    bench.ack(branch(3), Decision::Abort).await;
    for number in [1, 2, 3] {
        bench.journal.forget(branch(number));
    }
    let lines = bench.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].branch, branch(2));
    assert_eq!(
        bench.vote(branch(1), b"work").await,
        VoteKind::Refused,
        "late work stays out in this session"
    );
}

#[tokio::test]
async fn votes_of_a_lost_session_are_never_sent_and_hello_shows_their_branches() {
    let mut bench = Bench::new().await;
    bench.disk.hold_syncs();
    bench.prepare(branch(1), b"work");
    bench.said_so_far().await;
    bench.journal.session_lost();
    bench.disk.let_syncs_go();
    let opened = bench.journal.open().await.unwrap();
    assert_eq!(opened.lines.len(), 1);
    assert!(bench.said_so_far().await.votes.is_empty());
}

#[tokio::test]
async fn identity_and_what_was_seen_survive_crashes_and_checkpoints() {
    let mut bench = Bench::new().await;
    let identity = bench.journal.identity;
    for number in 0..200 {
        bench.vote(branch(number), b"some work that fills the log").await;
        bench.ack(branch(number), Decision::Commit).await;
        if number % 2 == 0 {
            bench.journal.forget(branch(number));
        }
    }
    assert!(
        bench
            .disk
            .crash_image()
            .list_now()
            .iter()
            .any(|name| name.ends_with(".ckp")),
        "a checkpoint was written"
    );
    let mut again = bench.after_crash().await;
    assert_eq!(again.journal.identity, identity);
    assert_eq!(again.journal.staged(), bench.journal.staged());
    assert_eq!(again.journal.open().await.unwrap().seen, vec![seen(6)]);
}

#[tokio::test]
async fn a_second_process_on_the_journal_is_refused() {
    let bench = Bench::new().await;
    let second = Journal::open(Tally::default(), bench.disk.clone(), JournalOptions::default()).await;
    assert!(matches!(
        second.map(drop),
        Err(JournalError::Log(WalError::Locked))
    ));
}

/// Such as a service that reserves the next free seat.
#[test]
fn promises_out_of_a_checkpoint_keep_their_order_in_the_next_one() {
    let mut state = State::new(Tally::default());
    let promised = [3, 1, 2].map(branch);
    for branch in promised {
        let operation = Bytes::from_static(b"work");
        let record = Record::Prepared {
            branch,
            seen: seen(5),
            operation,
        };
        state.fold(0, record).unwrap();
    }
    let order = |record: &Vec<u8>| match Record::decode(record).unwrap() {
        Record::Prepared { branch, .. } => Some(branch),
        _ => None,
    };
    let again: Vec<_> = state.snapshot().iter().filter_map(order).collect();
    assert_eq!(again, promised);
}
