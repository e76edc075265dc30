use handfast_participant::resources::mariadb::{Isolation, Parameter, SqlOperation};
use handfast_participant::{Completion, Decision, Resource, Vote, Work};

use super::{Bank, LIMIT, NOTHING, PREPARED, add, branch, done, key, open, prepare, refused, seen, sql, xid};

#[tokio::test]
async fn a_prepared_branch_is_invisible_until_its_commit_and_then_there_once() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", -30)).await, PREPARED);
    assert_eq!(bank.balance("alice"), 100);
    for _ in 0..3 {
        done(&resource, branch, Decision::Commit).await;
        assert_eq!(bank.balance("alice"), 70);
    }
}

#[tokio::test]
async fn a_prepare_that_comes_twice_works_once_and_votes_the_same() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let operation = add("alice", 1);
    let (first, second) = tokio::join!(
        prepare(&resource, branch, &operation),
        prepare(&resource, branch, &operation)
    );
    assert_eq!((first, second), (PREPARED, PREPARED));
    let third = prepare(&bank.open().await, branch, &sql("SELECT 1")).await;
    assert_eq!(
        third, PREPARED,
        "another instance sees that the branch is prepared"
    );
    done(&resource, branch, Decision::Commit).await;
    assert_eq!(bank.balance("alice"), 101);
    assert_eq!(
        refused(prepare(&resource, branch, &operation).await).reason,
        "BRANCH_ENDED"
    );
}

#[tokio::test]
async fn work_that_wrote_nothing_votes_read_only_and_leaves_nothing() {
    let bank = Bank::new();
    let mut options = bank.options();
    options.work_connections = 1;
    let resource = open(options).await;
    let wrote = branch();
    assert_eq!(prepare(&resource, wrote, &add("alice", 0)).await, PREPARED);
    done(&resource, wrote, Decision::Commit).await;
    resource.forget(&[wrote]).await.unwrap();
    for operation in [
        SqlOperation::new(),
        sql("SELECT * FROM accounts"),
        sql("SELECT balance, COUNT(*) FROM accounts GROUP BY balance ORDER BY 2"),
        sql("UPDATE accounts SET balance = 0 WHERE false"),
        sql("DELETE FROM accounts WHERE id = 'nobody'"),
    ] {
        assert_eq!(
            prepare(&resource, branch(), &operation).await,
            Vote::ReadOnly,
            "{operation:?}"
        );
    }
    assert_eq!(bank.sql("SELECT COUNT(*) FROM handfast_marker"), "0");
    assert_eq!(bank.prepared(), 0);
}

#[tokio::test]
async fn what_writes_without_telling_is_no_read() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql("CREATE TABLE audit (what TEXT)");
    bank.define("CREATE PROCEDURE book() INSERT INTO audit VALUES ('booked')")
        .await;
    bank.define(
        "CREATE FUNCTION peek() RETURNS INT BEGIN INSERT INTO audit VALUES ('peeked'); RETURN 1; END",
    )
    .await;
    for operation in [sql("CALL book()"), sql("SELECT peek()")] {
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &operation).await, PREPARED);
        assert_eq!(bank.prepared(), 1);
        done(&resource, branch, Decision::Commit).await;
    }
    assert_eq!(bank.sql("SELECT COUNT(*) FROM audit"), "2");
}

#[tokio::test]
async fn locks_of_a_locking_read_are_held_until_the_decision() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (locks, other) = (branch(), branch());
    let read = sql("SELECT balance FROM accounts WHERE id = 'alice' FOR UPDATE");
    assert_eq!(prepare(&resource, locks, &read).await, PREPARED);
    let waits = tokio::spawn({
        let resource = resource.clone();
        async move { prepare(&resource, other, &add("alice", 1)).await }
    });
    bank.until_blocked(1).await;
    done(&resource, locks, Decision::Commit).await;
    assert_eq!(waits.await.unwrap(), PREPARED);
    done(&resource, other, Decision::Commit).await;
}

#[tokio::test]
async fn an_abort_rolls_back_and_keeps_late_work_out() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let prepared_first = branch();
    assert_eq!(
        prepare(&resource, prepared_first, &add("alice", 1)).await,
        PREPARED
    );
    for branch in [prepared_first, branch()] {
        for _ in 0..2 {
            done(&resource, branch, Decision::Abort).await;
        }
        let late = refused(prepare(&resource, branch, &add("alice", 1)).await);
        assert_eq!((late.reason.as_str(), late.retryable), ("BRANCH_ENDED", false));
    }
    assert_eq!((bank.balance("alice"), bank.prepared()), (100, 0));
}

