//! A scripted coordinator on 127.0.0.1.
//!
//! Faults: it repeats, reorders and withholds messages, falls silent, refuses and drops sessions, as a test says. A
//! participant survives all of it, because every message is idempotent and the handshake is recovery.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use handfast_participant::ids::{Epoch, LogId, Partition, TransactionId};
use handfast_participant::proto::status::Failure;
use handfast_participant::proto::v1;
use handfast_participant::proto::v1::participants_server::{Participants, ParticipantsServer};
use handfast_participant::proto::v1::transactions_server::{Transactions, TransactionsServer};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Nothing that is awaited takes longer, unless it does not happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub const LOG: LogId = LogId(0xA);

/// Fails the test instead of hanging it.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

pub fn transaction(number: u32) -> TransactionId {
    TransactionId::new(1_000, Partition(0), Epoch(1), number)
}

pub fn id(number: u32) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&transaction(number).to_bytes())
}

/// A session, as the coordinator sees it.
pub struct Session {
    inbound: Streaming<v1::SessionRequest>,
    outbound: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    pub hello: v1::Hello,
    /// Lines of scans, until a complete one was taken.
    pub lines: Vec<v1::InDoubt>,
    pub scans: usize,
    votes: VecDeque<v1::Vote>,
    acks: VecDeque<v1::Ack>,
    pub enlistments: VecDeque<v1::Enlist>,
    /// Votes in each frame that had any.
    pub votes_by_frame: Vec<usize>,
    pub frames: usize,
    pub goodbye: Option<v1::Goodbye>,
}

impl Session {
    pub async fn welcome(&mut self) {
        self.welcome_with(v1::Limits {
            frame_bytes: 1 << 20,
            heartbeat_ms: 5_000,
            scan_period_ms: 60_000,
            window: 1000,
        })
        .await;
    }

    pub async fn welcome_with(&mut self, limits: v1::Limits) {
        let welcome = v1::Welcome {
            log_id: LOG.to_bytes().to_vec().into(),
            epoch: 1,
            durable_lsn: 100,
            limits: Some(limits),
        };
        self.send(v1::SessionResponse {
            welcome: Some(welcome),
            ..Default::default()
        })
        .await;
    }

    pub async fn refuse(self, failure: Failure) {
        self.outbound
            .send(Err(failure.into()))
            .await
            .expect("the participant listens");
        // The stream ends with the status, once the transport has it.
        soon("the end of the session", self.outbound.closed()).await;
    }

    pub async fn send(&mut self, frame: v1::SessionResponse) {
        self.outbound
            .send(Ok(frame))
            .await
            .expect("the participant listens");
    }

    pub async fn prepare(&mut self, numbers: impl IntoIterator<Item = u32>, operation: &bytes::Bytes) {
        self.prepare_as(false, numbers, operation).await;
    }

    pub async fn prepare_as(
        &mut self,
        delegated: bool,
        numbers: impl IntoIterator<Item = u32>,
        operation: &bytes::Bytes,
    ) {
        let prepare = |number| v1::Prepare {
            transaction_id: id(number),
            branch: 0,
            operation: Some(operation.clone()),
            operations: 0,
            timeout_ms: 10_000,
            delegated,
        };
        let prepares = numbers.into_iter().map(prepare).collect();
        self.send(v1::SessionResponse {
            prepares,
            durable_lsn: 200,
            ..Default::default()
        })
        .await;
    }

    pub async fn decide(&mut self, kind: v1::DecisionKind, numbers: impl IntoIterator<Item = u32>) {
        let decision = |number| v1::Decision {
            transaction_id: id(number),
            branch: 0,
            kind: kind.into(),
        };
        let decisions = numbers.into_iter().map(decision).collect();
        self.send(v1::SessionResponse {
            decisions,
            ..Default::default()
        })
        .await;
    }

    /// The same to a participant that may be gone.
    pub async fn try_decide(&mut self, kind: v1::DecisionKind, number: u32) {
        let decision = v1::Decision {
            transaction_id: id(number),
            branch: 0,
            kind: kind.into(),
        };
        let frame = v1::SessionResponse {
            decisions: vec![decision],
            ..Default::default()
        };
        let _ = self.outbound.send(Ok(frame)).await;
    }

    pub async fn commit(&mut self, number: u32) -> v1::AckKind {
        self.decide(v1::DecisionKind::Commit, [number]).await;
        self.ack(number).await
    }

    pub async fn abort(&mut self, number: u32) -> v1::AckKind {
        self.decide(v1::DecisionKind::Abort, [number]).await;
        self.ack(number).await
    }

