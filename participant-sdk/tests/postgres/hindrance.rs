use std::sync::Arc;
use std::time::Duration;

use handfast_participant::resources::postgres::Parameter;
use handfast_participant::{Completion, Decision, Resource, ScanPhase, Vote, Work};
use handfast_servers::PostgresServer;
use tokio::time::{Instant, timeout};

use super::{Bank, LIMIT, PREPARED, add, branch, gid, open, prepare, refused, seen, sql};

/// What must not depend on anything that hangs ends within this.
const PROMPT: Duration = Duration::from_secs(4);

#[tokio::test]
async fn without_a_free_slot_the_vote_is_a_retryable_no() {
    let bank = Bank::on(Arc::new(
        PostgresServer::start(&["max_prepared_transactions=1"]).unwrap(),
    ));
    let resource = bank.open().await;
    let (first, second) = (branch(), branch());
    assert_eq!(prepare(&resource, first, &add("alice", 1)).await, PREPARED);
    let full = refused(prepare(&resource, second, &add("bob", 1)).await);
    assert_eq!(
        (full.reason.as_str(), full.retryable),
        ("PREPARED_SLOTS_FULL", true),
        "{}",
        full.message
    );
    resource.finish(first, Decision::Commit).await.unwrap();
    assert_eq!(prepare(&resource, second, &add("bob", 1)).await, PREPARED);
}

#[tokio::test]
async fn work_that_waits_too_long_is_refused_in_time_and_leaves_nothing() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let _lock = bank.lock_alice().await;
    let operation = Work::Operation(add("alice", 1).encode());
    let begun = Instant::now();
    let vote = resource
        .prepare(branch, operation, seen(1, 1), Duration::from_millis(300))
        .await
        .unwrap();
    assert!(refused(vote).retryable);
    assert!(begun.elapsed() < PROMPT);
    assert_eq!(resource.scan().await.unwrap(), []);
    let working = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name LIKE 'handfast/%' AND xact_start IS NOT NULL";
    super::until(|| bank.sql(working) == "0").await;
}

#[tokio::test]
async fn a_deadlock_is_refused_and_may_be_tried_again() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let both = |first, second| {
        add(first, 1).then("SELECT pg_sleep(0.3)", [] as [&str; 0]).then(
            "UPDATE accounts SET balance = balance + 1 WHERE id = $1",
            [second],
        )
    };
    let (one, other) = (branch(), branch());
    let (first, second) = (both("alice", "bob"), both("bob", "alice"));
    let votes = tokio::join!(
        prepare(&resource, one, &first),
        prepare(&resource, other, &second)
    );
    let refusal = match votes {
        (PREPARED, vote) | (vote, PREPARED) => refused(vote),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("SQLSTATE_40P01", true)
    );
    for branch in [one, other] {
        resource.finish(branch, Decision::Abort).await.unwrap();
    }
}

/// First updater wins: the one that began earlier and comes later cannot be serialized (PostgreSQL manual, "Repeatable Read").
#[tokio::test]
async fn a_serialization_failure_is_refused_and_may_be_tried_again() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let late = sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        .then("SELECT balance FROM accounts", [] as [Parameter; 0])
        .then("SELECT pg_advisory_xact_lock(11)", [] as [Parameter; 0])
        .then(
            "UPDATE accounts SET balance = balance + 1 WHERE id = 'alice'",
            [] as [Parameter; 0],
        );
    let person = bank.connect("a person").await;
    person.batch_execute("SELECT pg_advisory_lock(11)").await.unwrap();
    let tried = tokio::spawn({
        let (resource, late) = (resource.clone(), late.clone());
        async move { prepare(&resource, branch(), &late).await }
    });
    bank.until_blocked(1).await;
    bank.sql("UPDATE accounts SET balance = 0 WHERE id = 'alice'");
    person
        .batch_execute("SELECT pg_advisory_unlock(11)")
        .await
        .unwrap();
    let refusal = refused(tried.await.unwrap());
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("SQLSTATE_40001", true),
        "{}",
        refusal.message
    );
    let again = branch();
    assert_eq!(prepare(&resource, again, &late).await, PREPARED);
    resource.finish(again, Decision::Commit).await.unwrap();
    assert_eq!(bank.balance("alice"), 1);
}

