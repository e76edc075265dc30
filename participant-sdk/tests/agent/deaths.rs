//! The agent of a PostgreSQL database, killed at each of its named points. Another instance finishes what it had promised, and
//! what it had done is not done again.

use handfast_participant::resources::postgres::{Parameter, SqlOperation};
use handfast_participant::{Outcome, Transaction, failpoint};
use handfast_servers::PostgresServer;

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{posting, until};

/// Points that lie in the SDK's journal, which this resource does not have.
const OF_THE_JOURNAL: [&str; 3] = ["after_reserve", "after_prepare_append", "after_commit_append"];

/// What becomes of the transaction.
#[derive(Clone, Copy, PartialEq)]
enum Becomes {
    Nothing,
    ACommit,
    /// The vote may have left the process or not.
    Either,
}

/// Adds a row. There is no key, so that a row that is added twice shows.
fn entry(id: i64) -> bytes::Bytes {
    SqlOperation::new()
        .then("INSERT INTO entries VALUES ($1)", [Parameter::from(id)])
        .expecting(1)
        .encode()
}

async fn dies(point: &str, becomes: Becomes) {
    let (server, coordinator) = (PostgresServer::shared().unwrap(), Coordinator::start().await);
    let database = server.create_database().unwrap();
    let sql = |sql: &str| server.psql(&database, sql).unwrap();
    sql("CREATE TABLE entries (id bigint)");
    let rows = |id: u8| sql(&format!("SELECT count(*) FROM entries WHERE id = {id}"));
    let prepared = || sql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()");
    let url = format!("url = {:?}", server.url(&database));
    // Of processes of their own: a ledger passes points of the same names.
    let left = AgentFile::new(&coordinator.address).with_ledger("left");
    let [first, second] =
        [(), ()].map(|()| AgentFile::new(&coordinator.address).with("postgres", "entries", &url));

    let _left = left.run(&[]);
    let mut dying = first.run(&[(failpoint::VARIABLE, point)]);
    // Nobody has this account, so where the transaction is to abort, this side refuses.
    let account = if point.contains("abort") {
        "nobody"
    } else {
        "alice"
    };
    let transaction = Transaction::new()
        .operation("entries", entry(1))
        .operation("left", posting(account, 1));
    let outcome = coordinator.outcome(transaction).await;
    dying.dies_at(point).await;
    let committed = match outcome {
        Outcome::Committed { .. } => true,
        Outcome::Aborted { .. } => false,
        other => panic!("{point}: {other:?}"),
    };
    assert!(
        becomes == Becomes::Either || committed == (becomes == Becomes::ACommit),
        "{point}: {outcome:?}"
    );

    let taking_over = second.run(&[]);
    until("the end of all branches", async || prepared() == "0").await;
    let next = Transaction::new()
        .operation("entries", entry(2))
        .operation("left", posting("alice", 1));
    coordinator.commit(next).await;
    let once = u8::from(committed).to_string();
    assert_eq!((rows(1), rows(2)), (once, "1".to_owned()), "{point}");
    assert_eq!(prepared(), "0", "{point}");
    assert_eq!(taking_over.end().await, Some(0), "{point}");
}

macro_rules! dies_at {
    ($($point:ident: $becomes:ident;)*) => {
        $(
            #[tokio::test]
            async fn $point() {
                dies(stringify!($point), Becomes::$becomes).await;
            }
        )*

        /// A point that is added to the participant must be added here, or named as one of the journal.
        #[test]
        fn every_point_is_passed() {
            let passed = [$(stringify!($point)),*];
            let points = failpoint::NAMES.into_iter().filter(|point| !OF_THE_JOURNAL.contains(point));
            assert!(points.eq(passed));
        }
    };
}

dies_at! {
    after_prepare_received: Nothing;
    after_prepare_sync: Nothing;
    after_vote_sent: Either;
    after_commit_received: ACommit;
    after_commit_sync: ACommit;
    after_abort_received: Nothing;
    after_abort_sync: Nothing;
    after_ack_sent: ACommit;
}