    pub async fn answer(&mut self, kind: v1::AnswerKind, number: u32) {
        let answer = v1::Answer {
            transaction_id: id(number),
            branch: 0,
            kind: kind.into(),
        };
        self.send(v1::SessionResponse {
            answers: vec![answer],
            ..Default::default()
        })
        .await;
    }

    pub async fn forget(&mut self, number: u32) {
        let forget = v1::Forget {
            transaction_id: id(number),
            branch: 0,
        };
        self.send(v1::SessionResponse {
            forgets: vec![forget],
            ..Default::default()
        })
        .await;
    }

    pub async fn vote(&mut self, number: u32) -> v1::Vote {
        while self.votes.is_empty() {
            assert!(self.read().await, "the session ended and no vote came");
        }
        let vote = self.votes.pop_front().expect("one has come");
        assert_eq!(vote.transaction_id, id(number));
        vote
    }

    /// Asks how a delegated branch came out; which decision is acknowledged as done.
    pub async fn resolve(&mut self, number: u32) -> v1::DecisionKind {
        self.decide(v1::DecisionKind::Resolve, [number]).await;
        let ack = self.next_ack(number).await;
        assert_eq!(ack.kind(), v1::AckKind::Done);
        ack.decision()
    }

    pub async fn ack(&mut self, number: u32) -> v1::AckKind {
        self.next_ack(number).await.kind()
    }

    async fn next_ack(&mut self, number: u32) -> v1::Ack {
        while self.acks.is_empty() {
            assert!(self.read().await, "the session ended and no acknowledgement came");
        }
        let ack = self.acks.pop_front().expect("one has come");
        assert_eq!(ack.transaction_id, id(number));
        ack
    }

    /// Waits for the end of a complete scan, and takes its lines as numbers and phases.
    pub async fn scan(&mut self) -> Vec<(u32, v1::InDoubtPhase)> {
        while self.scans == 0 {
            assert!(self.read().await, "the session ended amid a scan");
        }
        self.scans -= 1;
        let number = |line: &v1::InDoubt| {
            TransactionId::from_slice(&line.transaction_id)
                .expect("an id")
                .sequence()
        };
        self.lines
            .drain(..)
            .map(|line| (number(&line), line.phase()))
            .collect()
    }