#[tokio::test]
async fn work_that_runs_while_another_instance_aborts_ends_and_stays_out() {
    let bank = Bank::new();
    let (cut_off, other) = (bank.open().await, bank.open().await);
    let branch = branch();
    let mut lock = bank.lock_alice().await;
    let late = tokio::spawn({
        let cut_off = cut_off.clone();
        async move { prepare(&cut_off, branch, &add("alice", 1)).await }
    });
    bank.until_blocked(1).await;
    done(&other, branch, Decision::Abort).await;
    super::run(&mut lock, "ROLLBACK").await;
    refused(late.await.unwrap());
    assert_eq!(
        refused(prepare(&cut_off, branch, &add("alice", 1)).await).reason,
        "BRANCH_ENDED"
    );
    assert_eq!((bank.balance("alice"), bank.prepared()), (100, 0));
}

#[tokio::test]
async fn a_promise_that_comes_after_the_fence_collides_with_it() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    let mut work = resource.join(branch).await.unwrap();
    work.execute("UPDATE accounts SET balance = 0", &NOTHING)
        .await
        .unwrap();
    work.receipt();
    // A fence that came although the work was not seen: as if its lock had been lost.
    bank.sql(&format!(
        "INSERT INTO handfast_marker (branch, log_id, state, epoch, seen_lsn) VALUES ('{}', '{:032x}', 'aborted', 1, 0)",
        key(branch),
        branch.log.0
    ));
    let vote = resource
        .prepare(branch, Work::Interactive { operations: 1 }, seen(3, 1), LIMIT)
        .await
        .unwrap();
    assert_eq!(refused(vote).reason, "BRANCH_ENDED");
    assert_eq!((bank.balance("alice"), bank.prepared()), (100, 0));
    done(&resource, branch, Decision::Abort).await;
}

