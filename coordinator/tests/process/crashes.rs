//! The coordinator dies at every named point. Whatever it was, in the end every branch has the same decision, the key has
//! one committed transaction, and nothing stays prepared.

use handfast_coordinator::failpoint::Point;
use handfast_proto::v1;

use crate::coordinator::{Coordinator, data_directory};
use crate::participant::{State, Store};
use crate::requests::{committed, keyed};
use crate::{soon, until};

const RESOURCES: [&str; 2] = ["orders-db", "ledger"];

struct Cluster {
    coordinator: Coordinator,
    stores: [Store; 2],
}

impl Cluster {
    async fn start(data: &std::path::Path, variables: &[(&str, &str)], stores: [Store; 2]) -> Cluster {
        let coordinator = Coordinator::start_with(data, variables);
        for store in &stores {
            store.serve(&coordinator.address).await;
        }
        Cluster { coordinator, stores }
    }

    async fn execute(&self) -> Result<tonic::Response<v1::ExecuteResponse>, tonic::Status> {
        let mut client = self.coordinator.client().await;
        let request = v1::ExecuteRequest {
            wait: v1::Wait::Applied.into(),
            ..keyed("order-1", &RESOURCES)
        };
        soon("an answer or the end", client.execute(request)).await
    }
}

fn stores() -> [Store; 2] {
    [Store::new(RESOURCES[0], 1), Store::new(RESOURCES[1], 2)]
}

async fn dies_at(point: Point) {
    let (_temporary, data) = data_directory();
    let variables = [("HANDFAST_FAILPOINT", point.as_str())];
    let cluster = Cluster::start(&data, &variables, stores()).await;
    // The answer may come or not; the coordinator dies in either case.
    let first = cluster.execute().await.ok();
    let (code, words) = cluster.coordinator.ended().await;
    assert_eq!(code, None, "{}: {words}", point.as_str());

    let cluster = Cluster::start(&data, &[], cluster.stores).await;
    let transaction = committed(cluster.execute().await);
    if let Some(first) = first {
        assert_eq!(committed(Ok(first)), transaction, "{}", point.as_str());
    }
    let [orders, ledger] = &cluster.stores;
    until("the end of every branch", async || {
        let all = [orders.branches(), ledger.branches()];
        let prepared = all
            .iter()
            .flat_map(|branches| branches.values())
            .any(|state| *state == State::Prepared);
        (!prepared).then_some(())
    })
    .await;
    let commits = |store: &Store| -> Vec<_> {
        let branches = store.branches().into_iter();
        branches
            .filter(|(_, state)| *state == State::Committed)
            .map(|((transaction, _), _)| transaction)
            .collect()
    };
    assert_eq!(commits(orders), commits(ledger), "{}", point.as_str());
    assert_eq!(commits(orders).len(), 1, "{}", point.as_str());
}

macro_rules! points {
    ($($test:ident: $point:ident,)*) => {$(
        #[tokio::test]
        async fn $test() {
            dies_at(Point::$point).await;
        }
    )*};
}

points! {
    before_prepare_send: BeforePrepareSend,
    after_prepare_send: AfterPrepareSend,
    before_decision_append: BeforeDecisionAppend,
    after_decision_append: AfterDecisionAppend,
    before_decision_sync: BeforeDecisionSync,
    after_decision_sync: AfterDecisionSync,
    after_reply: AfterReply,
    after_first_commit_send: AfterFirstCommitSend,
    after_commits_send: AfterCommitsSend,
    before_end_append: BeforeEndAppend,
    after_end_append: AfterEndAppend,
}

#[tokio::test]
async fn again_and_again_during_recovery() {
    let (_temporary, data) = data_directory();
    let cluster = Cluster::start(&data, &[], stores()).await;
    let transaction = committed(cluster.execute().await);
    cluster.coordinator.kill();
    for passing in 1..=3 {
        let failpoint = format!("during_recovery:{passing}");
        let mut command = crate::coordinator::handfast(&crate::coordinator::serve_arguments(&data));
        let output = command.env("HANDFAST_FAILPOINT", failpoint).output().unwrap();
        assert_eq!(output.status.code(), None);
    }
    let cluster = Cluster::start(&data, &[], cluster.stores).await;
    assert_eq!(committed(cluster.execute().await), transaction);
}

#[tokio::test]
async fn amid_checkpoints_and_truncations() {
    let (_temporary, data) = data_directory();
    let mut stores = stores();
    let mut transaction = None;
    for point in ["during_checkpoint:5", "after_checkpoint_before_truncate:2"] {
        let variables = [
            ("HANDFAST_FAILPOINT", point),
            ("HANDFAST_LOG__CHECKPOINT_BYTES", "4096"),
        ];
        let cluster = Cluster::start(&data, &variables, stores).await;
        let id = committed(cluster.execute().await);
        assert_eq!(*transaction.get_or_insert_with(|| id.clone()), id);
        // Work makes the log grow until a checkpoint is due, and the coordinator dies of it.
        let mut client = cluster.coordinator.client().await;
        while client.execute(crate::requests::unkeyed(&RESOURCES)).await.is_ok() {}
        let (code, words) = cluster.coordinator.ended().await;
        assert_eq!(code, None, "{words}");
        stores = cluster.stores;
    }
    let cluster = Cluster::start(&data, &[], stores).await;
    assert_eq!(Some(committed(cluster.execute().await)), transaction);
}
