use handfast_participant::resources::postgres::{Parameter, SqlOperation};
use handfast_participant::{BranchKey, Completion, Decision, Resource, Vote, Work};

use super::{Bank, LIMIT, PREPARED, add, branch, gid, prepare, refused, seen, sql};

#[tokio::test]
async fn a_prepared_branch_is_invisible_until_its_commit_and_then_there_once() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", -30)).await, PREPARED);
    assert_eq!(bank.balance("alice"), 100);
    for _ in 0..3 {
        assert_eq!(
            resource.finish(branch, Decision::Commit).await.unwrap(),
            Completion::Done
        );
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
    resource.finish(branch, Decision::Commit).await.unwrap();
    assert_eq!(bank.balance("alice"), 101);
    assert_eq!(
        refused(prepare(&resource, branch, &operation).await).reason,
        "BRANCH_ENDED"
    );
}

#[tokio::test]
async fn work_that_wrote_nothing_votes_read_only_and_leaves_nothing() {
    let bank = Bank::new();
    let resource = bank.open().await;
    for operation in [
        SqlOperation::new(),
        sql("SELECT * FROM accounts"),
        sql("UPDATE accounts SET balance = 0 WHERE false"),
    ] {
        assert_eq!(prepare(&resource, branch(), &operation).await, Vote::ReadOnly);
    }
    assert_eq!(bank.sql("SELECT count(*) FROM handfast.marker"), "0");
    let locking = sql("SELECT FROM accounts FOR UPDATE");
    assert_eq!(
        prepare(&resource, branch(), &locking).await,
        PREPARED,
        "row locks are held until the decision"
    );
    bank.sql(&format!(
        "ROLLBACK PREPARED '{}'",
        bank.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    ));
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
            assert_eq!(
                resource.finish(branch, Decision::Abort).await.unwrap(),
                Completion::Done
            );
        }
        let late = refused(prepare(&resource, branch, &add("alice", 1)).await);
        assert_eq!((late.reason.as_str(), late.retryable), ("BRANCH_ENDED", false));
    }
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn work_that_runs_while_another_instance_aborts_collides_with_the_fence() {
    let bank = Bank::new();
    let (cut_off, other) = (bank.open().await, bank.open().await);
    let branch = branch();
    let lock = bank.lock_alice().await;
    let late = tokio::spawn(async move { prepare(&cut_off, branch, &add("alice", 1)).await });
    bank.until_blocked(1).await;
    assert_eq!(
        other.finish(branch, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(refused(late.await.unwrap()).reason, "BRANCH_ENDED");
    assert_eq!(
        bank.sql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
        "0"
    );
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_commit_of_a_branch_that_is_gone_is_a_hazard() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (never_seen, by_hand) = (branch(), branch());
    assert_eq!(prepare(&resource, by_hand, &add("alice", 1)).await, PREPARED);
    bank.sql(&format!("ROLLBACK PREPARED '{}'", gid(by_hand)));
    for branch in [never_seen, by_hand] {
        match resource.finish(branch, Decision::Commit).await.unwrap() {
            Completion::Hazard(evidence) => assert!(evidence.contains(&gid(branch)), "{evidence}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_branch_that_ended_the_other_way_is_contrary() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let (aborted, committed) = (branch(), branch());
    resource.finish(aborted, Decision::Abort).await.unwrap();
    assert_eq!(prepare(&resource, committed, &add("alice", 1)).await, PREPARED);
    resource.finish(committed, Decision::Commit).await.unwrap();
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
            "UPDATE accounts SET balance = balance - $1 WHERE id = $2 AND balance >= $1",
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
}

#[tokio::test]
async fn the_servers_refusal_comes_in_its_own_words() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql(
        "CREATE TABLE late (id int PRIMARY KEY, other int REFERENCES late DEFERRABLE INITIALLY DEFERRED)",
    );
    for (operation, reason, words) in [
        (add("alice", -500), "SQLSTATE_23514", "accounts_balance_check"),
        (sql("SELEKT"), "SQLSTATE_42601", "statement 1: syntax error"),
        (
            sql("INSERT INTO late VALUES (1, 2)"),
            "SQLSTATE_23503",
            "foreign key",
        ),
        (
            sql("CREATE TEMP TABLE mine (id int)"),
            "SQLSTATE_0A000",
            "temporary",
        ),
        (
            add("alice", 1).then("SELECT pg_notify('a', 'b')", [] as [Parameter; 0]),
            "SQLSTATE_0A000",
            "NOTIFY",
        ),
        (
            add("alice", 1).then("SELECT pg_export_snapshot()", [] as [Parameter; 0]),
            "SQLSTATE_0A000",
            "exported snapshots",
        ),
        (
            add("alice", 1).then(
                "DO $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1'; END $$",
                [] as [Parameter; 0],
            ),
            "SQLSTATE_0A000",
            "WITH HOLD",
        ),
        (sql("LISTEN a"), "STATEMENT_NOT_ALLOWED", "LISTEN"),
        (
            add("alice", 1).then("/* sly */ COMMIT", [] as [Parameter; 0]),
            "STATEMENT_NOT_ALLOWED",
            "COMMIT",
        ),
        (
            add("alice", 1).then("SELECT 1; COMMIT", [] as [Parameter; 0]),
            "SQLSTATE_42601",
            "multiple commands",
        ),
        (
            add("alice", 1).then("DO 'BEGIN COMMIT; END'", [] as [Parameter; 0]),
            "SQLSTATE_2D000",
            "invalid transaction",
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
    assert_eq!(bank.balance("alice"), 100);
    assert_eq!(
        prepare(&resource, branch_done(&resource).await, &sql("SELECT 1")).await,
        Vote::ReadOnly
    );
}

/// A branch that was prepared and committed on connections that had failures before, and a new one.
async fn branch_done(resource: &handfast_participant::resources::postgres::PostgresResource) -> BranchKey {
    let first = branch();
    assert_eq!(prepare(resource, first, &add("bob", 1)).await, PREPARED);
    assert_eq!(
        resource.finish(first, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    branch()
}

#[tokio::test]
async fn every_kind_of_parameter_arrives_as_the_type_of_its_column() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql(
        "CREATE TABLE kinds (n int, b boolean, i smallint, f float8, d numeric, t text, y bytea, j jsonb, u uuid, a int[], nan float8)",
    );
    let branch = branch();
    let params = [
        Parameter::Null,
        true.into(),
        (-7_i64).into(),
        1.5.into(),
        "12.50".into(),
        "it's \\ ü".into(),
        vec![0_u8, 255].into(),
        Parameter::Json(serde_json::json!({ "a": [1, "x"] })),
        uuid::Uuid::from_u128(5).into(),
        "{1,2}".into(),
        f64::NAN.into(),
    ];
    let places: Vec<String> = (1..=params.len()).map(|n| format!("${n}")).collect();
    let insert = SqlOperation::new().then(
        format!("INSERT INTO kinds VALUES ({})", places.join(", ")),
        params,
    );
    assert_eq!(prepare(&resource, branch, &insert.expecting(1)).await, PREPARED);
    resource.finish(branch, Decision::Commit).await.unwrap();
    assert_eq!(
        bank.sql("SELECT * FROM kinds"),
        r#"|t|-7|1.5|12.50|it's \ ü|\x00ff|{"a": [1, "x"]}|00000000-0000-0000-0000-000000000005|{1,2}|NaN"#
    );
}

#[tokio::test]
async fn what_one_branch_sets_in_its_session_does_not_reach_the_next() {
    let bank = Bank::new();
    let mut options = bank.options();
    options.work_connections = 1;
    let resource = super::open(options).await;
    bank.sql("CREATE ROLE clerk; GRANT ALL ON accounts TO clerk");
    let set = add("alice", 1)
        .then("SET search_path TO pg_catalog", [] as [Parameter; 0])
        .then("SET synchronous_commit TO off", [] as [Parameter; 0])
        .then("SELECT pg_advisory_lock(7)", [] as [Parameter; 0]);
    let first = branch();
    assert_eq!(prepare(&resource, first, &set).await, PREPARED);
    resource.finish(first, Decision::Commit).await.unwrap();
    let second = branch();
    assert_eq!(prepare(&resource, second, &add("alice", 1)).await, PREPARED);
    resource.finish(second, Decision::Commit).await.unwrap();
    assert_eq!(
        bank.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"),
        "0"
    );

    let as_clerk = sql("SET ROLE clerk").then("UPDATE accounts SET balance = 0", [] as [Parameter; 0]);
    let refusal = refused(prepare(&resource, branch(), &as_clerk).await);
    assert_eq!(refusal.reason, "ROLE_CHANGED", "{}", refusal.message);
    let isolated = sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").then(
        "UPDATE accounts SET balance = balance + 1 WHERE id = 'bob' AND current_setting('transaction_isolation') = 'serializable'",
        [] as [Parameter; 0],
    );
    let third = branch();
    assert_eq!(prepare(&resource, third, &isolated.expecting(1)).await, PREPARED);
    resource.finish(third, Decision::Commit).await.unwrap();
    assert_eq!((bank.balance("alice"), bank.balance("bob")), (102, 101));
}
