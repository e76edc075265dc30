//! What MariaDB does that one would not expect. Each trap is first shown with the server alone, so that the test goes red when a
//! later version does otherwise, and then with what the resource makes of it.

use std::sync::Arc;

use handfast_participant::{BranchKey, Completion, Decision, Resource, ScanLine, ScanPhase};
use handfast_servers::MariadbServer;

use super::{
    Bank, NOTHING, PREPARED, add, branch, done, error_of, open, prepare, refused, run, sql, until, xid,
};

const NOT_A_TRANSACTION: u16 = 1397;
const NOT_NOW: u16 = 1399;

#[tokio::test]
async fn a_prepared_transaction_belongs_to_its_connection_while_that_lives() {
    let bank = Bank::new();
    let (mut preparing, mut other) = (bank.connect().await, bank.connect().await);
    run(
        &mut preparing,
        "XA START 'trap'; UPDATE accounts SET balance = balance + 1; XA END 'trap'; XA PREPARE 'trap'",
    )
    .await;
    assert!(bank.sql("XA RECOVER").contains("trap"), "it is listed");
    assert_eq!(error_of(&mut other, "XA COMMIT 'trap'").await, NOT_A_TRANSACTION);
    drop(preparing);
    until(|| bank.server.sql(&bank.database, "XA COMMIT 'trap'").is_ok()).await;
    assert_eq!(bank.balance("alice"), 101);

    let (resource, other) = (bank.open().await, bank.open().await);
    for decision in [Decision::Commit, Decision::Abort] {
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &add("alice", 10)).await, PREPARED);
        done(&other, branch, decision).await;
        done(&resource, branch, decision).await;
    }
    assert_eq!((bank.balance("alice"), bank.prepared()), (111, 0));
}

/// The server's own log tells on which connection it was asked for what.
#[tokio::test]
async fn an_instance_finishes_what_it_prepared_on_the_same_connection_and_goes_on_using_that() {
    let bank = Bank::on(Arc::new(
        MariadbServer::start(&["general-log=1", "log-output=TABLE"]).unwrap(),
    ));
    let asked = |what: &str, branch: BranchKey| -> Vec<u64> {
        let listed = bank.sql(&format!(
            "SELECT thread_id FROM mysql.general_log WHERE command_type = 'Query' AND argument LIKE '%{what}%{:032x}%' \
             AND argument NOT LIKE '%general_log%' GROUP BY thread_id ORDER BY MIN(event_time)",
            branch.transaction.as_u128()
        ));
        listed.lines().map(|line| line.parse().unwrap()).collect()
    };
    let mut options = bank.options();
    options.work_connections = 1;
    let resource = open(options.clone()).await;
    let mut used = None;
    for (decision, verb) in [(Decision::Commit, "XA COMMIT"), (Decision::Abort, "XA ROLLBACK")] {
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &add("alice", 10)).await, PREPARED);
        done(&resource, branch, decision).await;
        let prepared = asked("XA PREPARE", branch);
        let connection = *used.get_or_insert(prepared[0]);
        assert_eq!(prepared, [connection], "the connection serves the next branch");
        let finished = asked(verb, branch);
        assert_eq!(finished[0], connection, "{verb}");
        // An abort looks once more, on a connection for decisions, whether anything is left.
        assert!(
            !finished[1..].contains(&connection),
            "{verb} is asked for there once"
        );
        assert_eq!(finished.len() == 1, decision == Decision::Commit, "{finished:?}");
    }
    // Without room for it the connection ends, and another one finishes the branch.
    options.prepared_connections = 0;
    let crowded = open(options).await;
    let branch = branch();
    assert_eq!(prepare(&crowded, branch, &add("alice", 10)).await, PREPARED);
    done(&crowded, branch, Decision::Commit).await;
    let prepared = asked("XA PREPARE", branch);
    assert!(!asked("XA COMMIT", branch).contains(&prepared[0]));
    assert_eq!((bank.balance("alice"), bank.prepared()), (120, 0));
}

