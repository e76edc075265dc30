use std::time::Duration;

use handfast_participant::resources::mariadb::{BranchError, MAX_QUERY_ROWS, MariadbResource, Parameter};
use handfast_participant::{BranchKey, Completion, Decision, Resource, Vote, Work};
use tokio::time::timeout;

use super::{Bank, LIMIT, PREPARED, branch, open, refused, seen};

const SPEND: &str = "UPDATE accounts SET balance = balance - ? WHERE id = 'alice'";

async fn finish_work(resource: &MariadbResource, branch: BranchKey, operations: u64) -> Vote {
    resource
        .prepare(branch, Work::Interactive { operations }, seen(3, 1), LIMIT)
        .await
        .unwrap()
}

/// Spends 10 of alice's and hands in the receipt.
async fn spend(resource: &MariadbResource, branch: BranchKey) {
    let mut work = resource.join(branch).await.unwrap();
    assert_eq!(work.execute(SPEND, &[10.into()]).await.unwrap(), 1);
    work.receipt();
}

/// Nothing can join the branch any more, and it is told why.
async fn is_lost(resource: &MariadbResource, branch: BranchKey) -> bool {
    matches!(resource.join(branch).await, Err(BranchError::Unavailable(error)) if error.message.contains("was rolled back"))
}

#[tokio::test]
async fn an_interactive_branch_reads_writes_and_commits() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut work = resource.join(branch).await.unwrap();
    let rows = work
        .query("SELECT balance FROM accounts WHERE id = ?", &["alice".into()])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<i64, _>(0), Some(100));
    work.execute(SPEND, &[Parameter::from(10)]).await.unwrap();
    let receipt = work.receipt();
    assert_eq!((receipt.branch, receipt.operations), (branch.branch, 2));

    spend(&resource, branch).await;
    assert_eq!(bank.balance("alice"), 100);
    for _ in 0..2 {
        assert_eq!(finish_work(&resource, branch, 3).await, PREPARED);
    }
    assert!(
        resource.join(branch).await.is_err(),
        "nothing joins a prepared branch"
    );
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 80);
    assert!(
        resource.join(branch).await.is_err(),
        "nothing joins a branch that has ended"
    );
}

#[tokio::test]
async fn a_branch_that_only_reads_votes_read_only() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut work = resource.join(branch).await.unwrap();
    work.query("SELECT 1", &[]).await.unwrap();
    work.receipt();
    assert_eq!(finish_work(&resource, branch, 1).await, Vote::ReadOnly);
}

#[tokio::test]
async fn a_count_that_differs_rolls_back() {
    let bank = Bank::new();
    let resource = bank.open().await;
    for counted in [0, 2] {
        let branch = branch();
        spend(&resource, branch).await;
        assert_eq!(
            refused(finish_work(&resource, branch, counted).await).reason,
            "OPERATIONS_DIFFER"
        );
        assert_eq!(
            refused(finish_work(&resource, branch, 1).await).reason,
            "WORK_ROLLED_BACK"
        );
        assert!(is_lost(&resource, branch).await);
    }
    assert_eq!(bank.balance("alice"), 100);
}

