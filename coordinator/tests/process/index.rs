//! The index is never the truth: what the log does not hold, no answer comes from.

use std::fs;
use std::path::Path;

use handfast_proto::v1;
use handfast_proto::v1::transactions_client::TransactionsClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::coordinator::{Coordinator, data_directory, run, stdout};
use crate::participant::Store;
use crate::requests::{committed, keyed, now_ms, unkeyed};
use crate::until;

async fn execute(client: &mut TransactionsClient<Channel>, key: &str) -> String {
    committed(client.execute(keyed(key, &["orders-db"])).await)
}

/// What a key or an id finds, and `None` if nobody knows it.
async fn found(client: &mut TransactionsClient<Channel>, of: v1::get_request::Of) -> Option<v1::Transaction> {
    match client.get(v1::GetRequest { of: Some(of) }).await {
        Ok(view) => view.into_inner().transaction,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}

async fn by_key(client: &mut TransactionsClient<Channel>, key: &str) -> Option<String> {
    let view = found(client, v1::get_request::Of::Key(key.to_owned())).await?;
    assert_eq!(view.outcome(), v1::Outcome::Committed, "{view:?}");
    Some(view.transaction_id)
}

async fn history(client: &mut TransactionsClient<Channel>) -> Vec<String> {
    let request = v1::ListRequest {
        page_size: 100,
        ..v1::ListRequest::default()
    };
    let page = client.list(request).await.unwrap().into_inner();
    page.transactions
        .into_iter()
        .map(|transaction| transaction.transaction_id)
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The log as it was before its last transactions, beside an index that has them: what a disk leaves that takes no
/// power loss seriously. No participant dials in, which would refuse such a log; the index alone must see it.
/// FAULTS 67
#[tokio::test]
async fn an_index_ahead_of_its_log_is_discarded_and_built_again() {
    let (temporary, data) = data_directory();
    let (log, earlier) = (data.join("log"), temporary.path().join("earlier"));
    let store = Store::new("orders-db", 1);

    let coordinator = Coordinator::start(&data);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let kept = [
        execute(&mut client, "kept-0").await,
        execute(&mut client, "kept-1").await,
    ];
    coordinator.kill();
    copy(&log, &earlier);

    let coordinator = Coordinator::start(&data);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let lost = [
        execute(&mut client, "lost-0").await,
        execute(&mut client, "lost-1").await,
    ];
    // An orderly end writes the index.
    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));

    fs::remove_dir_all(&log).unwrap();
    copy(&earlier, &log);
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    for (number, id) in kept.iter().enumerate() {
        assert_eq!(
            by_key(&mut client, &format!("kept-{number}")).await.as_ref(),
            Some(id)
        );
    }
    for (number, id) in lost.iter().enumerate() {
        assert_eq!(by_key(&mut client, &format!("lost-{number}")).await, None);
        // The log that there is says nothing of it: it is not told as committed.
        let view = found(&mut client, v1::get_request::Of::TransactionId(id.clone())).await;
        assert_eq!(view.unwrap().state(), v1::TransactionState::NoEffects);
    }
    assert_eq!(history(&mut client).await, kept);
    assert!(data.join("index.unusable").exists());

    // What it answers stays right over one more start, in which the new index is no longer ahead.
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0));
    assert!(words.contains("it is ahead: it knows LSN"), "{words}");
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    assert_eq!(history(&mut client).await, kept);
    assert_eq!(by_key(&mut client, "kept-0").await.as_ref(), Some(&kept[0]));
    coordinator.terminate();
    let (_, words) = coordinator.ended().await;
    assert!(!words.contains("the index is built anew"), "{words}");
}

/// Waits until the newest checkpoint carries an ended transaction, so that a start reads nothing else of it.
async fn carried_by_a_checkpoint(data: &Path, transaction: &str) {
    until("a checkpoint with the end of the transaction", || {
        let dump = run(&["log", "dump", "--data-dir", data.to_str().unwrap()]);
        let carried = stdout(&dump).lines().any(|line| {
            line.trim_start().starts_with("checkpoint") && line.contains("KEY ") && line.contains(transaction)
        });
        async move { carried.then_some(()) }
    })
    .await;
}

