//! Callers that go away while their call is under way: a handler is a future that is dropped at any of its polls.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use handfast_proto::sizes::REQUEST_BYTES;
use handfast_proto::v1::transactions_server::Transactions as _;
use tonic::Code;

use super::*;
use crate::server::TransactionsService;

/// More polls than any handler needs.
const POLLS: usize = 12;

fn executing() -> tonic::Request<v1::ExecuteRequest> {
    tonic::Request::new(v1::ExecuteRequest {
        operations: vec![v1::Operation {
            resource: "orders-db".to_owned(),
            operation: b"work".as_slice().into(),
        }],
        ..v1::ExecuteRequest::default()
    })
}

/// Polls a future, between polls lets `between` happen, and drops it. Whether it came to its end before.
async fn poll_and_drop<T>(
    call: impl Future<Output = T>,
    polls: usize,
    mut between: impl AsyncFnMut(),
) -> bool {
    let mut call = pin!(call);
    for _ in 0..polls {
        let ended = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        between().await;
        if ended {
            return true;
        }
    }
    false
}

/// FAULTS 42
#[tokio::test]
async fn a_call_that_is_dropped_at_any_poll_ends_as_if_its_answer_was_lost() {
    let mut settings = settings();
    settings.server.calls = 1;
    // No deadline frees the place.
    settings.limits.default_timeout_ms = 10 * PATIENCE.as_millis() as u64;
    let mut ended = false;
    for polls in 0..POLLS {
        let cluster = Cluster::new(&settings).await;
        let mut session = cluster.dial("orders-db").await;
        let service = TransactionsService::new(cluster.handle.clone(), 1, REQUEST_BYTES);
        let mut prepared = Vec::new();
        let mut turn = 0;
        ended = poll_and_drop(service.execute(executing()), polls, async || {
            turn += 1;
            match turn {
                1 => prepared = session.prepares().await,
                2 => session.vote(&prepared).await,
                // A question is answered by the turn that comes after the vote.
                _ => drop(cluster.state(prepared[0]).await),
            }
        })
        .await;
        // The only place for a call is free again, whether there will be a vote or not.
        let next = async {
            loop {
                match service
                    .begin(tonic::Request::new(v1::BeginRequest::default()))
                    .await
                {
                    Err(status) if status.code() == Code::ResourceExhausted => tokio::task::yield_now().await,
                    begun => return begun,
                }
            }
        };
        let begun = soon(next).await.unwrap().into_inner().transaction_id;
        // Taken in with the first poll, it comes to its end without anybody who waits for it; before that, it never was.
        if turn == 1 {
            session.vote(&prepared).await;
        }
        if turn > 0 {
            while session.frame().await.decisions.is_empty() {}
        }

        // So it is with a commit by its caller's own count, and with questions.
        let commit = v1::CommitRequest {
            transaction_id: begun.clone(),
            ..v1::CommitRequest::default()
        };
        let question = async || drop(cluster.handle.ask(Question::Status).await);
        poll_and_drop(service.commit(tonic::Request::new(commit)), polls, question).await;
        let get = || {
            let of = Some(v1::get_request::Of::TransactionId(begun.clone()));
            tonic::Request::new(v1::GetRequest { of })
        };
        poll_and_drop(service.get(get()), polls, question).await;
        let found = soon(service.get(get()))
            .await
            .unwrap()
            .into_inner()
            .transaction
            .unwrap();
        let state = v1::TransactionState::try_from(found.state).unwrap();
        let expected = match polls {
            0 => v1::TransactionState::Active,
            _ => v1::TransactionState::Ended,
        };
        assert_eq!(state, expected, "after {polls} polls");
    }
    assert!(ended, "with so many polls a call comes to its end");
}
