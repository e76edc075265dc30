use handfast_participant::ids::{Generation, InstanceId};
use handfast_participant::resources::mariadb::{MariadbOptions, MariadbResource, check};
use handfast_participant::resources::{Finding, Verdict};
use handfast_participant::{Decision, Resource, ResourceError};
use handfast_servers::MariadbServer;

use super::{Bank, PREPARED, add, branch, done, furnish, open, options, prepare};

async fn refused(options: MariadbOptions, permanent: bool, words: &str) -> ResourceError {
    let error = MariadbResource::new(options).open().await.unwrap_err();
    assert_eq!(error.permanent, permanent, "{error}");
    assert!(error.message.contains(words), "{error}");
    error
}

fn found<'a>(findings: &'a [Finding], what: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.what == what)
        .unwrap_or_else(|| panic!("{what} is not among {findings:?}"))
}

#[tokio::test]
async fn a_server_that_forgets_votes_in_a_crash_is_refused_and_told_what_to_change() {
    let mut server = MariadbServer::start(&["innodb-flush-log-at-trx-commit=2"]).unwrap();
    let database = server.create_database().unwrap();
    let url = server.url(&database);
    refused(options(&url), true, "set innodb_flush_log_at_trx_commit = 1").await;
    assert!(found(&check(options(&url)).await, "innodb_flush_log_at_trx_commit").is_broken());
    server.stop();
    server.set(&["log-bin", "sync-binlog=0"]);
    server.restart().unwrap();
    refused(options(&url), true, "set sync_binlog = 1").await;
    server.stop();
    server.set(&["log-bin", "sync-binlog=1", "binlog-format=STATEMENT"]);
    server.restart().unwrap();
    furnish(&server, &database);
    let resource = open(options(&url)).await;
    let branches = [branch(), branch()];
    for (branch, account) in branches.into_iter().zip(["alice", "bob"]) {
        assert_eq!(prepare(&resource, branch, &add(account, 1)).await, PREPARED);
    }
    done(&resource, branches[0], Decision::Commit).await;
    done(&resource, branches[1], Decision::Abort).await;
    server.sql("mysql", "SET GLOBAL read_only = ON").unwrap();
    refused(options(&url), false, "connect to the primary").await;
}

#[tokio::test]
async fn a_wrong_password_is_a_persons_business_and_the_right_one_works() {
    let bank = Bank::new();
    let user = format!("u_{}", bank.database);
    bank.sql(&format!(
        "CREATE USER {user} IDENTIFIED BY 'secret'; GRANT ALL ON {}.* TO {user}",
        bank.database
    ));
    let url = |password: &str| bank.url().replace("root@", &format!("{user}{password}@"));
    for wrong in [":wrong", ""] {
        refused(options(&url(wrong)), true, "check the user and the password").await;
        let findings = check(options(&url(wrong))).await;
        assert!(found(&findings, "connection").is_broken());
    }
    open(options(&url(":secret"))).await;
    open(options(&url(":secret").replace("mysql://", "mariadb://"))).await;
}

