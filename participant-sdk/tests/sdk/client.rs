//! What a client tries again, and what it makes of answers, refusals and silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handfast_participant::client::{ClientOptions, Transport};
use handfast_participant::proto::status::{Failure, Reason};
use handfast_participant::proto::v1;
use handfast_participant::{Client, ClientError, Key, Outcome, Transaction, Wait};
use tonic::Status;

use crate::fake::{Ask, Fake, soon, transaction};

type Answer = Result<v1::TransactionResult, Status>;

fn committed() -> Answer {
    let transaction_id = transaction(1).to_string();
    Ok(v1::TransactionResult {
        transaction_id,
        outcome: v1::Outcome::Committed.into(),
        ..Default::default()
    })
}

fn refused(reason: Reason) -> Answer {
    Err(Failure::new(reason, "as scripted").into())
}

fn lost() -> Answer {
    Err(Status::unavailable("as if the connection had broken"))
}

fn client(address: &str) -> Client {
    client_over(Transport::default(), address)
}

fn client_over(transport: Transport, address: &str) -> Client {
    let mut options = ClientOptions::new([address]);
    options.transport = transport;
    options.answer_margin = Duration::from_millis(500);
    options.read_patience = Duration::from_millis(500);
    options.backoff_first = Duration::from_millis(1);
    Client::with_options(options).unwrap()
}

fn work() -> Transaction {
    Transaction::new()
        .operation("ledger", b"work".as_slice())
        .timeout(Duration::from_millis(500))
        .wait(Wait::Applied)
}

fn keyed() -> Transaction {
    work().key(Key::expiring_at_ms("order-4711", 1_000))
}

/// Executes against these answers, of which the last one stays; returns what came of it and how often it was tried. It is the
/// same on a stream, by calls, and by calls because the coordinator knows no streams.
async fn execute(
    transaction: Transaction,
    answers: &'static [fn() -> Answer],
) -> (Result<Outcome, ClientError>, usize) {
    let streamed = execute_over(Transport::Stream, true, transaction.clone(), answers).await;
    let called = execute_over(Transport::Calls, true, transaction.clone(), answers).await;
    let fallen_back = execute_over(Transport::Stream, false, transaction, answers).await;
    for other in [&called, &fallen_back] {
        let kind = |outcome: &Result<Outcome, ClientError>| outcome.as_ref().ok().map(std::mem::discriminant);
        assert_eq!(kind(&streamed.0), kind(&other.0), "{streamed:?} and {other:?}");
    }
    streamed
}