#[tokio::test]
async fn a_commit_of_a_branch_that_is_gone_is_a_hazard() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let store = resource.open().await.unwrap().store;
    let (never_seen, by_hand) = (branch(), branch());
    assert_eq!(prepare(&resource, by_hand, &add("alice", 1)).await, PREPARED);
    resource.open().await.unwrap();
    let roll_back = format!("XA ROLLBACK {}", xid(store, by_hand));
    super::until(|| bank.server.sql(&bank.database, &roll_back).is_ok()).await;
    for branch in [never_seen, by_hand] {
        match resource.finish(branch, Decision::Commit).await.unwrap() {
            Completion::Hazard(evidence) => {
                assert!(evidence.contains(&xid(store, branch)), "{evidence}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_branch_that_ended_the_other_way_is_contrary() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (aborted, committed) = (branch(), branch());
    done(&resource, aborted, Decision::Abort).await;
    assert_eq!(prepare(&resource, committed, &add("alice", 1)).await, PREPARED);
    done(&resource, committed, Decision::Commit).await;
    for (branch, decision, word) in [
        (aborted, Decision::Commit, "'aborted'"),
        (committed, Decision::Abort, "'committed'"),
    ] {
        match resource.finish(branch, decision).await.unwrap() {
            Completion::Contrary(evidence) => assert!(evidence.contains(word), "{evidence}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_count_of_rows_that_differs_refuses_and_undoes_everything() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let overdraw = add("bob", 500)
        .then(
            "UPDATE accounts SET balance = balance - ? WHERE id = ? AND balance >= 500",
            [Parameter::from(500), "alice".into()],
        )
        .expecting(1);
    let refusal = refused(prepare(&resource, branch(), &overdraw).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("ROWS_DIFFER", false)
    );
    assert_eq!(refusal.message, "statement 2 touched 0 rows, and 1 were expected");
    assert_eq!((bank.balance("alice"), bank.balance("bob")), (100, 100));

    let unchanged = branch();
    assert_eq!(
        prepare(&resource, unchanged, &add("alice", 0)).await,
        PREPARED,
        "a row that matches counts, changed or not"
    );
    done(&resource, unchanged, Decision::Commit).await;
}

#[tokio::test]
async fn the_servers_refusal_comes_in_its_own_words() {
    let bank = Bank::new();
    let resource = bank.open().await;
    for (operation, reason, words) in [
        (add("alice", -500), "SQL_ERROR_4025", "CONSTRAINT"),
        (sql("SELEKT"), "SQL_ERROR_1064", "statement 1: You have an error"),
        (
            sql("INSERT INTO accounts VALUES ('alice', 1)"),
            "SQL_ERROR_1062",
            "Duplicate entry",
        ),
        (sql("SELECT * FROM nowhere"), "SQL_ERROR_1146", "nowhere"),
        (sql("USE mysql"), "STATEMENT_NOT_ALLOWED", "USE"),
        (
            add("alice", 1).then("/* sly */ COMMIT", NOTHING),
            "STATEMENT_NOT_ALLOWED",
            "COMMIT",
        ),
        (
            add("alice", 1).then("SELECT 1; COMMIT", NOTHING),
            "SQL_ERROR_1064",
            "COMMIT",
        ),
        (
            SqlOperation::new().then("SELECT ?", [1, 2]),
            "PARAMETERS_DIFFER",
            "1 parameters",
        ),
    ] {
        let refusal = refused(prepare(&resource, branch(), &operation).await);
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            (reason, false),
            "{}",
            refusal.message
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    let malformed = resource
        .prepare(branch(), Work::Operation("{}".into()), seen(1, 1), LIMIT)
        .await
        .unwrap();
    assert_eq!(refused(malformed).reason, "MALFORMED_OPERATION");
    assert_eq!((bank.balance("alice"), bank.prepared()), (100, 0));
    let good = branch();
    assert_eq!(prepare(&resource, good, &add("alice", 1)).await, PREPARED);
    done(&resource, good, Decision::Commit).await;
}

#[tokio::test]
async fn a_statement_larger_than_the_server_takes_is_refused_in_words() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql("CREATE TABLE papers (paper LONGTEXT)");
    let large = SqlOperation::new().then("INSERT INTO papers VALUES (?)", ["x".repeat(17 << 20)]);
    let refusal = refused(prepare(&resource, branch(), &large).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("STATEMENT_TOO_LARGE", false),
        "{}",
        refusal.message
    );
    assert_eq!(
        prepare(&resource, branch(), &sql("SELECT 1")).await,
        Vote::ReadOnly
    );
}

#[tokio::test]
async fn every_kind_of_parameter_arrives_as_the_type_of_its_column() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql(
        "CREATE TABLE kinds (n INT, b BOOLEAN, i SMALLINT, f DOUBLE, d DECIMAL(9,2), t TEXT CHARACTER SET utf8mb4, y BLOB, \
         j JSON, u CHAR(36), s DATE)",
    );
    let params = [
        Parameter::Null,
        true.into(),
        (-7_i64).into(),
        1.5.into(),
        "12.50".into(),
        "it's \\ ü €".into(),
        vec![0_u8, 255, 128, 39].into(),
        Parameter::Json(serde_json::json!({ "a": [1, "x"] })),
        uuid::Uuid::from_u128(5).into(),
        "2026-02-28".into(),
    ];
    let places = vec!["?"; params.len()].join(", ");
    let insert = SqlOperation::new().then(format!("INSERT INTO kinds VALUES ({places})"), params);
    // The second time on a connection that was reset.
    for _ in 0..2 {
        let branch = branch();
        assert_eq!(
            prepare(&resource, branch, &insert.clone().expecting(1)).await,
            PREPARED
        );
        done(&resource, branch, Decision::Commit).await;
    }
    let row = "NULL\t1\t-7\t1.5\t12.50\t69742773205C20C3BC20E282AC\t00FF8027\t{\"a\":[1,\"x\"]}\t\
               00000000-0000-0000-0000-000000000005\t2026-02-28";
    assert_eq!(
        bank.sql("SELECT n, b, i, f, d, HEX(t), HEX(y), j, u, s FROM kinds"),
        format!("{row}\n{row}")
    );
}

#[tokio::test]
async fn what_one_branch_sets_in_its_session_does_not_reach_the_next() {
    let bank = Bank::new();
    let mut options = bank.options();
    (options.work_connections, options.isolation) = (1, Isolation::Serializable);
    let resource = open(options).await;
    bank.sql("CREATE TABLE said (what TEXT)");
    let set = add("alice", 1)
        .then(
            "SET SESSION sql_mode = 'ANSI', SESSION foreign_key_checks = 0, @mine = 7",
            NOTHING,
        )
        .then(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
            NOTHING,
        )
        .then("SELECT GET_LOCK('of an application', 0)", NOTHING);
    let say =
        sql("INSERT INTO said SELECT CONCAT_WS(' ', @@foreign_key_checks, @mine IS NULL, @@tx_isolation)");
    for operation in [set, say] {
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &operation).await, PREPARED);
        done(&resource, branch, Decision::Commit).await;
    }
    assert_eq!(bank.sql("SELECT what FROM said"), "ON 1 SERIALIZABLE");
    assert_eq!(bank.sql("SELECT IS_USED_LOCK('of an application') IS NULL"), "1");
}
