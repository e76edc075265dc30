//! What waits for the disk and what does not: the disk stands still, and whoever is answered has waited for no force.

use handfast_core::{KeyClaim, RequestDigest, Vote};
use handfast_ids::IdempotencyKey;

use super::*;

/// Enough for a count: with a force each, not one of them would be answered.
const TRANSACTIONS: usize = 20;

impl Cluster {
    /// Syncs that records waited for, and records, so far.
    async fn counted(&self) -> (u64, u64) {
        let log = soon(self.handle.ask(Question::Status)).await.unwrap().log;
        (log.syncs, log.records)
    }

    /// Nothing gets to the disk from here on; what was on its way is there.
    async fn stand_still(&self) {
        let settled = async {
            loop {
                let core = self.handle.ask(Question::Status).await.unwrap().core;
                if core.durable == core.accepted {
                    return;
                }
                runtime::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(settled).await;
        self.disk.stall();
    }
}

#[tokio::test]
async fn all_read_only_costs_no_force() {
    let cluster = Cluster::new(&settings()).await;
    let mut orders = cluster.dial("orders-db").await;
    let mut stock = cluster.dial("stock").await;
    cluster.stand_still().await;
    let before = cluster.counted().await;
    for _ in 0..TRANSACTIONS {
        let executing = cluster.execute(&["orders-db", "stock"]);
        let transactions = orders.prepares().await;
        stock.prepares().await;
        orders.vote_as(&transactions, BranchId(0), &Vote::ReadOnly).await;
        stock.vote_as(&transactions, BranchId(1), &Vote::ReadOnly).await;
        assert!(is_commit(&soon(executing).await.unwrap()));
    }
    let after = cluster.counted().await;
    assert_eq!(before, after, "(syncs, records) on the disk");
    cluster.disk.resume();
}

#[tokio::test]
async fn a_single_branch_without_a_key_costs_no_force_and_one_message() {
    let cluster = Cluster::new(&settings()).await;
    let mut session = cluster.dial_as("orders-db", true).await;
    cluster.stand_still().await;
    let before = cluster.counted().await;
    for _ in 0..TRANSACTIONS {
        let executing = cluster.execute(&["orders-db"]);
        let frame = session.frame().await;
        let [prepare] = frame.prepares.as_slice() else {
            panic!("one prepare: {frame:?}");
        };
        assert!(prepare.delegated && frame.decisions.is_empty() && frame.forgets.is_empty());
        let transactions = [id(&prepare.transaction_id)];
        assert!(transactions[0].is_unrecorded());
        session
            .vote_as(&transactions, BranchId(0), &Vote::Committed)
            .await;
        assert!(is_commit(&soon(executing).await.unwrap()));
    }
    assert_eq!(before, cluster.counted().await, "(syncs, records) on the disk");
    // The markers may go once the ends are durable, which nobody waits for.
    cluster.disk.resume();
    let mut forgets = 0;
    while forgets < TRANSACTIONS {
        forgets += session.frame().await.forgets.len();
    }
}

#[tokio::test]
async fn a_single_branch_under_a_key_is_sent_once_its_record_is_durable() {
    let cluster = Cluster::new(&settings()).await;
    let mut session = cluster.dial_as("orders-db", true).await;
    cluster.stand_still().await;
    let request = Request::Execute(ExecuteRequest {
        key: Some(KeyClaim {
            key: IdempotencyKey::new("order-1").unwrap(),
            expires_at_ms: runtime::wall_ms() + 3_600_000,
            digest: RequestDigest([1; 32]),
        }),
        operations: vec![operation("orders-db")],
        timeout_ms: None,
        wait: Wait::Decided,
    });
    let handle = cluster.handle.clone();
    let executing = runtime::spawn(async move { handle.call(request, 0).await });
    soon(cluster.disk.stalled()).await;
    for _ in 0..3 {
        cluster.counted().await;
    }
    assert!(
        session.received.try_recv().is_err(),
        "the record is not durable yet"
    );
    cluster.disk.resume();
    let transactions = session.prepares().await;
    assert!(!transactions[0].is_unrecorded());
    // What the participant says is the decision: nothing more is waited for.
    cluster.disk.stall();
    session
        .vote_as(&transactions, BranchId(0), &Vote::Committed)
        .await;
    assert!(is_commit(&soon(executing).await.unwrap()));
    cluster.disk.resume();
}