    /// Reads one frame; false at the end of the stream.
    pub async fn read(&mut self) -> bool {
        match soon("a frame", self.inbound.message()).await {
            Ok(Some(frame)) => {
                self.take(frame);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn take(&mut self, frame: v1::SessionRequest) {
        self.frames += 1;
        if !frame.votes.is_empty() {
            self.votes_by_frame.push(frame.votes.len());
        }
        self.enlistments.extend(frame.enlistments);
        self.votes.extend(frame.votes);
        self.acks.extend(frame.acks);
        assert!(
            frame.in_doubt.len() <= 10_000,
            "a frame holds at most 10,000 lines"
        );
        self.lines.extend(frame.in_doubt);
        self.scans += usize::from(frame.scan_complete);
        self.goodbye = self.goodbye.take().or(frame.goodbye);
    }
}

type Script = Arc<dyn Fn(Ask) -> Result<v1::TransactionResult, Status> + Send + Sync>;

/// What a client asks, as far as scripts look at it.
pub enum Ask {
    Execute,
    Commit,
    Abort,
    Get,
}

/// A coordinator that listens.
pub struct Fake {
    pub address: String,
    sessions: Mutex<mpsc::Receiver<Session>>,
}

impl Fake {
    pub async fn start() -> Fake {
        Fake::scripted(|_| Err(Status::unimplemented("no script"))).await
    }

    /// Answers clients by a script.
    pub async fn scripted(
        script: impl Fn(Ask) -> Result<v1::TransactionResult, Status> + Send + Sync + 'static,
    ) -> Fake {
        Fake::with(script, true).await
    }

    /// The same, as a coordinator that does not know streams of transactions.
    pub async fn without_streams(
        script: impl Fn(Ask) -> Result<v1::TransactionResult, Status> + Send + Sync + 'static,
    ) -> Fake {
        Fake::with(script, false).await
    }

    async fn with(
        script: impl Fn(Ask) -> Result<v1::TransactionResult, Status> + Send + Sync + 'static,
        streams: bool,
    ) -> Fake {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (sender, sessions) = mpsc::channel(16);
        let service = Service {
            sessions: sender,
            script: Arc::new(script),
            streams,
        };
        let router = tonic::transport::Server::builder()
            .add_service(ParticipantsServer::new(service.clone()))
            .add_service(TransactionsServer::new(service));
        tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        Fake {
            address,
            sessions: Mutex::new(sessions),
        }
    }

    /// The next session, with its Hello taken.
    pub async fn accept(&self) -> Session {
        let mut sessions = self.sessions.lock().await;
        soon("a session", sessions.recv())
            .await
            .expect("the service lives as long as the test")
    }
}

#[derive(Clone)]
struct Service {
    sessions: mpsc::Sender<Session>,
    script: Script,
    streams: bool,
}

#[tonic::async_trait]
impl Participants for Service {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let mut first = inbound
            .message()
            .await?
            .ok_or_else(|| Status::cancelled("no hello"))?;
        let hello = first
            .hello
            .take()
            .ok_or_else(|| Status::invalid_argument("the first frame has no hello"))?;
        let (outbound, receiver) = mpsc::channel(16);
        let mut session = Session {
            inbound,
            outbound,
            hello,
            lines: Vec::new(),
            scans: 0,
            votes: VecDeque::new(),
            acks: VecDeque::new(),
            enlistments: VecDeque::new(),
            votes_by_frame: Vec::new(),
            frames: 0,
            goodbye: None,
        };
        session.take(first);
        self.sessions
            .send(session)
            .await
            .map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Transactions for Service {
    async fn execute(&self, _: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let result = (self.script)(Ask::Execute)?;
        Ok(Response::new(v1::ExecuteResponse { result: Some(result) }))
    }

    type ExecuteStreamStream = ReceiverStream<Result<v1::ExecuteStreamResponse, Status>>;

    /// Each answer in a message of its own. A status that is no refusal ends the stream, as a lost connection would.
    async fn execute_stream(
        &self,
        request: Request<Streaming<v1::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        if !self.streams {
            return Err(Status::unimplemented("streams of transactions"));
        }
        let (sender, receiver) = mpsc::channel(1);
        let (mut messages, script) = (request.into_inner(), self.script.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                for numbered in message.requests {
                    let answer = match script(Ask::Execute) {
                        Ok(result) => Ok(v1::numbered_answer::Answer::Result(result)),
                        Err(status) => match Failure::from_status(&status) {
                            Some(failure) => Ok(v1::numbered_answer::Answer::Failure(failure.into())),
                            None => Err(status),
                        },
                    };
                    let is_lost = answer.is_err();
                    let response = answer.map(|answer| v1::ExecuteStreamResponse {
                        answers: vec![v1::NumberedAnswer {
                            number: numbered.number,
                            answer: Some(answer),
                        }],
                    });
                    if sender.send(response).await.is_err() || is_lost {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn begin(&self, _: Request<v1::BeginRequest>) -> Result<Response<v1::BeginResponse>, Status> {
        let transaction_id = transaction(1).to_string();
        Ok(Response::new(v1::BeginResponse {
            transaction_id,
            timeout_ms: 500,
        }))
    }

    async fn commit(&self, _: Request<v1::CommitRequest>) -> Result<Response<v1::CommitResponse>, Status> {
        let result = (self.script)(Ask::Commit)?;
        Ok(Response::new(v1::CommitResponse { result: Some(result) }))
    }

    async fn abort(&self, _: Request<v1::AbortRequest>) -> Result<Response<v1::AbortResponse>, Status> {
        let result = (self.script)(Ask::Abort)?;
        Ok(Response::new(v1::AbortResponse { result: Some(result) }))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let result = (self.script)(Ask::Get)?;
        let mut transaction = v1::Transaction {
            transaction_id: result.transaction_id,
            ..Default::default()
        };
        transaction.outcome = result.outcome;
        Ok(Response::new(v1::GetResponse {
            transaction: Some(transaction),
        }))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        Ok(Response::new(v1::ListResponse::default()))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    /// Tells one state and then loses the stream, as if the coordinator had been killed; the second time it has ended. A
    /// refusal comes in the stream, as it does from a coordinator.
    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let full = |_| Status::internal("a new channel has room");
        let result = match (self.script)(Ask::Get) {
            Ok(result) => result,
            Err(status) => {
                sender.try_send(Err(status)).map_err(full)?;
                return Ok(Response::new(ReceiverStream::new(receiver)));
            }
        };
        let mut transaction = v1::Transaction {
            transaction_id: result.transaction_id,
            ..Default::default()
        };
        let is_committed = result.outcome == i32::from(v1::Outcome::Committed);
        transaction.set_state(match is_committed {
            true => v1::TransactionState::Ended,
            false => v1::TransactionState::Preparing,
        });
        let response = v1::WatchResponse {
            transaction: Some(transaction),
        };
        sender.try_send(Ok(response)).map_err(full)?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
