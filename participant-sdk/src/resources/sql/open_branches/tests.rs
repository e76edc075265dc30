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
#[derive(Default)]
struct Bench {
    branches: OpenBranches<Held>,
    connection: Arc<()>,
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
    bench.branches.release(branch());
    assert!(matches!(bench.take(Duration::ZERO).await, Taken::Unknown));
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
