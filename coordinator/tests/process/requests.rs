//! What clients ask for, and what they get if they ask for what cannot be.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use handfast_core::Limits;
use handfast_proto::sizes::REQUEST_BYTES;
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;
use handfast_proto::v1::transactions_client::TransactionsClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::coordinator::{Coordinator, data_directory};
use crate::participant::{State, Store};
use crate::soon;

/// A request without a key: one operation for each of the resources.
pub fn unkeyed(resources: &[&str]) -> v1::ExecuteRequest {
    let operation = |resource: &&str| v1::Operation {
        resource: (*resource).to_owned(),
        operation: "work".into(),
    };
    v1::ExecuteRequest {
        operations: resources.iter().map(operation).collect(),
        ..v1::ExecuteRequest::default()
    }
}

/// When every key of these tests expires. A key is its text and its expiry, so a test that asks again must ask with the same:
/// looked up once, and not at each call, where a moment could have passed between two of them.
static KEYS_EXPIRE_AT_MS: LazyLock<u64> = LazyLock::new(|| now_ms() + 3600 * 1000);

/// Unix time in milliseconds, by the clock that the coordinator looks at too.
pub fn now_ms() -> u64 {
    #[allow(clippy::disallowed_methods)] // the real world's clock is what the coordinator compares with
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// The same under a key that expires in an hour.
pub fn keyed(key: &str, resources: &[&str]) -> v1::ExecuteRequest {
    v1::ExecuteRequest {
        key: Some(v1::IdempotencyKey {
            key: key.to_owned(),
            expires_at_ms: *KEYS_EXPIRE_AT_MS,
        }),
        ..unkeyed(resources)
    }
}

/// Operations of which each is as long as it may be, and which together are longer than a request may be.
pub fn too_long(resource: &str) -> v1::ExecuteRequest {
    let operation_bytes = Limits::default().operation_bytes;
    let mut request = unkeyed(&vec![resource; REQUEST_BYTES / operation_bytes + 1]);
    for operation in &mut request.operations {
        operation.operation = vec![0; operation_bytes].into();
    }
    request
}

/// Executes without a key.
pub async fn execute(
    client: &mut TransactionsClient<Channel>,
    resources: &[&str],
) -> Result<v1::TransactionResult, Status> {
    let response = soon("an answer", client.execute(unkeyed(resources))).await?;
    Ok(response.into_inner().result.unwrap())
}

/// The transaction's id, which must have committed.
pub fn committed(response: Result<Response<v1::ExecuteResponse>, Status>) -> String {
    let result = response.unwrap().into_inner().result.unwrap();
    assert_eq!(result.outcome(), v1::Outcome::Committed, "{result:?}");
    result.transaction_id
}

fn reason<T: std::fmt::Debug>(response: Result<T, Status>) -> Reason {
    let status = response.unwrap_err();
    let failure = Failure::from_status(&status).unwrap_or_else(|| panic!("not ours: {status:?}"));
    assert!(failure.message.len() > 20, "{failure}");
    failure.reason
}

#[tokio::test]
async fn a_transaction_over_two_resources_commits_at_both() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let stores = [Store::new("orders-db", 1), Store::new("ledger", 2)];
    for store in &stores {
        store.serve(&coordinator.address).await;
    }
    let mut client = coordinator.client().await;
    let request = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..unkeyed(&["orders-db", "ledger"])
    };
    committed(client.execute(request).await);
    for store in &stores {
        assert!(store.branches().values().eq([&State::Committed]));
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let (_temporary, data) = data_directory();
    let limits = [
        ("HANDFAST_LIMITS__BRANCHES_PER_TRANSACTION", "3"),
        ("HANDFAST_LIMITS__OPERATION_BYTES", "1000"),
    ];
    let coordinator = Coordinator::start_with(&data, &limits);
    let store = Store::new("orders-db", 1);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;

    assert_eq!(reason(execute(&mut client, &[]).await), Reason::NoBranches);
    assert_eq!(
        reason(execute(&mut client, &["orders-db"; 4]).await),
        Reason::TooManyBranches
    );
    assert_eq!(
        reason(execute(&mut client, &["nobody"]).await),
        Reason::UnknownResource
    );
    assert_eq!(
        reason(execute(&mut client, &["Not A Name"]).await),
        Reason::InvalidArgument
    );

    let mut large = unkeyed(&["orders-db"]);
    large.operations[0].operation = vec![0; 1001].into();
    assert_eq!(reason(client.execute(large).await), Reason::OperationTooLarge);
    let longest = too_long("orders-db");
    assert_eq!(reason(client.execute(longest).await), Reason::OperationTooLarge);

    let long = "k".repeat(129);
    assert_eq!(
        reason(client.execute(keyed(&long, &["orders-db"])).await),
        Reason::InvalidArgument
    );
    let mut unknown = unkeyed(&["orders-db"]);
    unknown.wait = 77;
    assert_eq!(reason(client.execute(unknown).await), Reason::InvalidArgument);
    let mut expired = keyed("old", &["orders-db"]);
    expired.key.as_mut().unwrap().expires_at_ms = 1;
    assert_eq!(reason(client.execute(expired).await), Reason::KeyExpired);

    // And it serves on. What the store has seen of all this is that one transaction: frames of a session keep their order.
    let applied = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..unkeyed(&["orders-db"])
    };
    committed(client.execute(applied).await);
    assert!(store.branches().values().eq([&State::Committed]));
}

