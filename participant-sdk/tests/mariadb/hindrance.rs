use std::sync::Arc;
use std::time::Duration;

use handfast_participant::resources::mariadb::MariadbResource;
use handfast_participant::resources::mariadb::mysql_async::{Conn, Opts};
use handfast_participant::{Decision, Resource, ScanPhase, Vote, Work};
use handfast_servers::MariadbServer;
use tokio::time::{Instant, timeout};

use super::{
    Bank, LIMIT, NOTHING, PREPARED, add, branch, done, key, open, prepare, refused, run, seen, sql, xid,
};

/// What must not depend on anything that hangs ends within this.
const PROMPT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn without_a_free_connection_the_vote_is_a_retryable_no() {
    let bank = Bank::on(Arc::new(MariadbServer::start(&["max-connections=12"]).unwrap()));
    let resource = bank.open().await;
    let kept = branch();
    assert_eq!(prepare(&resource, kept, &add("alice", 1)).await, PREPARED);
    // As many connections as the server takes, the one more that it keeps for administrators included; those that are just
    // ending make room again.
    let (mut crowd, mut refusals) = (Vec::new(), 0);
    let opts = Opts::from_url(&bank.url()).unwrap();
    while refusals < 20 {
        match Conn::new(opts.clone()).await {
            Ok(conn) => (crowd.push(conn), refusals = 0),
            Err(_) => (tokio::time::sleep(Duration::from_millis(20)).await, refusals += 1),
        };
    }
    let full = refused(prepare(&resource, branch(), &add("bob", 1)).await);
    assert!(
        full.retryable && full.message.contains("Too many connections"),
        "{full:?}"
    );
    done(&resource, kept, Decision::Commit).await;
    drop(crowd);
    super::until(|| bank.server.sql(&bank.database, "SELECT 1").is_ok()).await;
    let later = branch();
    assert_eq!(prepare(&resource, later, &add("bob", 1)).await, PREPARED);
    done(&resource, later, Decision::Commit).await;
    assert_eq!((bank.balance("alice"), bank.balance("bob")), (101, 101));
}

#[tokio::test]
async fn work_that_waits_too_long_is_refused_in_time_and_leaves_nothing() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let _lock = bank.lock_alice().await;
    let begun = Instant::now();
    for operation in [add("alice", 1), sql("SELECT SLEEP(60)")] {
        let vote = resource
            .prepare(
                branch,
                Work::Operation(operation.encode()),
                seen(1, 1),
                Duration::from_millis(300),
            )
            .await
            .unwrap();
        assert!(refused(vote).retryable);
    }
    assert!(begun.elapsed() < 2 * PROMPT);
    assert_eq!(resource.scan().await.unwrap(), []);
    bank.until_blocked(0).await;
}

#[tokio::test]
async fn a_lock_wait_of_the_servers_own_is_refused_and_may_be_tried_again() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut lock = bank.lock_alice().await;
    let impatient = add("bob", 1)
        .then("SET SESSION innodb_lock_wait_timeout = 1", NOTHING)
        .then("UPDATE accounts SET balance = 7", NOTHING);
    let refusal = refused(prepare(&resource, branch, &impatient).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("SQL_ERROR_1205", true)
    );
    run(&mut lock, "ROLLBACK").await;
    assert_eq!(
        (bank.balance("bob"), bank.prepared()),
        (100, 0),
        "more than the one statement is undone"
    );
    assert_eq!(prepare(&resource, branch, &add("bob", 1)).await, PREPARED);
    done(&resource, branch, Decision::Commit).await;
}

#[tokio::test]
async fn a_deadlock_is_refused_and_may_be_tried_again() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let both = |first, second| {
        add(first, 1)
            .then("SELECT SLEEP(0.5)", NOTHING)
            .then("UPDATE accounts SET balance = balance + 1 WHERE id = ?", [second])
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
        ("SQL_ERROR_1213", true)
    );
    assert_eq!(bank.prepared(), 1);
    for branch in [one, other] {
        done(&resource, branch, Decision::Abort).await;
    }
    assert_eq!((bank.balance("alice"), bank.balance("bob")), (100, 100));
}