#[tokio::test]
async fn an_unreachable_server_is_tried_again_and_an_unknown_database_is_not() {
    let bank = Bank::new();
    refused(
        options("mysql://root@127.0.0.1:1/x"),
        false,
        "connecting to MariaDB",
    )
    .await;
    assert!(found(&check(options("mysql://root@127.0.0.1:1/x")).await, "connection").is_broken());
    refused(
        options(&bank.server.url("nowhere")),
        true,
        "check the database name",
    )
    .await;
    for (url, words) in [
        ("mysql://root@127.0.0.1/x?require_ssl=true", "TLS"),
        ("mysql://root@127.0.0.1", "no MariaDB database is named"),
        ("postgres://root@127.0.0.1/x", "write mysql://"),
        ("mysql://root@127.0.0.1/x?what=ever", "what"),
    ] {
        let error = MariadbOptions::new(url, InstanceId(1)).unwrap_err();
        assert!(error.permanent && error.message.contains(words), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_user_that_may_not_make_the_tables_is_told_how_to_get_them() {
    let bank = Bank::new();
    let user = format!("l_{}", bank.database);
    bank.sql(&format!(
        "CREATE USER {user}; GRANT SELECT, UPDATE ON accounts TO {user}"
    ));
    let limited = bank.url().replace("root@", &format!("{user}@"));
    refused(
        options(&limited),
        true,
        "GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON",
    )
    .await;
    assert!(found(&check(options(&limited)).await, "handfast_ tables").is_broken());
    bank.open().await;
    refused(options(&limited), true, "").await;
    bank.sql(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON handfast_store TO {user}; GRANT SELECT, INSERT, UPDATE, DELETE ON \
         handfast_marker TO {user}"
    ));
    assert!(
        found(&check(options(&limited)).await, "handfast_ tables").is_broken(),
        "one table is still out of reach"
    );
    bank.sql(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON handfast_seen TO {user}"
    ));
    let findings = check(options(&limited)).await;
    assert!(!findings.iter().any(Finding::is_broken), "{findings:?}");
    let resource = open(options(&limited)).await;
    for decision in [Decision::Commit, Decision::Abort] {
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
        // Another instance ends the connection of this one: the same user may.
        done(&open(options(&limited)).await, branch, decision).await;
        resource.forget(&[branch]).await.unwrap();
    }
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_check_changes_nothing_and_names_what_is_better_changed() {
    let bank = Bank::new();
    bank.sql("CREATE TABLE isam (i INT) ENGINE = MyISAM");
    let findings = check(bank.options()).await;
    assert!(!findings.iter().any(Finding::is_broken), "{findings:?}");
    let tables = found(&findings, "tables");
    assert!(
        matches!(&tables.verdict, Verdict::Advice(todo) if todo.contains("ENGINE = InnoDB"))
            && tables.found.contains("isam"),
        "{tables}"
    );
    assert_eq!(bank.sql("SHOW TABLES LIKE 'handfast%'"), "");
    bank.open().await;
    bank.sql("ALTER TABLE handfast_marker ENGINE = Aria");
    refused(
        bank.options(),
        true,
        "ALTER TABLE handfast_marker ENGINE = InnoDB",
    )
    .await;
    assert!(found(&check(bank.options()).await, "handfast_marker").is_broken());
}

#[tokio::test]
async fn all_instances_agree_on_one_identity_that_stays() {
    let mut server = MariadbServer::start(&[]).unwrap();
    let database = server.create_database().unwrap();
    let url = server.url(&database);
    let (one, other) = (
        MariadbResource::new(options(&url)),
        MariadbResource::new(options(&url)),
    );
    let (first, second) = tokio::join!(one.open(), other.open());
    let identity = first.unwrap();
    assert_eq!(second.unwrap(), identity);
    assert_eq!((identity.generation, identity.attached), (Generation(1), false));
    server.stop();
    server.restart().unwrap();
    assert_eq!(one.open().await.unwrap(), identity);

    // The table was made anew where it is.
    let store = |sql: &str| server.sql(&database, sql).unwrap();
    store("UPDATE handfast_store SET made_at = 1");
    assert_eq!(one.open().await.unwrap(), identity);
    assert_ne!(store("SELECT made_at FROM handfast_store"), "1");
}

/// FAULTS 69: a machine with another network card looks as a clone of its disk does, so the two must never both take part.
#[tokio::test]
async fn a_store_on_another_server_is_another_life_of_it_once() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let identity = resource.open().await.unwrap();
    assert!(
        !found(&check(bank.options()).await, "store")
            .found
            .contains("grows")
    );
    bank.sql("UPDATE handfast_store SET server_id = 'elsewhere'");
    let looked = check(bank.options()).await;
    let store = found(&looked, "store");
    assert!(!store.is_broken() && store.found.contains("grows"), "{store}");
    for _ in 0..2 {
        let moved = resource.open().await.unwrap();
        assert_eq!((moved.store, moved.generation), (identity.store, Generation(2)));
    }
    assert_ne!(bank.sql("SELECT server_id FROM handfast_store"), "elsewhere");
}

#[tokio::test]
async fn a_check_tells_how_long_the_oldest_branch_has_been_prepared() {
    let bank = Bank::new();
    let resource = bank.open().await;
    assert_eq!(
        found(&check(bank.options()).await, "prepared branches").found,
        "none"
    );
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    let findings = check(bank.options()).await;
    let prepared = found(&findings, "prepared branches");
    assert!(prepared.found.starts_with("1, the oldest for "), "{prepared}");
    done(&resource, branch, Decision::Commit).await;
}

#[tokio::test]
async fn a_copy_is_refused_until_a_person_says_what_it_is() {
    let bank = Bank::new();
    let resource = bank.open().await;
    let identity = resource.open().await.unwrap();
    let copy = bank.server.create_database().unwrap();
    let url = bank.server.url(&copy);
    bank.sql(&format!(
        "CREATE TABLE {copy}.handfast_store LIKE handfast_store; INSERT INTO {copy}.handfast_store SELECT * FROM handfast_store"
    ));
    // A check looks at a whole schema only.
    for table in ["handfast_marker", "handfast_seen"] {
        bank.sql(&format!("CREATE TABLE {copy}.{table} LIKE {table}"));
    }
    let looked = check(options(&url)).await;
    let store = found(&looked, "store");
    assert!(
        store.is_broken() && store.to_string().contains("is a copy"),
        "{store}"
    );
    let error = refused(options(&url), true, "DELETE FROM handfast_store").await;
    let takes_its_place = error.message.split("run: ").last().unwrap();
    bank.server.sql(&copy, takes_its_place).unwrap();
    let successor = MariadbResource::new(options(&url)).open().await.unwrap();
    assert_eq!(
        (successor.store, successor.generation),
        (identity.store, Generation(2))
    );

    bank.server.sql(&copy, "DELETE FROM handfast_store").unwrap();
    let of_its_own = MariadbResource::new(options(&url)).open().await.unwrap();
    assert!(of_its_own.store != identity.store && of_its_own.generation == Generation(1));
    assert_eq!(
        resource.open().await.unwrap(),
        identity,
        "the original is untouched"
    );

    // The same name on another server, as a dump or a replica has it.
    bank.sql("UPDATE handfast_store SET server_id = 'another', made_at = 1");
    refused(bank.options(), true, "is a copy").await;
    bank.sql("DELETE FROM handfast_store");
    bank.open().await;
    bank.sql("UPDATE handfast_store SET layout = 99");
    refused(bank.options(), true, "layout 99").await;
}

#[tokio::test]
async fn tables_of_the_first_layout_are_refused_with_what_converts_them() {
    let bank = Bank::new();
    bank.open().await;
    bank.sql("ALTER TABLE handfast_seen DROP PRIMARY KEY, ADD PRIMARY KEY (log_id)");
    bank.sql("UPDATE handfast_store SET layout = 1");
    let error = MariadbResource::new(bank.options()).open().await.unwrap_err();
    assert!(error.permanent, "{error}");
    let (_, conversion) = error.message.split_once("once: ").unwrap();
    bank.sql(conversion);
    assert_eq!(bank.open().await.seen().await.unwrap(), []);
}