async fn execute_over(
    transport: Transport,
    streams: bool,
    transaction: Transaction,
    answers: &'static [fn() -> Answer],
) -> (Result<Outcome, ClientError>, usize) {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let script = move |_| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        answers[number.min(answers.len() - 1)]()
    };
    let fake = match streams {
        true => Fake::scripted(script).await,
        false => Fake::without_streams(script).await,
    };
    let client = client_over(transport, &fake.address);
    let outcome = soon("an outcome", client.execute(transaction)).await;
    (outcome, tries.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_commit_is_told_with_its_id() {
    let (outcome, tries) = execute(work(), &[committed]).await;
    assert_eq!(
        (outcome, tries),
        (
            Ok(Outcome::Committed {
                transaction: transaction(1)
            }),
            1
        )
    );
}

#[tokio::test]
async fn without_a_key_a_lost_connection_is_unknown_and_is_not_tried_again() {
    let (outcome, tries) = execute(work(), &[lost, committed]).await;
    assert!(matches!(outcome, Ok(Outcome::Unknown { .. })), "{outcome:?}");
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn without_a_key_a_coordinator_that_stopped_is_unknown() {
    let (outcome, tries) = execute(work(), &[|| refused(Reason::Stopped), committed]).await;
    assert!(matches!(outcome, Ok(Outcome::Unknown { .. })), "{outcome:?}");
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn without_a_key_a_refusal_that_proves_that_nothing_was_executed_is_tried_again() {
    let (outcome, tries) = execute(work(), &[|| refused(Reason::ResourceDown), committed]).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    assert_eq!(tries, 2);
}

#[tokio::test]
async fn with_a_key_doubt_is_resolved_by_trying_again() {
    let (outcome, tries) = execute(keyed(), &[lost, || refused(Reason::Stopped), committed]).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    assert_eq!(tries, 3);
}

#[tokio::test]
async fn doubt_is_told_at_once_to_who_asks_once() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let script = move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => refused(Reason::Busy),
        1 => lost(),
        _ => committed(),
    };
    let fake = Fake::scripted(script).await;
    let client = client(&fake.address);
    let once = client.execute_once(keyed()).await;
    assert!(matches!(once, Ok(Outcome::Unknown { .. })), "{once:?}");
    assert_eq!(tries.load(Ordering::Relaxed), 2, "a refusal is no doubt");
    let again = client.execute(keyed()).await;
    assert!(matches!(again, Ok(Outcome::Committed { .. })), "{again:?}");
}

#[tokio::test]
async fn a_refusal_after_a_doubtful_try_proves_nothing() {
    let (outcome, tries) = execute(keyed(), &[lost, || refused(Reason::KeyExpired)]).await;
    assert!(matches!(outcome, Ok(Outcome::Unknown { .. })), "{outcome:?}");
    assert_eq!(tries, 2);
}

#[tokio::test]
async fn a_request_that_can_never_succeed_is_not_tried_again() {
    let (outcome, tries) = execute(keyed(), &[|| refused(Reason::KeyMismatch)]).await;
    assert_eq!(outcome.unwrap_err().reason(), Some(Reason::KeyMismatch));
    assert_eq!(tries, 1);
    let nothing = execute(Transaction::new(), &[committed]).await;
    assert!(
        matches!(nothing, (Err(ClientError::FixRequest { .. }), 0)),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn patience_ends() {
    let (outcome, tries) = execute(work(), &[|| refused(Reason::Busy)]).await;
    assert!(
        matches!(
            outcome,
            Err(ClientError::Retry {
                reason: Some(Reason::Busy),
                ..
            })
        ),
        "{outcome:?}"
    );
    assert!(tries > 1);
    let (outcome, _) = execute(keyed(), &[lost]).await;
    assert!(matches!(outcome, Ok(Outcome::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_executed_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let outcome = soon("an outcome", client(&address).execute(work())).await;
    assert!(
        matches!(outcome, Err(ClientError::Retry { reason: None, .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_coordinator_that_comes_to_one_of_the_addresses_is_found() {
    let fake = Fake::scripted(|_| committed()).await;
    let options = ClientOptions {
        addresses: vec!["127.0.0.1:1".into(), fake.address.clone()],
        ..ClientOptions::new([""])
    };
    let outcome = soon(
        "an outcome",
        Client::with_options(options).unwrap().execute(work()),
    )
    .await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_coordinator_that_never_answers_makes_the_outcome_unknown() {
    // Takes the connection and the bytes, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    let outcome = soon("an outcome", client(&address).execute(work())).await;
    assert!(matches!(outcome, Ok(Outcome::Unknown { .. })), "{outcome:?}");
    silent.abort();
}

#[tokio::test]
async fn execute_until_known_outlasts_the_deadline_of_one_try_and_needs_a_key() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::scripted(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0..30 => lost(),
        _ => committed(),
    })
    .await;
    let mut options = ClientOptions::new([&fake.address]);
    (options.answer_margin, options.backoff_first) = (Duration::ZERO, Duration::from_millis(1));
    options.backoff_longest = Duration::from_millis(5);
    let client = Client::with_options(options).unwrap();
    let short = keyed().timeout(Duration::from_millis(20));
    let outcome = client.execute_until_known(short, Duration::from_secs(20)).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    let unkeyed = client.execute_until_known(work(), Duration::from_secs(1)).await;
    assert!(
        matches!(unkeyed, Err(ClientError::FixRequest { .. })),
        "{unkeyed:?}"
    );
}

#[tokio::test]
async fn commit_abort_and_reads_are_tried_again() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::scripted(move |_| match tries.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => lost(),
        _ => committed(),
    })
    .await;
    let client = client(&fake.address);
    let mut active = client.begin(None).await.unwrap();
    active.expect(handfast_participant::ids::BranchId(0), 1);
    assert!(matches!(
        active.commit(Wait::Decided).await,
        Ok(Outcome::Committed { .. })
    ));
    assert!(
        matches!(active.abort().await, Ok(Outcome::Committed { .. })),
        "what was decided is told"
    );
    assert_eq!(
        client.get(active.id()).await.unwrap().transaction_id,
        active.id().to_string()
    );
}

/// It may have committed long ago: an error would say that it has not.
#[tokio::test]
async fn the_outcome_of_a_transaction_that_was_forgotten_is_unknown() {
    let fake = Fake::scripted(|_| refused(Reason::Forgotten)).await;
    let client = client(&fake.address);
    let active = client.begin(None).await.unwrap();
    for outcome in [active.commit(Wait::Decided).await, active.abort().await] {
        let Ok(Outcome::Unknown { transaction, why }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(transaction, Some(active.id()));
        assert!(why.contains("FORGOTTEN"), "{why}");
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_a_lost_stream_until_the_transaction_has_ended() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::scripted(move |ask| match (ask, tries.fetch_add(1, Ordering::Relaxed)) {
        (Ask::Get, 0) => Ok(v1::TransactionResult::default()),
        _ => committed(),
    })
    .await;
    let mut watch = client(&fake.address).watch(transaction(1));
    let mut states = Vec::new();
    while let Some(transaction) = soon("a state", watch.next()).await.unwrap() {
        states.push(transaction.state());
    }
    assert_eq!(
        states,
        [v1::TransactionState::Preparing, v1::TransactionState::Ended]
    );
}

#[tokio::test]
async fn a_watch_that_is_refused_says_so_and_one_that_may_pass_goes_on() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::scripted(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => refused(Reason::TooManyWaiters),
        1 => refused(Reason::NotMine),
        _ => committed(),
    })
    .await;
    let mut watch = client(&fake.address).watch(transaction(1));
    let error = soon("a refusal", watch.next()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotMine));
}

#[tokio::test]
async fn the_longest_times_are_no_overflow() {
    let fake = Fake::scripted(|_| committed()).await;
    let mut options = ClientOptions::new([&fake.address]);
    (options.answer_margin, options.read_patience) = (Duration::MAX, Duration::MAX);
    (options.backoff_first, options.backoff_longest) = (Duration::MAX, Duration::MAX);
    let client = Client::with_options(options).unwrap();
    let patient = keyed().timeout(Duration::MAX);
    let outcome = client.execute_until_known(patient, Duration::MAX).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    let active = client.begin(Some(Duration::MAX)).await.unwrap();
    let outcome = active.commit(Wait::Decided).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_longer_than_the_transport_takes_by_itself_is_taken() {
    let fake = Fake::scripted(|_| {
        committed().map(|result| v1::TransactionResult {
            message: "x".repeat(5 << 20),
            ..result
        })
    })
    .await;
    let outcome = soon("an outcome", client(&fake.address).execute(work())).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}
