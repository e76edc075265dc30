use std::time::Duration;

use handfast_participant::ids::{Epoch, LogId, Partition, TransactionId};
use handfast_participant::{BranchKey, Completion, Decision, Resource, ScanLine, ScanPhase, SeenLog, Work};

use super::{Bank, LIMIT, PREPARED, add, branch, gid, open, prepare, seen};

#[tokio::test]
async fn a_scan_lists_what_is_prepared_and_another_instance_finishes_it() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    let other = bank.open().await;
    assert_eq!(
        other.scan().await.unwrap(),
        [ScanLine {
            branch,
            phase: ScanPhase::Prepared
        }]
    );
    assert!(other.oldest_prepared() > Duration::ZERO);
    assert_eq!(
        other.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(other.scan().await.unwrap(), []);
    assert_eq!(other.oldest_prepared(), Duration::ZERO);
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn prepared_transactions_of_others_are_left_alone() {
    let bank = Bank::new();
    let elsewhere = Bank::new();
    let resource = bank.open().await;
    let almost = format!("{}_backup", gid(branch()));
    for foreign in [almost.as_str(), "hf1_", "nightly"] {
        bank.sql(&format!("BEGIN; UPDATE accounts SET balance = 1 WHERE false; SELECT pg_current_xact_id(); PREPARE TRANSACTION '{foreign}'"));
    }
    let other_database = branch();
    assert_eq!(
        prepare(&elsewhere.open().await, other_database, &add("alice", 1)).await,
        PREPARED
    );
    assert_eq!(resource.scan().await.unwrap(), []);
    resource.open().await.unwrap();
    assert_eq!(
        bank.sql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
        "3"
    );
    assert!(
        resource.finish(other_database, Decision::Commit).await.is_err(),
        "it belongs to another database"
    );
    for foreign in [almost.as_str(), "hf1_", "nightly"] {
        bank.sql(&format!("ROLLBACK PREPARED '{foreign}'"));
    }
    elsewhere.sql(&format!("ROLLBACK PREPARED '{}'", gid(other_database)));
}

async fn committed(
    resource: &handfast_participant::resources::postgres::PostgresResource,
    branch: BranchKey,
    seen: SeenLog,
) {
    let work = Work::Operation(add("alice", 1).encode());
    assert_eq!(
        resource.prepare(branch, work, seen, LIMIT).await.unwrap(),
        PREPARED
    );
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
}

#[tokio::test]
async fn the_highest_position_of_each_epoch_outlives_its_markers() {
    let bank = Bank::new();
    let resource = bank.open().await;
    assert_eq!(resource.seen().await.unwrap(), []);
    let other_log = LogId(0x11);
    let other = SeenLog {
        log: other_log,
        epoch: Epoch(1),
        lsn: 5,
    };
    let branches: Vec<BranchKey> = (0..4).map(|_| branch()).collect();
    let foreign = BranchKey {
        log: other_log,
        ..branch()
    };
    for (branch, seen) in branches
        .iter()
        .zip([seen(7, 40), seen(8, 20), seen(8, 30), seen(7, 90)])
    {
        committed(&resource, *branch, seen).await;
    }
    committed(&resource, foreign, other).await;
    let expected = [seen(7, 90), seen(8, 30), other];
    assert_eq!(resource.seen().await.unwrap(), expected);
    for _ in 0..2 {
        resource.forget(&branches[..3]).await.unwrap();
        assert_eq!(resource.seen().await.unwrap(), expected);
    }
    resource.forget(&[branches[3], foreign]).await.unwrap();
    assert_eq!(resource.seen().await.unwrap(), expected);
    assert_eq!(bank.sql("SELECT count(*) FROM handfast.marker"), "0");
}

/// A fence knows the epoch of its transaction and nothing of the log. An old copy of the log must not pass because of it.
#[tokio::test]
async fn a_fence_hides_no_position() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (before, after) = (branch(), branch());
    let fenced = BranchKey {
        transaction: TransactionId::new(1_000, Partition(0), Epoch(9), super::next()),
        ..branch()
    };
    committed(&resource, before, seen(7, 40)).await;
    let aborted = resource.finish(fenced, Decision::Abort).await.unwrap();
    assert_eq!(aborted, Completion::Done);
    for forgotten in [&[][..], &[fenced], &[before], &[fenced, before]] {
        resource.forget(forgotten).await.unwrap();
        assert_eq!(resource.seen().await.unwrap(), [seen(7, 40), seen(9, 0)]);
    }
    committed(&resource, after, seen(9, 50)).await;
    for forgotten in [&[][..], &[after]] {
        resource.forget(forgotten).await.unwrap();
        assert_eq!(resource.seen().await.unwrap(), [seen(7, 40), seen(9, 50)]);
    }
}