#[tokio::test]
async fn a_connection_that_holds_a_prepared_transaction_takes_no_other_work() {
    let bank = Bank::new();
    let mut conn = bank.connect().await;
    run(
        &mut conn,
        "XA START 'held'; UPDATE accounts SET balance = balance + 1; XA END 'held'; XA PREPARE 'held'",
    )
    .await;
    for statement in [
        "SELECT * FROM accounts",
        "XA START 'next'",
        "BEGIN",
        "CREATE TABLE t (i INT)",
    ] {
        assert_eq!(error_of(&mut conn, statement).await, NOT_NOW, "{statement}");
    }
    run(&mut conn, "XA ROLLBACK 'held'").await;

    // One working connection, no room for held ones, then room: the promises outnumber the connections either way.
    bank.sql("INSERT INTO accounts VALUES ('a0', 0), ('a1', 0), ('a2', 0), ('a3', 0)");
    for room in [0, 2, 8] {
        let mut options = bank.options();
        (options.work_connections, options.prepared_connections) = (1, room);
        let resource = open(options).await;
        let branches = [branch(), branch(), branch(), branch()];
        for (n, branch) in branches.iter().enumerate() {
            assert_eq!(
                prepare(&resource, *branch, &add(&format!("a{n}"), 1)).await,
                PREPARED
            );
        }
        assert_eq!(bank.prepared(), 4);
        for branch in branches {
            done(&resource, branch, Decision::Commit).await;
        }
    }
    assert_eq!(
        bank.sql("SELECT SUM(balance) FROM accounts WHERE id LIKE 'a_'"),
        "12"
    );
}

#[tokio::test]
async fn a_transaction_that_is_not_there_is_done_only_with_its_marker() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    done(&resource, branch, Decision::Commit).await;
    let mut conn = bank.connect().await;
    let commit = format!("XA COMMIT {}", xid(resource.open().await.unwrap().store, branch));
    assert_eq!(error_of(&mut conn, &commit).await, NOT_A_TRANSACTION);
    done(&resource, branch, Decision::Commit).await;
    bank.sql("DELETE FROM handfast_marker");
    assert!(matches!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Hazard(_)
    ));
}

#[tokio::test]
async fn what_commits_implicitly_is_refused_and_nothing_of_the_branch_stays() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.define("CREATE PROCEDURE sly() BEGIN UPDATE accounts SET balance = 0; COMMIT; END")
        .await;
    for statement in [
        "CREATE TABLE t (i INT)",
        "ALTER TABLE accounts ADD x INT",
        "TRUNCATE accounts",
        "DROP TABLE accounts",
        "ANALYZE TABLE accounts",
        "FLUSH TABLES",
        "GRANT SELECT ON *.* TO nobody",
        "CALL sly()",
    ] {
        let refusal = refused(prepare(&resource, branch(), &add("alice", 1).then(statement, NOTHING)).await);
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("SQL_ERROR_1399", false),
            "{statement}: {}",
            refusal.message
        );
    }
    assert_eq!(
        (bank.balance("alice"), bank.balance("bob"), bank.prepared()),
        (100, 100, 0)
    );
}

#[tokio::test]
async fn a_statement_that_leaves_its_transaction_is_noticed_before_the_vote() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let store = resource.open().await.unwrap().store;
    bank.define("CREATE PROCEDURE dynamic(what TEXT) BEGIN EXECUTE IMMEDIATE what; END")
        .await;
    for ends in [
        "XA END {}",
        "XA END {}; XA COMMIT {} ONE PHASE",
        "XA END {}; XA ROLLBACK {}",
    ] {
        let branch = branch();
        let mut operation = add("alice", 1);
        for statement in ends.split("; ") {
            let statement = statement.replace("{}", &xid(store, branch));
            operation = operation.then("CALL dynamic(?)", [statement]);
        }
        let refusal = refused(prepare(&resource, branch, &operation).await);
        assert!(
            ["TRANSACTION_ENDED", "SQL_ERROR_1399"].contains(&refusal.reason.as_str()),
            "{ends}: {refusal:?}"
        );
        let markers = bank.sql("SELECT COUNT(*) FROM handfast_marker WHERE state = 'committed'");
        assert_eq!((markers.as_str(), bank.prepared()), ("0", 0), "{ends}");
        done(&resource, branch, Decision::Abort).await;
    }
}