/// Whoever began such a branch anew would hand in a receipt for one operation, which is what the application expects of it, and
/// the first one would be missing.
#[tokio::test]
async fn a_branch_that_lost_work_is_not_begun_anew_under_its_name() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (dropped, of_older_session) = (branch(), branch());
    spend(&resource, dropped).await;
    drop(resource.join(dropped).await.unwrap());
    assert!(is_lost(&resource, dropped).await);
    spend(&resource, of_older_session).await;
    // As another coordinator's participant does that shares the resource and has lost its session.
    resource.open().await.unwrap();
    assert!(is_lost(&resource, of_older_session).await);
    for branch in [dropped, of_older_session] {
        let refusal = refused(finish_work(&resource, branch, 1).await);
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("WORK_ROLLED_BACK", true)
        );
        let aborted = resource.finish(branch, Decision::Abort).await.unwrap();
        assert_eq!(aborted, Completion::Done);
        assert!(resource.join(branch).await.is_err(), "it is fenced");
    }
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_branch_whose_backend_was_ended_is_not_begun_anew() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut work = resource.join(branch).await.unwrap();
    let rows = work.query("SELECT CONNECTION_ID()", &[]).await.unwrap();
    let backend: u64 = rows[0].get(0).unwrap();
    work.execute(SPEND, &[10.into()]).await.unwrap();
    work.receipt();
    bank.sql(&format!("KILL CONNECTION {}", backend));
    let refused_for_good = async {
        // Until the loss shows, the branch can be joined, and nothing can be done in it.
        while let Ok(mut work) = resource.join(branch).await {
            assert!(work.execute(SPEND, &[10.into()]).await.is_err());
            work.receipt();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, refused_for_good).await.unwrap();
    assert!(is_lost(&resource, branch).await);
    assert_eq!(
        refused(finish_work(&resource, branch, 1).await).reason,
        "WORK_ROLLED_BACK"
    );
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_branch_is_lost_with_its_handle_its_session_and_its_process() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (dropped, of_older_session, of_other) = (branch(), branch(), branch());
    let mut work = resource.join(dropped).await.unwrap();
    work.execute(SPEND, &[10.into()]).await.unwrap();
    drop(work);
    spend(&resource, of_older_session).await;
    let mut still_held = resource.join(branch()).await.unwrap();
    resource.open().await.unwrap();
    assert!(still_held.execute(SPEND, &[10.into()]).await.is_err());
    still_held.receipt();
    spend(&bank.open().await, of_other).await;
    for (branch, reason) in [
        (dropped, "WORK_ROLLED_BACK"),
        (of_older_session, "WORK_ROLLED_BACK"),
        (of_other, "UNKNOWN_BRANCH"),
    ] {
        assert_eq!(refused(finish_work(&resource, branch, 1).await).reason, reason);
    }
    let free = "SELECT balance FROM accounts WHERE id = 'alice' FOR UPDATE NOWAIT";
    super::until(|| bank.server.sql(&bank.database, free).is_ok()).await;
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_failed_or_broken_off_statement_dooms_the_branch() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (failed, broken_off, too_many) = (branch(), branch(), branch());
    let mut work = resource.join(failed).await.unwrap();
    work.execute(SPEND, &[10.into()]).await.unwrap();
    assert!(matches!(
        work.execute("COMMIT", &[]).await,
        Err(BranchError::NotAllowed(_))
    ));
    assert!(matches!(
        work.execute(SPEND, &[1_000.into()]).await,
        Err(BranchError::Failed(_))
    ));
    assert!(matches!(
        work.execute(SPEND, &[10.into()]).await,
        Err(BranchError::Broken)
    ));
    work.receipt();

    let mut work = resource.join(broken_off).await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), work.execute("SELECT SLEEP(2)", &[]))
            .await
            .is_err()
    );
    work.receipt();

    let mut work = resource.join(too_many).await.unwrap();
    let many = work
        .query(
            "SELECT seq FROM seq_0_to_999999 WHERE seq <= ?",
            &[Parameter::Int(MAX_QUERY_ROWS as i64)],
        )
        .await;
    assert!(matches!(many, Err(BranchError::TooManyRows)));
    work.receipt();

    for (branch, operations) in [(failed, 1), (broken_off, 0), (too_many, 0)] {
        // The driver gives up a connection whose answer nobody waited for, and the branch with it.
        let reason = refused(finish_work(&resource, branch, operations).await).reason;
        let lost = branch == broken_off && reason == "WORK_ROLLED_BACK";
        assert!(lost || reason == "TRANSACTION_FAILED", "{reason}");
    }
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_prepare_waits_for_the_receipt_but_not_for_ever() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (late, never) = (branch(), branch());
    let mut work = resource.join(late).await.unwrap();
    assert!(
        resource.join(late).await.is_err(),
        "one call at a time works on a branch"
    );
    let prepare = tokio::spawn({
        let resource = resource.clone();
        async move { finish_work(&resource, late, 1).await }
    });
    work.execute(SPEND, &[10.into()]).await.unwrap();
    work.receipt();
    assert_eq!(prepare.await.unwrap(), PREPARED);
    resource.finish(late, Decision::Commit).await.unwrap();

    let mut held = resource.join(never).await.unwrap();
    let vote = resource
        .prepare(
            never,
            Work::Interactive { operations: 0 },
            seen(1, 1),
            Duration::from_millis(200),
        )
        .await
        .unwrap();
    assert_eq!(refused(vote).reason, "STATEMENTS_RUNNING");
    assert!(
        held.execute(SPEND, &[10.into()]).await.is_err(),
        "its backend was ended"
    );
    assert_eq!(bank.balance("alice"), 90);
}

#[tokio::test]
async fn an_abort_rolls_back_open_work_and_fences_it() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (parked, held) = (branch(), branch());
    spend(&resource, parked).await;
    assert_eq!(
        resource.finish(parked, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    let mut work = resource.join(held).await.unwrap();
    assert_eq!(
        resource.finish(held, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    assert!(work.execute(SPEND, &[10.into()]).await.is_err());
    drop(work);
    for branch in [parked, held] {
        assert!(resource.join(branch).await.is_err());
        refused(finish_work(&resource, branch, 1).await);
    }
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_receipt_after_the_abort_gives_its_connection_back() {
    let bank = Bank::new();
    let mut options = bank.options();
    options.interactive_connections = 1;
    let resource = open(options).await;
    for too_slow_for_its_prepare in [false, true] {
        let branch = branch();
        let joined = timeout(LIMIT, resource.join(branch)).await;
        let mut work = joined.expect("the one connection is free").unwrap();
        work.execute(SPEND, &[10.into()]).await.unwrap();
        if too_slow_for_its_prepare {
            let prepare = Work::Interactive { operations: 1 };
            let vote = resource
                .prepare(branch, prepare, seen(3, 1), Duration::from_millis(200))
                .await
                .unwrap();
            assert_eq!(refused(vote).reason, "STATEMENTS_RUNNING");
        } else {
            let aborted = resource.finish(branch, Decision::Abort).await.unwrap();
            assert_eq!(aborted, Completion::Done);
        }
        work.receipt();
    }
    timeout(LIMIT, spend(&resource, branch())).await.unwrap();
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn an_idle_branch_is_ended_by_the_server_and_its_connection_replaced() {
    let bank = Bank::new();
    let mut options = bank.options();
    (options.interactive_idle_limit, options.interactive_connections) = (Duration::from_secs(1), 1);
    let resource = open(options).await;
    let branch = branch();
    spend(&resource, branch).await;
    let free = "SELECT balance FROM accounts WHERE id = 'alice' FOR UPDATE NOWAIT";
    super::until(|| bank.server.sql(&bank.database, free).is_ok()).await;
    assert!(matches!(
        finish_work(&resource, branch, 1).await,
        Vote::Refused(_)
    ));
    let other = super::branch();
    spend(&resource, other).await;
    assert_eq!(finish_work(&resource, other, 1).await, PREPARED);
    resource.finish(other, Decision::Commit).await.unwrap();
    assert_eq!(bank.balance("alice"), 90);
}
