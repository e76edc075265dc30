//! Calls behave as the header says: in order, some time later, and each end hears of the other's.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::time::{Instant, TimeHandle, sleep, timeout};
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, Streaming};

use super::line::{Abandoned, line};
use super::{Endpoint, Network, Server};
use crate::tcc::v1::try_confirm_cancel_client::TryConfirmCancelClient;
use crate::tcc::v1::try_confirm_cancel_server::{TryConfirmCancel, TryConfirmCancelServer};
use crate::tcc::v1::{
    CancelRequest, CancelResponse, ConfirmRequest, ConfirmResponse, TryRequest, TryResponse,
};
use crate::v1::participants_client::ParticipantsClient;
use crate::v1::participants_server::{Participants, ParticipantsServer};
use crate::v1::{SessionRequest, SessionResponse};

/// No message is under way for longer.
const LONGEST: Duration = Duration::from_millis(3);
/// A call is a message each way, and the runtime's turns take a little time too.
const CALL: Duration = Duration::from_millis(7);

fn simulate<T>(seed: u64, test: impl Future<Output = T>) -> T {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.add_simulator::<Network>();
    runtime.block_on(test)
}

fn now() -> Instant {
    TimeHandle::current().now_instant()
}

fn address() -> SocketAddr {
    "10.0.0.1:7420".parse().unwrap()
}

async fn read<T: Send + Sync + 'static>(reader: &mut super::line::Reader<T>) -> Option<T> {
    poll_fn(|context| reader.poll_read(context)).await
}

/// Answers what it was asked, fails what it should confirm, and never ends what it should cancel.
#[derive(Clone, Default)]
struct Service {
    /// How many calls that never end it has begun, and how many of them were dropped.
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    /// How the streams of its clients have ended.
    streams: Arc<Mutex<Vec<&'static str>>>,
    /// Which process it is.
    life: u32,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl TryConfirmCancel for Service {
    async fn r#try(&self, request: Request<TryRequest>) -> Result<Response<TryResponse>, Status> {
        match request.into_inner().branch {
            branch if branch == self.life => Ok(Response::new(TryResponse {})),
            branch => Err(Status::not_found(format!(
                "{branch} is asked for and this is {}",
                self.life
            ))),
        }
    }

    async fn confirm(&self, _: Request<ConfirmRequest>) -> Result<Response<ConfirmResponse>, Status> {
        Err(Status::aborted("as it should"))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let _dropped = Dropped(self.dropped.clone());
        pending().await
    }
}

#[tonic::async_trait]
impl Participants for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    /// Counts what comes: an answer for each, until the client's stream ends or what comes is a goodbye, which fails.
    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (answers, answered) = mpsc::channel(100);
        let (mut frames, streams) = (request.into_inner(), self.streams.clone());
        tokio::spawn(async move {
            let mut durable_lsn = 0;
            let ended = loop {
                let goodbye = match frames.message().await {
                    Ok(Some(frame)) => frame.goodbye,
                    Ok(None) => break "ended",
                    Err(_) => break "broken",
                };
                let answer = match goodbye {
                    None => Ok(SessionResponse {
                        durable_lsn,
                        ..SessionResponse::default()
                    }),
                    Some(_) => Err(Status::resource_exhausted("enough")),
                };
                let _ = answers.send(answer).await;
                durable_lsn += 1;
            };
            streams.lock().unwrap().push(ended);
        });
        Ok(Response::new(Box::pin(stream::unfold(
            answered,
            |mut answered| async { answered.recv().await.map(|answer| (answer, answered)) },
        ))))
    }
}

async fn serve(service: Service) {
    let server = Server::new()
        .add_service(TryConfirmCancelServer::new(service.clone()))
        .add_service(ParticipantsServer::new(service));
    server.serve(address(), pending()).await.unwrap();
}

fn server(service: Service) -> NodeHandle {
    Handle::current()
        .create_node()
        .init(move || serve(service.clone()))
        .build()
}

fn endpoint() -> Endpoint {
    Endpoint::from_shared(format!("http://{}", address())).unwrap()
}

async fn client() -> TryConfirmCancelClient<super::Channel> {
    TryConfirmCancelClient::new(endpoint().connect().await.unwrap())
}

fn of_life(branch: u32) -> TryRequest {
    TryRequest {
        branch,
        ..TryRequest::default()
    }
}

