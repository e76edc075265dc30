use std::sync::Arc;
use std::time::Duration;

use handfast_proto::ids::{Epoch, LogId, Partition, TransactionId};

use super::*;

/// A transaction that holds a connection for as long as it is there.
struct Held {
    _connection: Arc<()>,
}

impl OpenTransaction for Held {
    fn is_lost(&self) -> bool {
        false
    }
}

/// The branches of a session, and the connection that their work holds.
struct Bench {
    branches: OpenBranches<Held>,
    connection: Arc<()>,
}

impl Default for Bench {
    fn default() -> Self {
        Bench {
            branches: OpenBranches::new(Arc::default()),
            connection: Arc::default(),
        }
    }
}

impl Bench {
    fn join(&self) -> Parked<Held> {
        assert!(self.branches.reserve(branch()).unwrap().is_none());
        Parked::new(Held {
            _connection: self.connection.clone(),
        })
    }

    fn holds_a_connection(&self) -> bool {
        Arc::strong_count(&self.connection) > 1
    }

    async fn take(&self, limit: Duration) -> Taken<Held> {
        self.branches.take(branch(), Instant::now() + limit).await
    }
}

fn branch() -> BranchKey {
    BranchKey {
        log: LogId(1),
        transaction: TransactionId::new(1_000, Partition(0), Epoch(1), 1),
        branch: BranchId(0),
    }
}

#[tokio::test]
async fn work_is_parked_joined_again_and_taken_once() {
    let bench = Bench::default();
    bench.branches.park(branch(), bench.join());
    let again = bench.branches.reserve(branch()).unwrap().unwrap();
    assert!(bench.branches.reserve(branch()).is_err(), "one after the other");
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::InUse));
    bench.branches.park(branch(), *again);
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Parked(_)));
    assert!(!bench.holds_a_connection());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Unknown));
}

#[tokio::test]
async fn a_receipt_after_the_abort_keeps_nothing() {
    let bench = Bench::default();
    let work = bench.join();
    bench.branches.discard(branch());
    bench.branches.discard(branch());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::InUse));
    assert!(
        bench.branches.reserve(branch()).is_err(),
        "its handle has it still"
    );
    bench.branches.park(branch(), work);
    assert!(!bench.holds_a_connection());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Unknown));
    // The slot is free: what comes now is the store's to refuse.
    bench.branches.park(branch(), bench.join());
    assert!(bench.holds_a_connection());
    bench.branches.discard(branch());
    assert!(!bench.holds_a_connection());
}

#[tokio::test]
async fn a_handle_that_gives_up_after_the_abort_frees_the_slot() {
    let bench = Bench::default();
    let work = bench.join();
    bench.branches.discard(branch());
    drop(work);
    bench.branches.lose(branch());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Unknown));
}

#[tokio::test]
async fn what_a_handle_gave_up_is_not_begun_anew_until_its_branch_has_ended() {
    let bench = Bench::default();
    drop(bench.join());
    bench.branches.lose(branch());
    for _ in 0..2 {
        let refused = bench.branches.reserve(branch()).err().unwrap();
        assert!(refused.message.contains("rolled back"), "{refused}");
        assert!(matches!(bench.take(Duration::ZERO).await, Taken::Lost));
    }
    bench.branches.discard(branch());
    assert!(bench.branches.reserve(branch()).is_err(), "no fence is there yet");
    bench.branches.ended(branch());
    bench.join();
}

#[tokio::test]
async fn a_join_that_came_to_nothing_may_be_made_again() {
    let bench = Bench::default();
    assert!(bench.branches.reserve(branch()).unwrap().is_none());
    drop(Reservation(&bench.branches, branch()));
    bench.join();
}

#[tokio::test]
async fn a_branch_whose_vote_was_no_is_not_begun_anew() {
    let bench = Bench::default();
    bench.branches.park(branch(), bench.join());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Parked(_)));
    bench.branches.refused(branch());
    assert!(bench.branches.reserve(branch()).is_err());
}

#[tokio::test]
async fn what_a_closed_session_lost_stays_lost_in_the_next() {
    let bench = Bench::default();
    let work = bench.join();
    bench.branches.close();
    bench.branches.park(branch(), work);
    let next: OpenBranches<Held> = OpenBranches::new(bench.branches.lost.clone());
    assert!(next.reserve(branch()).is_err());
    assert!(matches!(next.take(branch(), Instant::now()).await, Taken::Lost));
}

#[tokio::test]
async fn nothing_is_parked_in_a_session_that_is_closed() {
    let bench = Bench::default();
    let work = bench.join();
    bench.branches.close();
    bench.branches.park(branch(), work);
    assert!(!bench.holds_a_connection());
    assert!(bench.branches.reserve(branch()).is_err());
}