#[tokio::test]
async fn of_many_epochs_the_newest_are_kept() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let mut branches = Vec::new();
    for epoch in 1..=20 {
        let branch = branch();
        committed(&resource, branch, seen(epoch, 10 * u64::from(epoch))).await;
        branches.push(branch);
    }
    let newest: Vec<SeenLog> = (6..=20).map(|epoch| seen(epoch, 10 * u64::from(epoch))).collect();
    let reported = resource.seen().await.unwrap();
    assert_eq!(reported[reported.len() - 15..], newest);
    resource.forget(&branches).await.unwrap();
    let reported = resource.seen().await.unwrap();
    assert_eq!(reported[reported.len() - 15..], newest);
    assert!(reported.len() <= 16);
    assert_eq!(
        bank.sql("SELECT count(*) FROM handfast.seen"),
        reported.len().to_string()
    );
}

#[tokio::test]
async fn forgetting_spares_what_is_prepared() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    resource.forget(&[branch]).await.unwrap();
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done,
        "the marker is there"
    );
}

#[tokio::test]
async fn a_fence_stays_while_older_work_of_another_session_may_run() {
    let bank = Bank::new();
    let mut options = bank.options();
    options.marker_age = Duration::ZERO;
    let resource = open(options).await;
    let older = bank.connect("handfast/another/1").await;
    older.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let branch = branch();
    resource.finish(branch, Decision::Abort).await.unwrap();
    let younger = bank.connect("handfast/another/2").await;
    younger.batch_execute("BEGIN; SELECT 1").await.unwrap();

    resource.forget(&[branch]).await.unwrap();
    assert_eq!(
        resource.scan().await.unwrap(),
        [ScanLine {
            branch,
            phase: ScanPhase::Marker
        }],
        "it is asked about again"
    );
    older.batch_execute("ROLLBACK").await.unwrap();
    resource.forget(&[branch]).await.unwrap();
    assert_eq!(resource.scan().await.unwrap(), []);
}

/// Nobody forgets the markers of a coordinator that is gone for good.
#[tokio::test]
async fn a_thousand_markers_of_a_retired_coordinator_hide_no_other() {
    const RETIRED: LogId = LogId(1);
    let bank = Bank::new();
    let mut options = bank.options();
    options.marker_age = Duration::ZERO;
    let resource = open(options).await;
    let retired: Vec<String> = (0..1_000)
        .map(|_| {
            let transaction = branch().transaction;
            format!("('{RETIRED}', '{transaction}', 0, 'committed', 1, 1, now() - interval '1 day')")
        })
        .collect();
    bank.sql(&format!(
        "INSERT INTO handfast.marker (log_id, transaction_id, branch, state, epoch, seen_lsn, created_at) VALUES {}",
        retired.join(", ")
    ));
    let lost = branch();
    committed(&resource, lost, seen(3, 1)).await;
    let marker = ScanLine {
        branch: lost,
        phase: ScanPhase::Marker,
    };
    for _ in 0..2 {
        let first = resource.scan().await.unwrap();
        assert_eq!(first.len(), 1_000);
        assert!(first.iter().all(|line| line.branch.log == RETIRED));
        assert_eq!(
            resource.scan().await.unwrap(),
            [marker],
            "the list goes on, and then begins anew"
        );
    }
    resource.forget(&[lost]).await.unwrap();
    assert_eq!(resource.scan().await.unwrap().len(), 1_000);
    assert_eq!(resource.scan().await.unwrap(), []);
}
