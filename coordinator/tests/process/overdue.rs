//! A participant that is gone raises an alarm by itself, and others go on.

use handfast_proto::v1;
use serde_json::Value;

use crate::coordinator::{Coordinator, data_directory, stderr, stdout};
use crate::participant::{Manner, State, Store};
use crate::requests::{committed, unkeyed};
use crate::until;

/// Soon enough for a test to wait for it.
const OVERDUE_AFTER_MS: u64 = 500;

/// What a status says of a resource.
fn resource(coordinator: &Coordinator, name: &str) -> Value {
    let output = coordinator.ask(&["status", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let status: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let resources = status["resources"].as_array().unwrap();
    resources
        .iter()
        .find(|resource| resource["resource"] == name)
        .unwrap()
        .clone()
}

// FAULTS 29
#[tokio::test]
async fn a_participant_that_is_gone_is_alarmed_until_it_is_back() {
    let (_temporary, data) = data_directory();
    let after_ms = OVERDUE_AFTER_MS.to_string();
    let variables = [("HANDFAST_LIMITS__OVERDUE_AFTER_MS", after_ms.as_str())];
    let coordinator = Coordinator::start_with(&data, &variables);
    let (orders, ledger) = (Store::new("orders-db", 1), Store::new("ledger", 2));
    ledger.serve(&coordinator.address).await;
    let id = owed(&coordinator, &orders).await;

    let overdue = until("the alarm", async || {
        let resource = resource(&coordinator, "orders-db");
        (resource["overdue_transactions"] == 1).then_some(resource)
    })
    .await;
    assert_eq!(overdue["oldest_overdue_transaction_id"], id);
    assert!(
        overdue["oldest_overdue_ms"].as_u64().unwrap() >= OVERDUE_AFTER_MS,
        "{overdue}"
    );
    let words = stdout(&coordinator.ask(&["status"]));
    assert!(words.contains(&format!("1, {id} for ")), "{words}");
    // Others go on, and nobody is alarmed for them.
    let request = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..unkeyed(&["ledger"])
    };
    committed(coordinator.client().await.execute(request).await);
    assert_eq!(resource(&coordinator, "ledger")["overdue_transactions"], 0);

    orders.serve(&coordinator.address).await;
    until("the end of the alarm", async || {
        (resource(&coordinator, "orders-db")["overdue_transactions"] == 0).then_some(())
    })
    .await;
    assert_eq!(orders.count(State::Committed), 1);

    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    let line = |text: &str| {
        let at = words
            .lines()
            .position(|line| line.contains(text) && line.contains("resource=orders-db"));
        at.unwrap_or_else(|| panic!("no line of orders-db says {text:?}: {words}"))
    };
    let (raised, over) = (
        line("owes acknowledgements for too long"),
        line("the alarm is over"),
    );
    assert!(raised < over, "{words}");
    let raised = words.lines().nth(raised).unwrap();
    for field in [
        "ERROR",
        "connected=false",
        "overdue=1",
        &format!("oldest={id}"),
        "repeats=0",
    ] {
        assert!(raised.contains(field), "{field}: {raised}");
    }
    let of_others = words
        .lines()
        .filter(|line| line.contains("owes") && line.contains("resource=ledger"));
    assert_eq!(of_others.count(), 0, "{words}");
}

/// Commits at a store that is gone before it can acknowledge; the transaction's id.
async fn owed(coordinator: &Coordinator, store: &Store) -> String {
    let serving = store.serve_as(&coordinator.address, Manner::VotesOnly).await;
    let mut client = coordinator.client().await;
    let id = committed(client.execute(unkeyed(&["orders-db", "ledger"])).await);
    serving.abort();
    id
}