/// A limit of the application's own, shorter than the transaction's.
#[tokio::test]
async fn a_lock_that_is_waited_for_too_long_is_refused_and_may_be_tried_again() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let lock = bank.lock_alice().await;
    for (setting, reason) in [
        ("SET LOCAL lock_timeout = 50", "SQLSTATE_55P03"),
        ("SET LOCAL statement_timeout = 50", "SQLSTATE_57014"),
    ] {
        let impatient = sql(setting).then(
            "UPDATE accounts SET balance = 0 WHERE id = 'alice'",
            [] as [Parameter; 0],
        );
        let refusal = refused(prepare(&resource, branch(), &impatient).await);
        assert_eq!((refusal.reason.as_str(), refusal.retryable), (reason, true));
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn an_abort_ends_work_that_still_runs_here() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let _lock = bank.lock_alice().await;
    let running = tokio::spawn({
        let resource = resource.clone();
        async move { prepare(&resource, branch, &add("alice", 1)).await }
    });
    bank.until_blocked(1).await;
    let begun = Instant::now();
    assert_eq!(
        resource.finish(branch, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    refused(running.await.unwrap());
    assert!(
        begun.elapsed() < PROMPT,
        "the row is still locked, and nobody waits for it"
    );
}

#[tokio::test]
async fn an_abort_ends_a_hung_participant_that_holds_the_marker_and_nobody_else() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (hung, person) = (branch(), branch());
    let insert = |branch: handfast_participant::BranchKey| {
        format!(
            "BEGIN; INSERT INTO handfast.marker VALUES ('{}', '{}', 0, 'committed', 1, 1)",
            branch.log, branch.transaction
        )
    };
    let participant = bank.connect("handfast/another/1").await;
    participant.batch_execute(&insert(hung)).await.unwrap();
    assert_eq!(
        resource.finish(hung, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    assert!(participant.batch_execute("COMMIT").await.is_err(), "it was ended");

    let by_hand = bank.connect("a person").await;
    by_hand.batch_execute(&insert(person)).await.unwrap();
    let error = resource.finish(person, Decision::Abort).await.unwrap_err();
    assert!(
        !error.permanent && error.message.contains(&gid(person)),
        "{error}"
    );
    by_hand.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        resource.finish(person, Decision::Abort).await.unwrap(),
        Completion::Done
    );
}

#[tokio::test]
async fn decisions_get_through_while_all_work_waits_for_their_locks() {
    let bank = Bank::new();
    let mut options = bank.options();
    (options.work_connections, options.decision_connections) = (2, 1);
    let resource = open(options).await;
    let first = branch();
    assert_eq!(prepare(&resource, first, &add("alice", 1)).await, PREPARED);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let resource = resource.clone();
            tokio::spawn(async move {
                let branch = branch();
                let vote = prepare(&resource, branch, &add("alice", 1)).await;
                (vote, resource.finish(branch, Decision::Commit).await.unwrap())
            })
        })
        .collect();
    bank.until_blocked(2).await;
    assert_eq!(
        resource.finish(first, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    for task in waiting {
        assert_eq!(task.await.unwrap(), (PREPARED, Completion::Done));
    }
    assert_eq!(bank.balance("alice"), 105);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_branches_at_once_all_end_as_decided() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql("INSERT INTO accounts SELECT 'a' || n, 0 FROM generate_series(0, 31) n");
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let resource = resource.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    let branch = branch();
                    let decision = if round % 2 == 0 {
                        Decision::Commit
                    } else {
                        Decision::Abort
                    };
                    assert_eq!(
                        prepare(&resource, branch, &add(&format!("a{n}"), 1)).await,
                        PREPARED
                    );
                    assert_eq!(resource.finish(branch, decision).await.unwrap(), Completion::Done);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        bank.sql("SELECT count(*), sum(balance) FROM accounts WHERE id LIKE 'a_' OR id LIKE 'a__'"),
        "32|96"
    );
    assert_eq!(resource.scan().await.unwrap(), []);
}

#[tokio::test]
async fn a_hung_statement_of_an_older_session_does_not_block_opening() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let hung = branch();
    let _lock = bank.lock_alice().await;
    let older = tokio::spawn({
        let resource = resource.clone();
        async move { prepare(&resource, hung, &add("alice", 1)).await }
    });
    bank.until_blocked(1).await;
    timeout(PROMPT, resource.open())
        .await
        .expect("opening does not wait")
        .unwrap();
    let other = branch();
    assert_eq!(prepare(&resource, other, &add("bob", 1)).await, PREPARED);
    assert_eq!(
        resource.finish(other, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    refused(
        timeout(PROMPT, older)
            .await
            .expect("the older work has ended")
            .unwrap(),
    );
    assert_eq!(
        resource.finish(hung, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn work_whose_future_was_dropped_ends_and_the_same_call_completes() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let lock = bank.lock_alice().await;
    let dropped = timeout(
        Duration::from_millis(300),
        prepare(&resource, branch, &add("alice", 1)),
    )
    .await;
    assert!(dropped.is_err());
    let lines = resource.scan().await.unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line.branch == branch && line.phase == ScanPhase::Preparing),
        "{lines:?}"
    );
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn before_it_is_open_it_promises_nothing() {
    let bank = Bank::new();
    let resource = handfast_participant::resources::postgres::PostgresResource::new(bank.options());
    assert!(refused(prepare(&resource, branch(), &sql("SELECT 1")).await).retryable);
    assert!(!resource.scan().await.unwrap_err().permanent);
    assert!(
        !resource
            .finish(branch(), Decision::Commit)
            .await
            .unwrap_err()
            .permanent
    );
    let vote = resource
        .prepare(branch(), Work::Interactive { operations: 0 }, seen(1, 1), LIMIT)
        .await
        .unwrap();
    assert!(matches!(vote, Vote::Refused(_)));
}
