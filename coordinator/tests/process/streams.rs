//! Many transactions on one stream.

use std::collections::BTreeMap;

use handfast_proto::v1;
use handfast_proto::v1::numbered_answer::Answer;
use handfast_proto::v1::transactions_client::TransactionsClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::coordinator::{Coordinator, data_directory};
use crate::participant::{State, Store};
use crate::requests::{committed, keyed, too_long, unkeyed};
use crate::soon;

/// One stream, message by message.
struct Stream {
    requests: mpsc::Sender<v1::ExecuteStreamRequest>,
    answers: Streaming<v1::ExecuteStreamResponse>,
}

impl Stream {
    async fn open(client: &mut TransactionsClient<Channel>) -> Stream {
        let (requests, outgoing) = mpsc::channel(4);
        let opened = soon("a stream", client.execute_stream(ReceiverStream::new(outgoing))).await;
        let answers = opened.unwrap().into_inner();
        Stream { requests, answers }
    }

    async fn ask(&self, requests: impl IntoIterator<Item = (u64, Option<v1::ExecuteRequest>)>) {
        let numbered = |(number, request)| v1::NumberedRequest { number, request };
        let requests = requests.into_iter().map(numbered).collect();
        let message = v1::ExecuteStreamRequest { requests };
        self.requests.send(message).await.unwrap();
    }

    /// The next answers, until there are so many.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answer> {
        let mut found = BTreeMap::new();
        while found.len() < count {
            let message = soon("answers", self.answers.message()).await.unwrap().unwrap();
            for numbered in message.answers {
                let before = found.insert(numbered.number, numbered.answer.unwrap());
                assert_eq!(before, None, "{} is answered once", numbered.number);
            }
        }
        found
    }
}

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Failure(failure) => &failure.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_request_is_answered_under_its_number_and_a_bad_one_spoils_no_other() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let store = Store::new("ledger", 1);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let mut stream = Stream::open(&mut client).await;
    let good = (0..500).map(|number| (number, Some(unkeyed(&["ledger"]))));
    let bad = [
        (500, None),
        (501, Some(unkeyed(&[]))),
        (502, Some(unkeyed(&["nobody"]))),
        (503, Some(unkeyed(&["no such name!"]))),
    ];
    stream.ask(good.chain(bad)).await;
    let answers = stream.answers(504).await;
    let ids: std::collections::BTreeSet<_> = (0..500)
        .map(|number| match &answers[&number] {
            Answer::Committed(id) => id.clone(),
            other => panic!("{number}: {other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 500, "each is a transaction of its own");
    assert_eq!(reason(&answers[&500]), "INVALID_ARGUMENT");
    assert_eq!(reason(&answers[&501]), "NO_BRANCHES");
    assert_eq!(reason(&answers[&502]), "UNKNOWN_RESOURCE");
    assert_eq!(reason(&answers[&503]), "INVALID_ARGUMENT");

    // A client that has nothing more to ask hears everything, and then the end.
    let last = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..unkeyed(&["ledger"])
    };
    stream.ask([(7, Some(last))]).await;
    let Stream { requests, answers } = stream;
    drop(requests);
    let (closed, _) = mpsc::channel(1);
    let mut rest = Stream {
        requests: closed,
        answers,
    };
    assert!(matches!(rest.answers(1).await[&7], Answer::Committed(_)));
    assert_eq!(soon("the end", rest.answers.message()).await.unwrap(), None);
    assert_eq!(store.branches().len(), 501);
    assert!(store.branches().values().all(|state| *state == State::Committed));
}

#[tokio::test]
async fn a_key_is_one_transaction_on_a_stream_and_beside_it() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    Store::new("ledger", 1).serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let request = keyed("order-4711", &["ledger"]);
    let called = committed(client.execute(request.clone()).await);
    let mut stream = Stream::open(&mut client).await;
    stream.ask([(1, Some(request.clone())), (2, Some(request))]).await;
    for answer in stream.answers(2).await.into_values() {
        let Answer::Committed(id) = answer else {
            panic!("{answer:?}")
        };
        let id = handfast_proto::convert::transaction_id(&id).unwrap();
        assert_eq!(id.to_string(), called);
    }
    let other = keyed("order-4711", &["ledger", "ledger"]);
    stream.ask([(3, Some(other))]).await;
    assert_eq!(reason(&stream.answers(1).await[&3]), "KEY_MISMATCH");
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_its_transactions_to_the_coordinator() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let store = Store::new("ledger", 1);
    store.serve(&coordinator.address).await;
    let mut vanishing = coordinator.client().await;
    let stream = Stream::open(&mut vanishing).await;
    stream
        .ask((0..50).map(|number| (number, Some(unkeyed(&["ledger"])))))
        .await;
    let all_there = || async { (store.branches().len() == 50).then_some(()) };
    crate::until("all prepares", all_there).await;
    drop((stream, vanishing));
    let all_done = || async {
        let done = store.branches().values().all(|state| *state == State::Committed);
        done.then_some(())
    };
    crate::until("all commits", all_done).await;
    let mut client = coordinator.client().await;
    committed(client.execute(unkeyed(&["ledger"])).await);
}

#[tokio::test]
async fn more_requests_than_a_stream_may_have_in_one_message_end_it_with_words() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut client = coordinator.client().await;
    let mut stream = Stream::open(&mut client).await;
    stream.ask((0..131_073).map(|number| (number, None))).await;
    let ended = soon("the end", stream.answers.message()).await;
    assert!(
        matches!(&ended, Err(status) if status.code() == Code::InvalidArgument && status.message().contains("131072")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_request_that_is_too_long_is_told_so_and_breaks_nothing_of_its_stream() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let store = Store::new("ledger", 1);
    store.serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let mut stream = Stream::open(&mut client).await;
    let good = |number| (number, Some(unkeyed(&["ledger"])));
    let bad = |number| (number, Some(too_long("ledger")));
    stream.ask([good(1)]).await;
    stream.ask([bad(2)]).await;
    stream.ask([good(3), bad(4), good(5)]).await;
    let answers = stream.answers(5).await;
    for number in [1, 3, 5] {
        assert!(
            matches!(answers[&number], Answer::Committed(_)),
            "{number}: {answers:?}"
        );
    }
    for number in [2, 4] {
        assert_eq!(reason(&answers[&number]), "OPERATION_TOO_LARGE");
        let Answer::Failure(failure) = &answers[&number] else {
            unreachable!("looked at right above")
        };
        assert!(
            failure.message.contains("16777216"),
            "it says the limit: {failure:?}"
        );
    }
    assert_eq!(store.branches().len(), 3, "nothing of the others was executed");
}

#[tokio::test]
async fn what_gathers_in_a_message_may_be_longer_than_the_longest_request() {
    let (_temporary, data) = data_directory();
    let limits = [
        ("HANDFAST_LIMITS__OPERATION_BYTES", "1000"),
        ("HANDFAST_SERVER__FRAME_BYTES", "70000"),
    ];
    let coordinator = Coordinator::start_with(&data, &limits);
    Store::new("ledger", 1).serve(&coordinator.address).await;
    let mut client = coordinator.client().await;
    let mut stream = Stream::open(&mut client).await;
    let long = |number| {
        let mut request = unkeyed(&["ledger"]);
        request.operations[0].operation = vec![0; 1000].into();
        (number, Some(request))
    };
    stream.ask((0..1000).map(long)).await;
    let answers = stream.answers(1000).await;
    assert!(
        answers
            .values()
            .all(|answer| matches!(answer, Answer::Committed(_)))
    );
}