#[tokio::test]
async fn a_branch_that_writes_what_cannot_be_rolled_back_is_refused_and_says_so() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.sql("CREATE TABLE isam (i INT) ENGINE = MyISAM; CREATE TABLE aria (i INT) ENGINE = Aria TRANSACTIONAL = 1");
    bank.sql(
        "CREATE TRIGGER hidden AFTER UPDATE ON accounts FOR EACH ROW INSERT INTO isam VALUES (NEW.balance)",
    );
    for operation in [
        sql("INSERT INTO isam VALUES (1)"),
        sql("INSERT INTO aria VALUES (1)"),
        add("alice", 1),
    ] {
        let branch = branch();
        let refusal = refused(prepare(&resource, branch, &operation).await);
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("NOT_TRANSACTIONAL", false),
            "{}",
            refusal.message
        );
        done(&resource, branch, Decision::Abort).await;
    }
    assert_eq!((bank.balance("alice"), bank.prepared()), (100, 0));
    assert_eq!(
        bank.sql("SELECT COUNT(*) FROM isam") + &bank.sql("SELECT COUNT(*) FROM aria"),
        "21",
        "what such a table was told stays: the guide says so"
    );
    let reads = sql("SELECT * FROM isam");
    assert_eq!(
        prepare(&resource, branch(), &reads).await,
        handfast_participant::Vote::ReadOnly,
        "reading it is harmless"
    );
}

#[tokio::test]
async fn a_write_that_is_hidden_from_the_counters_is_promised_all_the_same() {
    let bank = Bank::new();
    let resource = bank.open().await;
    bank.define(
        "CREATE FUNCTION book() RETURNS INT BEGIN UPDATE accounts SET balance = balance - 1 WHERE id = 'alice'; RETURN 1; END",
    )
    .await;
    for limit in [0, 1, 2] {
        let branch = branch();
        let hidden = sql(&format!("SET sql_select_limit = {limit}")).then("SET @a = book()", NOTHING);
        assert_eq!(prepare(&resource, branch, &hidden).await, PREPARED, "{limit}");
        done(&resource, branch, Decision::Commit).await;
    }
    assert_eq!(bank.balance("alice"), 97);
    let reads = sql("SET @a = 1").then("SELECT * FROM accounts", NOTHING);
    assert_eq!(
        prepare(&resource, branch(), &reads).await,
        handfast_participant::Vote::ReadOnly,
        "all counters are there again, and none has counted"
    );
}

#[tokio::test]
async fn names_are_split_by_their_lengths_and_those_of_others_left_alone() {
    let server = Arc::new(MariadbServer::start(&[]).unwrap());
    let (bank, elsewhere) = (Bank::on(server.clone()), Bank::on(server.clone()));
    let resource = bank.open().await;
    let store = resource.open().await.unwrap().store;
    let (ours, of_other_database) = (branch(), branch());
    let full = xid(store, branch());
    let foreign = [
        "'ab','c'".to_owned(),
        "'a','bc'".to_owned(),
        "X'00ff27','c',7".to_owned(),
        full.replace(",1212569649", ",1212569650"),
        format!("'{}','{}',1212569649", "0".repeat(64), "z".repeat(40)),
    ];
    bank.sql("CREATE TABLE theirs (i INT)");
    for name in &foreign {
        server
            .sql(
                &bank.database,
                &format!("XA START {name}; INSERT INTO theirs VALUES (1); XA END {name}; XA PREPARE {name}"),
            )
            .unwrap();
    }
    let other = elsewhere.open().await;
    assert_eq!(
        prepare(&other, of_other_database, &add("alice", 1)).await,
        PREPARED
    );
    assert_eq!(prepare(&resource, ours, &add("alice", 1)).await, PREPARED);
    let only_ours = [ScanLine {
        branch: ours,
        phase: ScanPhase::Prepared,
    }];
    assert_eq!(resource.scan().await.unwrap(), only_ours);
    assert!(
        matches!(
            resource
                .finish(of_other_database, Decision::Commit)
                .await
                .unwrap(),
            Completion::Hazard(_)
        ),
        "one server has one list, and yet a branch of another database is not ours"
    );
    assert_eq!(elsewhere.balance("alice"), 100);
    done(&resource, ours, Decision::Commit).await;
    done(&other, of_other_database, Decision::Commit).await;
    assert_eq!(elsewhere.balance("alice"), 101);
    for name in &foreign {
        assert!(
            server.sql("mysql", &format!("XA ROLLBACK {name}")).is_ok(),
            "{name} is still there"
        );
    }
}