#[test]
fn a_line_keeps_the_order_and_takes_its_time() {
    let (mut together, mut apart) = (0, 0);
    for seed in 0..50 {
        simulate(seed, async {
            let (writer, mut reader) = line(&Network::current());
            let begun = now();
            let mut last = begun;
            for number in 0..100 {
                writer.write(number).unwrap();
            }
            drop(writer);
            for number in 0..100 {
                assert_eq!(read(&mut reader).await, Some(number));
                assert!(now() - begun >= Duration::from_millis(1), "it came at once");
                match now() == last {
                    true => together += 1,
                    false => apart += 1,
                }
                last = now();
            }
            assert_eq!(read(&mut reader).await, None);
            let took = now() - begun;
            assert!(
                took < LONGEST * 2 + Duration::from_millis(100),
                "it took {took:?}"
            );
        });
    }
    assert!(
        together > 1000 && apart > 1000,
        "{together} together, {apart} apart"
    );
}

#[test]
fn a_writer_hears_that_nobody_reads() {
    simulate(1, async {
        let (writer, reader) = line(&Network::current());
        drop(reader);
        let begun = now();
        // As on a network, what is written before the news has come is written into the void.
        writer.write(1).unwrap();
        poll_fn(|context| writer.poll_abandoned(context)).await;
        assert!(now() - begun >= Duration::from_millis(1) && now() - begun < LONGEST * 2);
        assert_eq!(writer.write(2), Err(Abandoned));
    });
}

#[test]
fn a_call_is_answered_or_fails_as_the_service_says() {
    simulate(2, async {
        let _node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let mut client = client().await;
        let begun = now();
        client.r#try(of_life(0)).await.unwrap();
        let took = now() - begun;
        assert!(
            took >= Duration::from_millis(2) && took < CALL,
            "it took {took:?}"
        );
        let status = client.confirm(ConfirmRequest::default()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Aborted, "as it should"));
    });
}

