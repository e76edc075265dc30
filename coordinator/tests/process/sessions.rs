//! Participants that dial in, well and badly, and the end that they are told of.

use bytes::Bytes;
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;

use crate::coordinator::{Coordinator, data_directory};
use crate::participant::{Session, Store, hello};
use crate::requests::{keyed, unkeyed};
use crate::{soon, until};

fn first(hello: v1::Hello) -> v1::SessionRequest {
    v1::SessionRequest {
        hello: Some(hello),
        ..v1::SessionRequest::default()
    }
}

async fn refusal(coordinator: &Coordinator, frame: v1::SessionRequest) -> Reason {
    let mut session = Session::open(&coordinator.address, frame).await;
    let (goodbye, status) = session.refusal().await;
    let failure = Failure::from_status(&status).unwrap_or_else(|| panic!("not ours: {status:?}"));
    assert_eq!(goodbye.expect("a goodbye").reason, failure.reason.as_str());
    failure.reason
}

#[tokio::test]
async fn a_bad_first_frame_is_answered_with_its_reason() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    assert_eq!(
        refusal(&coordinator, v1::SessionRequest::default()).await,
        Reason::ProtocolViolation
    );
    let mut other = hello("orders-db", 1);
    other.protocol_version = 2;
    assert_eq!(refusal(&coordinator, first(other)).await, Reason::ProtocolVersion);
    let mut short = hello("orders-db", 1);
    short.store_id = Bytes::from_static(b"short");
    assert_eq!(refusal(&coordinator, first(short)).await, Reason::InvalidArgument);
}

#[tokio::test]
async fn a_frame_that_breaks_the_rules_ends_its_session_only() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut good = Session::welcomed(&coordinator.address, "ledger", 2).await;
    let mut bad = Session::welcomed(&coordinator.address, "orders-db", 1).await;
    let vote = v1::Vote {
        transaction_id: Bytes::from_static(b"not an id"),
        ..v1::Vote::default()
    };
    bad.send(v1::SessionRequest {
        votes: vec![vote],
        ..v1::SessionRequest::default()
    })
    .await;
    let (_, status) = bad.refusal().await;
    assert_eq!(
        Failure::from_status(&status).unwrap().reason,
        Reason::ProtocolViolation
    );

    let mut client = coordinator.client().await;
    let executing = tokio::spawn(async move { client.execute(keyed("k", &["ledger"])).await });
    assert_eq!(good.next().await.unwrap().prepares.len(), 1);
    executing.abort();
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_session() {
    let (_temporary, data) = data_directory();
    let variables = [
        ("HANDFAST_SERVER__FRAME_BYTES", "70000"),
        ("HANDFAST_LIMITS__OPERATION_BYTES", "1000"),
    ];
    let coordinator = Coordinator::start_with(&data, &variables);
    let mut session = Session::welcomed(&coordinator.address, "orders-db", 1).await;
    let vote = v1::Vote {
        message: "x".repeat(80_000),
        ..v1::Vote::default()
    };
    session
        .send(v1::SessionRequest {
            votes: vec![vote],
            ..v1::SessionRequest::default()
        })
        .await;
    let (_, status) = session.refusal().await;
    assert_eq!(
        Failure::from_status(&status).unwrap().reason,
        Reason::ProtocolViolation
    );
}

#[tokio::test]
async fn another_store_under_the_name_is_refused() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    Session::welcomed(&coordinator.address, "orders-db", 1).await;
    assert_eq!(
        refusal(&coordinator, first(hello("orders-db", 2))).await,
        Reason::StoreMismatch
    );
}

#[tokio::test]
async fn a_silent_participant_is_let_go_and_one_that_speaks_is_kept() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start_with(&data, &[("HANDFAST_SERVER__HEARTBEAT_MS", "200")]);
    let mut session = Session::welcomed(&coordinator.address, "orders-db", 1).await;
    let (goodbye, _) = session.refusal().await;
    assert_eq!(goodbye.unwrap().reason, "SILENT_PEER");
}