/// The checkpoint names no branches; what the index knows of them must not go.
#[tokio::test]
async fn branches_are_shown_after_a_checkpoint_and_a_start() {
    let (_temporary, data) = data_directory();
    let often = [("HANDFAST_LOG__CHECKPOINT_BYTES", "1")];
    let store = Store::new("orders-db", 1);
    let coordinator = Coordinator::start_with(&data, &often);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let transaction = execute(&mut client, "order-1").await;
    carried_by_a_checkpoint(&data, &transaction).await;
    // An orderly end writes the index.
    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));

    for _ in 0..2 {
        let coordinator = Coordinator::start_with(&data, &often);
        let mut client = coordinator.client().await;
        let key = v1::get_request::Of::Key("order-1".to_owned());
        let view = found(&mut client, key).await.unwrap();
        assert_eq!(view.transaction_id, transaction);
        let branches = view.branches.iter().map(|branch| branch.resource.as_str());
        assert!(branches.eq(["orders-db"]), "{view:?}");
        coordinator.terminate();
        assert_eq!(coordinator.ended().await.0, Some(0));
    }
}

/// What a checkpoint no longer holds, the index must not hold either.
#[tokio::test]
async fn a_key_that_has_expired_finds_nothing_after_a_checkpoint_and_a_start() {
    let (_temporary, data) = data_directory();
    let often = [("HANDFAST_LOG__CHECKPOINT_BYTES", "1")];
    let store = Store::new("orders-db", 1);
    let coordinator = Coordinator::start_with(&data, &often);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let mut request = keyed("order-1", &["orders-db"]);
    request.key.as_mut().unwrap().expires_at_ms = now_ms() + 1500;
    committed(client.execute(request).await);
    until("the key to expire", || {
        let mut client = client.clone();
        async move { by_key(&mut client, "order-1").await.is_none().then_some(()) }
    })
    .await;
    execute(&mut client, "order-2").await;
    until("a checkpoint without the key", || {
        let dump = stdout(&run(&["log", "dump", "--data-dir", data.to_str().unwrap()]));
        let mut checkpoint = dump
            .lines()
            .filter(|line| line.trim_start().starts_with("checkpoint"));
        let gone = checkpoint.all(|line| !line.contains("order-1"));
        async move { gone.then_some(()) }
    })
    .await;
    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));
    let coordinator = Coordinator::start_with(&data, &often);
    let mut client = coordinator.client().await;
    assert_eq!(by_key(&mut client, "order-1").await, None);
    assert!(by_key(&mut client, "order-2").await.is_some());
}

/// The index and the history forget by count, and count what has no key too; a key is held for its time.
#[tokio::test]
async fn a_key_tells_its_outcome_after_the_history_has_dropped_it() {
    let (_temporary, data) = data_directory();
    let short = [("HANDFAST_LIMITS__HISTORY", "1")];
    let store = Store::new("orders-db", 1);
    let coordinator = Coordinator::start_with(&data, &short);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let applied = |request| v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..request
    };
    let transaction = committed(client.execute(applied(keyed("order-1", &["orders-db"]))).await);
    committed(client.execute(applied(unkeyed(&["orders-db"]))).await);
    until("the history drops it", || {
        let (mut client, id) = (client.clone(), transaction.clone());
        async move {
            let by_id = found(&mut client, v1::get_request::Of::TransactionId(id)).await?;
            (by_id.state() == v1::TransactionState::Forgotten).then_some(())
        }
    })
    .await;
    assert_eq!(by_key(&mut client, "order-1").await.as_ref(), Some(&transaction));
    let shown = coordinator.ask(&["tx", "show", "--key", "order-1"]);
    assert!(stdout(&shown).contains("committed"), "{}", stdout(&shown));

    coordinator.kill();
    let coordinator = Coordinator::start_with(&data, &short);
    let mut client = coordinator.client().await;
    assert_eq!(by_key(&mut client, "order-1").await, Some(transaction));
}