#[tokio::test]
async fn a_row_that_changed_since_it_was_read_is_refused_and_may_be_tried_again() {
    let bank = Bank::on(Arc::new(
        MariadbServer::start(&["innodb-snapshot-isolation=ON"]).unwrap(),
    ));
    let resource = bank.open().await;
    let stale = sql("SELECT * FROM accounts")
        .then("SELECT SLEEP(0.7)", NOTHING)
        .then(
            "UPDATE accounts SET balance = balance + 1 WHERE id = 'alice'",
            NOTHING,
        );
    let other = super::branch();
    let voting = tokio::spawn({
        let resource = resource.clone();
        async move { prepare(&resource, other, &stale).await }
    });
    super::until(|| {
        bank.sql("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'") == "1"
    })
    .await;
    bank.sql("UPDATE accounts SET balance = 60 WHERE id = 'alice'");
    let refusal = refused(voting.await.unwrap());
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("SQL_ERROR_1020", true),
        "{refusal:?}"
    );
    assert_eq!(bank.balance("alice"), 60);
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
    done(&resource, branch, Decision::Abort).await;
    refused(running.await.unwrap());
    assert!(
        begun.elapsed() < PROMPT,
        "the row is still locked, and nobody waits for it"
    );
}

#[tokio::test]
async fn an_abort_leaves_alone_who_is_no_participant() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut person = bank.connect().await;
    run(
        &mut person,
        &format!(
            "BEGIN; INSERT INTO handfast_marker (branch, log_id, state, epoch, seen_lsn) VALUES ('{}', '', 'committed', 1, 1)",
            key(branch)
        ),
    )
    .await;
    let error = resource.finish(branch, Decision::Abort).await.unwrap_err();
    assert!(
        !error.permanent && error.message.contains("not fenced yet"),
        "{error}"
    );
    run(&mut person, "ROLLBACK").await;
    done(&resource, branch, Decision::Abort).await;
}

#[tokio::test]
async fn a_prepared_branch_that_a_stranger_holds_is_waited_for() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let held = branch();
    let name = xid(resource.open().await.unwrap().store, held);
    let mut stranger = bank.connect().await;
    run(
        &mut stranger,
        &format!("XA START {name}; UPDATE accounts SET balance = 7; XA END {name}; XA PREPARE {name}"),
    )
    .await;
    let error = resource.finish(held, Decision::Commit).await.unwrap_err();
    assert!(
        !error.permanent && error.message.contains("none of ours"),
        "{error}"
    );
    drop(stranger);
    let mut tries = 0;
    while let Err(error) = resource.finish(held, Decision::Commit).await {
        tries += 1;
        assert!(tries < 10, "{error}");
    }
    assert_eq!(bank.balance("alice"), 7);
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
    done(&resource, first, Decision::Commit).await;
    for task in waiting {
        assert_eq!(
            task.await.unwrap(),
            (PREPARED, handfast_participant::Completion::Done)
        );
    }
    assert_eq!(bank.balance("alice"), 105);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_branches_at_once_all_end_as_decided() {
    let bank = Bank::new();
    let mut options = bank.options();
    options.prepared_connections = 4;
    let resource = open(options).await;
    bank.sql("INSERT INTO accounts SELECT CONCAT('a', seq), 0 FROM seq_0_to_31");
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
                    done(&resource, branch, decision).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        bank.sql("SELECT COUNT(*), SUM(balance) FROM accounts WHERE id LIKE 'a_' OR id LIKE 'a__'"),
        "32\t96"
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
    done(&resource, other, Decision::Commit).await;
    refused(
        timeout(PROMPT, older)
            .await
            .expect("the older work has ended")
            .unwrap(),
    );
    done(&resource, hung, Decision::Abort).await;
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn work_whose_future_was_dropped_ends_and_the_same_call_completes() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut lock = bank.lock_alice().await;
    let operation = add("alice", 1);
    let dropped = async {
        tokio::select! { biased;
            vote = prepare(&resource, branch, &operation) => panic!("{vote:?} although the row is locked"),
            () = bank.until_blocked(1) => {}
        }
    };
    dropped.await;
    let lines = resource.scan().await.unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line.branch == branch && line.phase == ScanPhase::Preparing),
        "{lines:?}"
    );
    run(&mut lock, "ROLLBACK").await;
    let mut vote = prepare(&resource, branch, &operation).await;
    for _ in 0..100 {
        match vote {
            // What was dropped is just being ended.
            Vote::Refused(refusal) if refusal.reason == "BRANCH_BUSY" => {
                vote = prepare(&resource, branch, &operation).await;
            }
            _ => break,
        }
    }
    assert_eq!(vote, PREPARED);
    done(&resource, branch, Decision::Commit).await;
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn before_it_is_open_it_promises_nothing() {
    let bank = Bank::new();
    let resource = MariadbResource::new(bank.options());
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