#[tokio::test]
async fn a_witness_of_a_later_log_stops_the_coordinator() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let session = Session::welcomed(&coordinator.address, "orders-db", 1).await;
    drop(session);
    let mut frame = first(hello("orders-db", 1));
    let mut probe = Session::open(&coordinator.address, frame.clone()).await;
    let welcome = probe.next().await.unwrap().welcome.unwrap();
    let seen = v1::Seen {
        log_id: welcome.log_id,
        epoch: welcome.epoch,
        lsn: welcome.durable_lsn + 1000,
    };
    frame.hello.as_mut().unwrap().seen.push(seen);
    let _witness = Session::open(&coordinator.address, frame).await;
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(7), "{words}");
    assert!(words.contains("newest copy"), "{words}");
}

#[tokio::test]
async fn asked_to_end_it_delivers_what_is_decided_and_says_goodbye() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut session = Session::welcomed(&coordinator.address, "orders-db", 1).await;
    let mut client = coordinator.client().await;
    let executing = tokio::spawn(async move { client.execute(keyed("k", &["orders-db"])).await });
    let prepare = session.next().await.unwrap().prepares.remove(0);
    let vote = v1::Vote {
        transaction_id: prepare.transaction_id.clone(),
        branch: prepare.branch,
        kind: v1::VoteKind::Prepared.into(),
        ..v1::Vote::default()
    };
    session
        .send(v1::SessionRequest {
            votes: vec![vote],
            ..v1::SessionRequest::default()
        })
        .await;
    let decision = session.next().await.unwrap().decisions.remove(0);
    assert_eq!(decision.kind(), v1::DecisionKind::Commit);
    soon("the answer", executing).await.unwrap().unwrap();

    coordinator.terminate();
    let address = coordinator.address.clone();
    until("new work to be refused", || {
        let address = address.clone();
        async move {
            let mut client =
                v1::transactions_client::TransactionsClient::connect(format!("http://{address}"))
                    .await
                    .ok()?;
            match client.begin(v1::BeginRequest::default()).await {
                // The signal has not arrived yet. An open transaction would hold the drain up until its deadline.
                Ok(begun) => {
                    let transaction_id = begun.into_inner().transaction_id;
                    client.abort(v1::AbortRequest { transaction_id }).await.ok()?;
                    None
                }
                Err(status) => (Failure::from_status(&status)?.reason == Reason::Draining).then_some(()),
            }
        }
    })
    .await;
    let ack = v1::Ack {
        transaction_id: prepare.transaction_id,
        branch: prepare.branch,
        decision: v1::DecisionKind::Commit.into(),
        kind: v1::AckKind::Done.into(),
        evidence: String::new(),
    };
    session
        .send(v1::SessionRequest {
            acks: vec![ack],
            ..v1::SessionRequest::default()
        })
        .await;
    let mut goodbye = None;
    while let Ok(frame) = session.next().await {
        goodbye = frame.goodbye.or(goodbye);
    }
    assert_eq!(goodbye.unwrap().reason, "DRAINING");
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains("could be delivered in time"), "{words}");
}

#[tokio::test]
async fn a_resource_that_is_away_is_told_apart_from_an_unknown_one() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let serving = Store::new("orders-db", 1).serve(&coordinator.address).await;
    serving.abort();
    let mut client = coordinator.client().await;
    until("the session to be noticed as gone", async || {
        let status = client.clone().execute(unkeyed(&["orders-db"])).await.err()?;
        (Failure::from_status(&status)?.reason == Reason::ResourceDown).then_some(())
    })
    .await;
    let status = client.execute(unkeyed(&["nobody"])).await.unwrap_err();
    assert_eq!(
        Failure::from_status(&status).unwrap().reason,
        Reason::UnknownResource
    );
}

#[tokio::test]
async fn a_store_that_has_failed_over_or_was_restored_is_told() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    for generation in [3, 3, 4] {
        let first = v1::SessionRequest {
            hello: Some(v1::Hello {
                generation,
                ..hello("orders-db", 1)
            }),
            ..v1::SessionRequest::default()
        };
        let frame = Session::open(&coordinator.address, first)
            .await
            .next()
            .await
            .unwrap();
        assert!(frame.welcome.is_some());
    }
    coordinator.terminate();
    let (_, words) = coordinator.ended().await;
    let told = |line: &&str| line.contains("the store has a higher generation");
    let lines: Vec<&str> = words.lines().filter(told).collect();
    let [line] = lines.as_slice() else {
        panic!("once, when it grew: {words}");
    };
    for word in ["WARN", "resource=orders-db", "before=3", "after=4"] {
        assert!(line.contains(word), "{word}: {line}");
    }
}