#[test]
fn a_service_that_is_not_there_is_unimplemented() {
    simulate(3, async {
        Handle::current()
            .create_node()
            .init(|| async { Server::new().serve(address(), pending()).await.unwrap() })
            .build();
        sleep(Duration::from_millis(10)).await;
        let status = client().await.r#try(of_life(0)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    });
}

#[test]
fn where_nobody_listens_connections_and_calls_are_refused() {
    simulate(4, async {
        assert!(endpoint().connect().await.is_err());
        let node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let mut client = client().await;
        Handle::current().kill(node.id());
        let status = client.r#try(of_life(0)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(endpoint().connect().await.is_err());
    });
}

#[test]
fn an_address_has_one_listener() {
    simulate(5, async {
        let _node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let second = Server::new().serve(address(), pending()).await;
        assert!(
            second
                .unwrap_err()
                .to_string()
                .contains("10.0.0.1:7420 is in use")
        );
    });
}

#[test]
fn a_call_that_is_given_up_is_dropped_where_it_stands() {
    simulate(6, async {
        let service = Service::default();
        let _node = server(service.clone());
        sleep(Duration::from_millis(10)).await;
        let mut client = client().await;
        let call = client.cancel(CancelRequest::default());
        assert!(timeout(Duration::from_millis(20), call).await.is_err());
        assert_eq!(service.begun.load(Ordering::Relaxed), 1);
        sleep(LONGEST * 2).await;
        assert_eq!(service.dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_call_that_takes_longer_than_its_limit_says_so() {
    simulate(7, async {
        let _node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let limit = Duration::from_millis(30);
        let channel = endpoint().timeout(limit).connect().await.unwrap();
        let mut client = TryConfirmCancelClient::new(channel);
        let begun = now();
        let status = client.cancel(CancelRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(now() - begun >= limit);

        let mut shorter = Request::new(CancelRequest::default());
        shorter.set_timeout(limit / 3);
        let begun = now();
        let status = client.cancel(shorter).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(now() - begun < limit / 2);
    });
}

#[test]
fn the_death_of_a_server_is_heard_by_those_that_wait_and_the_next_one_answers() {
    for seed in 0..20 {
        simulate(seed, async move {
            let service = Service::default();
            let node = server(service.clone());
            sleep(Duration::from_millis(10)).await;
            let mut client = client().await;
            let mut waiting = client.clone();
            let waiting = madsim::task::spawn(async move { waiting.cancel(CancelRequest::default()).await });
            // The call is on its way, or has been taken.
            sleep(Duration::from_millis(seed % 6)).await;
            Handle::current().kill(node.id());
            let status = timeout(CALL, waiting).await.unwrap().unwrap().unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            let _next = server(Service { life: 1, ..service });
            sleep(Duration::from_millis(1)).await;
            client.r#try(of_life(1)).await.unwrap();
        });
    }
}

#[test]
fn a_process_that_is_started_at_once_listens_where_the_dead_one_did() {
    for seed in 0..20 {
        simulate(seed, async {
            let node = server(Service::default());
            sleep(Duration::from_millis(10)).await;
            Handle::current().kill(node.id());
            Handle::current().restart(node.id());
            sleep(Duration::from_millis(10)).await;
            client().await.r#try(of_life(0)).await.unwrap();
        });
    }
}

#[test]
fn a_server_that_stands_still_answers_once_it_goes_on_and_begins_what_was_given_up() {
    simulate(8, async {
        let service = Service::default();
        let node = server(service.clone());
        sleep(Duration::from_millis(10)).await;
        let mut client = client().await;
        Handle::current().pause(node.id());
        let mut other = client.clone();
        let waiting = madsim::task::spawn(async move { other.r#try(of_life(0)).await });
        let given_up = client.cancel(CancelRequest::default());
        assert!(timeout(Duration::from_secs(5), given_up).await.is_err());
        // The news of it is there before the server goes on.
        sleep(LONGEST * 2).await;
        assert_eq!(service.begun.load(Ordering::Relaxed), 0);
        Handle::current().resume(node.id());
        timeout(CALL, waiting).await.unwrap().unwrap().unwrap();
        // It was begun, although nobody waits any more, and dropped at its first wait.
        assert_eq!(service.begun.load(Ordering::Relaxed), 1);
        assert_eq!(service.dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_stream_answers_each_message_and_ends_with_its_client_or_as_the_service_says() {
    simulate(9, async {
        let _node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let mut client = ParticipantsClient::new(endpoint().connect().await.unwrap());
        let frames = stream::iter(vec![SessionRequest::default(); 20]);
        let answers = client.session(frames).await.unwrap().into_inner();
        let numbers: Vec<u64> = answers.map(|answer| answer.unwrap().durable_lsn).collect().await;
        assert_eq!(numbers, (0..20).collect::<Vec<u64>>());

        let goodbye = SessionRequest {
            goodbye: Some(crate::v1::Goodbye::default()),
            ..SessionRequest::default()
        };
        let frames = stream::iter([goodbye]).chain(stream::pending());
        let mut answers = client.session(frames).await.unwrap().into_inner();
        let status = answers.message().await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(answers.message().await.unwrap().is_none());
    });
}

#[test]
fn a_stream_whose_client_dies_is_broken_or_cancelled() {
    let (mut broken, mut cancelled) = (0, 0);
    for seed in 0..40 {
        let ended = simulate(seed, async {
            let service = Service::default();
            let _node = server(service.clone());
            sleep(Duration::from_millis(10)).await;
            let node = Handle::current().create_node().build();
            node.spawn(async {
                let mut client = ParticipantsClient::new(endpoint().connect().await.unwrap());
                let frames = stream::iter([SessionRequest::default()]).chain(stream::pending());
                let mut answers = client.session(frames).await.unwrap().into_inner();
                while answers.message().await.is_ok() {}
            });
            sleep(Duration::from_millis(50)).await;
            Handle::current().kill(node.id());
            sleep(LONGEST * 2).await;
            service.streams.lock().unwrap().clone()
        });
        match ended.as_slice() {
            ["broken"] => broken += 1,
            ["ended"] => cancelled += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        broken > 5 && cancelled > 5,
        "{broken} broken, {cancelled} cancelled"
    );
}

#[test]
fn a_stream_breaks_when_its_server_dies() {
    simulate(10, async {
        let node = server(Service::default());
        sleep(Duration::from_millis(10)).await;
        let mut client = ParticipantsClient::new(endpoint().connect().await.unwrap());
        let frames = stream::iter([SessionRequest::default()]).chain(stream::pending());
        let mut answers = client.session(frames).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().durable_lsn, 0);
        Handle::current().kill(node.id());
        let status = timeout(CALL, answers.message()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert!(answers.message().await.unwrap().is_none());
    });
}

/// A campaign runs a hundred thousand simulations in one process.
#[test]
fn what_is_under_way_when_a_simulation_ends_goes_with_it() {
    let kept: Weak<Network> = simulate(11, async {
        let service = Service::default();
        let node = server(service);
        sleep(Duration::from_millis(10)).await;
        let mut client = client().await;
        let calls = madsim::task::spawn(async move {
            loop {
                let _ = timeout(Duration::from_millis(1), client.r#try(of_life(0))).await;
            }
        });
        sleep(Duration::from_millis(50)).await;
        let (writer, reader) = line(&Network::current());
        writer.write(1).unwrap();
        drop(reader);
        calls.abort();
        Handle::current().kill(node.id());
        // The dead are dropped in the runtime's next turns.
        sleep(Duration::from_millis(1)).await;
        Arc::downgrade(&Network::current())
    });
    assert!(kept.upgrade().is_none(), "{} hold it", kept.strong_count());
}
