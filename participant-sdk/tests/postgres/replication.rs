//! A synchronous standby that is away: what the primary shows already is not said before the standby has it too. And an asynchronous
//! one that takes over without having it all.

use std::time::Duration;

use handfast_participant::ids::Generation;
use handfast_participant::resources::postgres::PostgresResource;
use handfast_participant::{Completion, Decision, Resource};
use handfast_servers::{PostgresServer, ServerProcess};
use tokio::time::timeout;

use super::{LIMIT, PREPARED, add, branch, open, options, prepare, until};

/// Long enough for an answer that does not wait for the standby.
const AT_ONCE: Duration = Duration::from_secs(2);

const STANDBY: &str = "standby";

struct Primary {
    server: PostgresServer,
    standby: Option<ServerProcess>,
}

impl Primary {
    fn start() -> Self {
        let settings = ["max_prepared_transactions=4", "synchronous_standby_names=standby"];
        let server = PostgresServer::start(&settings).unwrap();
        let standby = Some(server.start_receiver(STANDBY).unwrap());
        let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); INSERT INTO accounts VALUES ('alice', 100)";
        server.psql("postgres", accounts).unwrap();
        Primary { server, standby }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql("postgres", sql).unwrap()
    }

    fn lose_standby(&mut self) {
        self.standby.take().unwrap().kill().unwrap();
    }

    fn start_standby(&mut self) {
        self.standby = Some(self.server.start_receiver(STANDBY).unwrap());
    }

    /// Ends the backend whose statement begins so, once it waits for the standby. What it did stays done.
    async fn end_the_wait_of(&self, statement: &str) {
        let waiting = format!("wait_event = 'SyncRep' AND query LIKE '%{statement}%'");
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE {waiting}");
        until(|| self.sql(&count) == "1").await;
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}"
        ));
    }
}

#[tokio::test]
async fn a_commit_is_done_only_once_the_standby_has_it() {
    let mut primary = Primary::start();
    let resource = open(options(&primary.server.url("postgres"))).await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    primary.lose_standby();
    let (first, ()) = tokio::join!(
        resource.finish(branch, Decision::Commit),
        primary.end_the_wait_of("COMMIT PREPARED")
    );
    assert!(!first.unwrap_err().permanent);
    // Everybody sees it by now, and a failover would lose it.
    assert_eq!(primary.sql("SELECT balance FROM accounts"), "101");
    let again = timeout(AT_ONCE, resource.finish(branch, Decision::Commit)).await;
    assert!(!matches!(again, Ok(Ok(_))), "{again:?}");

    primary.start_standby();
    let done = timeout(LIMIT, resource.finish(branch, Decision::Commit)).await;
    assert_eq!(done.unwrap().unwrap(), Completion::Done);
}

#[tokio::test]
async fn a_promise_is_voted_only_once_the_standby_has_it() {
    let mut primary = Primary::start();
    let resource = open(options(&primary.server.url("postgres"))).await;
    let branch = branch();
    primary.lose_standby();
    // The vote whose wait was ended is looked up, and must not be a yes on the primary's word alone.
    let work = add("alice", 1);
    let (voted, ()) = tokio::join!(
        timeout(AT_ONCE * 2, prepare(&resource, branch, &work)),
        primary.end_the_wait_of("PREPARE TRANSACTION")
    );
    assert!(!matches!(voted, Ok(PREPARED)), "{voted:?}");

    primary.start_standby();
    let repeated = timeout(LIMIT, prepare(&resource, branch, &work)).await.unwrap();
    // The first attempt may have refused and rolled it back meanwhile; a yes is one that the standby has.
    if repeated == PREPARED {
        assert_eq!(
            resource.finish(branch, Decision::Commit).await.unwrap(),
            Completion::Done
        );
    }
}

// FAULTS 24
#[tokio::test]
async fn what_an_asynchronous_standby_never_had_is_a_hazard_once_it_has_taken_over() {
    let mut primary = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); \
                    INSERT INTO accounts VALUES ('alice', 100), ('bob', 100)";
    primary.psql("postgres", accounts).unwrap();
    let identity = PostgresResource::new(options(&primary.url("postgres")))
        .open()
        .await
        .unwrap();
    let resource = open(options(&primary.url("postgres"))).await;
    let mut standby = primary.start_standby().unwrap();
    let (early, late) = (branch(), branch());
    assert_eq!(prepare(&resource, early, &add("alice", 1)).await, PREPARED);
    // It lists no promises before it is promoted.
    let written = primary.psql("postgres", "SELECT pg_current_wal_lsn()").unwrap();
    let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    until(|| standby.psql("postgres", &has_it).unwrap() == "t").await;
    // It falls behind, and nobody waits for it.
    standby.kill().unwrap();
    assert_eq!(prepare(&resource, late, &add("bob", 1)).await, PREPARED);
    primary.kill().unwrap();

    standby.restart().unwrap();
    standby.psql("postgres", "SELECT pg_promote()").unwrap();
    let url = standby.url("postgres");
    let promoted = PostgresResource::new(options(&url)).open().await.unwrap();
    assert_eq!(
        (promoted.store, promoted.generation),
        (identity.store, Generation(2))
    );
    let resource = open(options(&url)).await;
    let done = resource.finish(early, Decision::Commit).await.unwrap();
    assert_eq!(done, Completion::Done);
    let lost = resource.finish(late, Decision::Commit).await.unwrap();
    assert!(matches!(lost, Completion::Hazard(_)), "{lost:?}");
    let balances = "SELECT string_agg(balance::text, ',' ORDER BY id) FROM accounts";
    assert_eq!(standby.psql("postgres", balances).unwrap(), "101,100");
}