#[tokio::test]
async fn a_key_has_one_transaction_and_one_request() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let store = Store::new("orders-db", 1);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let first = committed(client.execute(keyed("order-1", &["orders-db"])).await);
    let again = committed(client.execute(keyed("order-1", &["orders-db"])).await);
    assert_eq!(first, again);
    assert_eq!(store.branches().len(), 1);
    let mut other = keyed("order-1", &["orders-db"]);
    other.operations[0].operation = "other work".into();
    assert_eq!(reason(client.execute(other).await), Reason::KeyMismatch);
}

#[tokio::test]
async fn a_commit_with_other_branches_than_enlisted_aborts() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let begun = client
        .begin(v1::BeginRequest::default())
        .await
        .unwrap()
        .into_inner();
    let request = v1::CommitRequest {
        transaction_id: begun.transaction_id.clone(),
        expected: vec![v1::ExpectedBranch {
            branch: 0,
            operations: 1,
        }],
        ..v1::CommitRequest::default()
    };
    let result = client.commit(request).await.unwrap().into_inner().result.unwrap();
    assert_eq!(result.outcome(), v1::Outcome::Aborted);
    assert_eq!(result.reason, "BRANCH_MISMATCH");
}

#[tokio::test]
async fn an_id_that_nobody_holds_is_never_executed() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let begun = client
        .begin(v1::BeginRequest::default())
        .await
        .unwrap()
        .into_inner();
    drop(coordinator);
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let commit = |transaction_id: &str| v1::CommitRequest {
        transaction_id: transaction_id.to_owned(),
        ..v1::CommitRequest::default()
    };
    assert_eq!(
        reason(client.commit(commit(&begun.transaction_id)).await),
        Reason::UnknownTransaction
    );
    assert_eq!(
        reason(client.commit(commit("no id")).await),
        Reason::InvalidArgument
    );
    let request = v1::GetRequest::default();
    assert_eq!(reason(client.get(request).await), Reason::InvalidArgument);
}

#[tokio::test]
async fn a_watcher_hears_of_the_end() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let id = client
        .begin(v1::BeginRequest::default())
        .await
        .unwrap()
        .into_inner()
        .transaction_id;
    let request = v1::WatchRequest {
        transaction_id: id.clone(),
    };
    let mut views = client.watch(request).await.unwrap().into_inner();
    let first = soon("a view", views.message())
        .await
        .unwrap()
        .unwrap()
        .transaction
        .unwrap();
    assert_eq!(first.state(), v1::TransactionState::Active);
    client
        .abort(v1::AbortRequest { transaction_id: id })
        .await
        .unwrap();
    let mut last = first;
    while let Some(view) = soon("a view", views.message()).await.unwrap() {
        last = view.transaction.unwrap();
    }
    assert_eq!(last.state(), v1::TransactionState::Ended);
    assert_eq!(last.outcome(), v1::Outcome::Aborted);
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
    ] {
        let mut stream = tokio::net::TcpStream::connect(&coordinator.address)
            .await
            .unwrap();
        // The coordinator may hang up before it has taken everything.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = soon("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
    let mut client = coordinator.client().await;
    client.begin(v1::BeginRequest::default()).await.unwrap();
}
