//! What comes in from the servers: calls, sessions, questions. Bounded in number and in bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handfast_core::view::{InDoubtView, StatusView, TransactionView};
use handfast_core::{
    Call, Event, ExecuteRequest, ExpectedBranch, FinishedTransaction, Overdue, Reply, SessionHello,
    SessionId, Wait,
};
use handfast_ids::{IdempotencyKey, ResourceName, TransactionId};
use handfast_proto::status::{Failure, Reason};
use handfast_wal::Counters;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::calls::{Answer, Watching};
use super::outbox::SessionSender;
use super::streams::{Answers, StreamId};
use crate::config::Server;

/// The unit in which bytes are counted, so that small inputs cost one.
const ROOM_BYTES: usize = 1024;

/// How long a caller that was not taken in is asked to wait.
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// Room for an input's bytes, given back when the driver has taken it.
pub type Room = OwnedSemaphorePermit;

/// Something from a server.
#[derive(Debug)]
pub enum Input {
    /// A client's request that has one answer.
    Call {
        /// What is asked.
        request: Request,
        /// Where the answer goes.
        answer: oneshot::Sender<Answer>,
        /// Its bytes.
        room: Room,
    },
    /// A client opens a stream of transactions.
    StreamUp {
        /// Which.
        stream: StreamId,
        /// Where answers go: a channel of [`FRAMES_IN_FLIGHT`](super::FRAMES_IN_FLIGHT).
        answers: mpsc::Sender<Answers>,
    },
    /// Transactions of a stream, by the client's numbers. What cannot be taken as it stands is answered in its place.
    Executes {
        /// The stream.
        stream: StreamId,
        /// What is asked.
        requests: Vec<(u64, Result<ExecuteRequest, Failure>)>,
        /// Its bytes.
        room: Room,
    },
    /// A client has nothing more to ask on its stream, or is gone.
    StreamDown {
        /// Which.
        stream: StreamId,
        /// Nobody waits for answers any more.
        lost: bool,
    },
    /// A client wants to hear of every change.
    Watch {
        /// Of what.
        transaction: TransactionId,
        /// Where the views go.
        views: watch::Sender<Watching>,
    },
    /// A question that changes nothing.
    Question(Question),
    /// A participant has said hello.
    SessionUp {
        /// The number of the connection.
        session: SessionId,
        /// What it said.
        hello: SessionHello,
        /// Where frames go.
        sender: SessionSender,
    },
    /// A participant's frame, as events of this session in their order.
    Frame {
        /// The events.
        events: Vec<Event>,
        /// Its bytes.
        room: Room,
    },
    /// A connection is gone, or must go.
    SessionDown {
        /// Which.
        session: SessionId,
        /// What the participant is told, if it may still listen.
        farewell: Option<Failure>,
    },
    /// The process is asked to end.
    Drain,
}

/// A client's request that has one answer.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are those of the events
pub enum Request {
    /// [`Event::Execute`]
    Execute(ExecuteRequest),
    /// [`Event::Begin`]
    Begin { timeout_ms: Option<u64> },
    /// [`Event::Commit`]
    Commit {
        transaction: TransactionId,
        expected: Vec<ExpectedBranch>,
        wait: Wait,
    },
    /// [`Event::Abort`]
    Abort { transaction: TransactionId },
}

impl Request {
    /// The event of this call.
    pub fn into_event(self, call: Call) -> Event {
        match self {
            Request::Execute(request) => Event::Execute { call, request },
            Request::Begin { timeout_ms } => Event::Begin { call, timeout_ms },
            Request::Commit {
                transaction,
                expected,
                wait,
            } => Event::Commit {
                call,
                transaction,
                expected,
                wait,
            },
            Request::Abort { transaction } => Event::Abort { call, transaction },
        }
    }
}

/// A question that changes nothing.
#[derive(Debug)]
pub enum Question {
    /// How a transaction stands.
    Transaction(TransactionId, oneshot::Sender<Found>),
    /// How the transaction that holds a key stands.
    Key(IdempotencyKey, oneshot::Sender<Option<Found>>),
    /// A page of transactions.
    Page(PageRequest, oneshot::Sender<Vec<Found>>),
    /// A page of what waits for somebody.
    InDoubt(PageRequest, oneshot::Sender<Vec<InDoubtView>>),
    /// How the coordinator is.
    Status(oneshot::Sender<ServiceStatus>),
}

/// Which page.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// Ids above this one.
    pub after: Option<TransactionId>,
    /// At most as many.
    pub limit: usize,
    /// Without what has ended.
    pub live_only: bool,
}

/// A transaction, as the core and the index know it.
#[derive(Clone, Debug)]
pub struct Found {
    /// As the core tells it.
    pub view: TransactionView,
    /// As the index remembers it.
    pub finished: Option<FinishedTransaction>,
}

/// How the coordinator is.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// As the core tells it.
    pub core: StatusView,
    /// What is owed for too long, by the last survey; resources that owe nothing so are not here.
    pub overdue: BTreeMap<ResourceName, Overdue>,
    /// What the log has written.
    pub log: Counters,
    /// Milliseconds since the process took up the log.
    pub uptime_ms: u64,
}

/// The servers' way to the driver, and the only one.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    inputs: mpsc::Sender<Input>,
    aside: mpsc::Sender<Input>,
    rooms: Arc<Semaphore>,
    rooms_limit: u32,
    numbers: Arc<AtomicU64>,
}

/// The driver's end.
#[derive(Debug)]
pub struct Inbox {
    /// What makes work for the log; not taken in while the log has no room.
    pub inputs: mpsc::Receiver<Input>,
    /// What makes none: questions, and that the process is asked to end.
    pub aside: mpsc::Receiver<Input>,
}

/// Questions that wait for the driver at a time; more are answered `BUSY`.
const QUESTIONS: usize = 1024;

/// Makes the inbox.
pub fn inbox(settings: &Server) -> (DriverHandle, Inbox) {
    let (inputs, taken) = mpsc::channel(settings.inbox_inputs);
    let (aside, taken_aside) = mpsc::channel(QUESTIONS);
    let rooms_limit = rooms_of(settings.inbox_bytes);
    let handle = DriverHandle {
        inputs,
        aside,
        rooms: Arc::new(Semaphore::new(rooms_limit as usize)),
        rooms_limit,
        numbers: Arc::new(AtomicU64::new(1)),
    };
    let inbox = Inbox {
        inputs: taken,
        aside: taken_aside,
    };
    (handle, inbox)
}

impl DriverHandle {
    /// Puts a request to the driver and waits for the answer. Not taken in if the inbox is full.
    pub async fn call(&self, request: Request, bytes: usize) -> Answer {
        let rooms = rooms_of(bytes).min(self.rooms_limit);
        let room = self
            .rooms
            .clone()
            .try_acquire_many_owned(rooms)
            .map_err(|_| busy())?;
        let (answer, answered) = oneshot::channel();
        let call = Input::Call {
            request,
            answer,
            room,
        };
        try_put(&self.inputs, call)?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Listens to a transaction.
    pub fn watch(&self, transaction: TransactionId) -> Result<watch::Receiver<Watching>, Failure> {
        let (views, watched) = watch::channel(None);
        try_put(&self.inputs, Input::Watch { transaction, views })?;
        Ok(watched)
    }

    /// Puts a question.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        try_put(&self.aside, Input::Question(question(answer)))?;
        answered.await.map_err(|_| stopped())
    }

    /// A number for a new connection.
    pub fn session_id(&self) -> SessionId {
        SessionId(self.number())
    }

    /// A number for a new stream of a client.
    pub fn stream_id(&self) -> StreamId {
        StreamId(self.number())
    }

    /// Asks the driver to end: no new transactions, and what is decided is delivered.
    pub async fn drain(&self) -> Result<(), Failure> {
        self.aside.send(Input::Drain).await.map_err(|_| stopped())
    }

    /// Puts a session's or a stream's input, and waits while the inbox is full.
    pub async fn put(&self, input: Input) -> Result<(), Failure> {
        self.inputs.send(input).await.map_err(|_| stopped())
    }

    /// Room for a session's or a stream's frame; waits while there is none.
    pub async fn room(&self, bytes: usize) -> Result<Room, Failure> {
        let rooms = rooms_of(bytes).min(self.rooms_limit);
        self.rooms
            .clone()
            .acquire_many_owned(rooms)
            .await
            .map_err(|_| stopped())
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

fn try_put(to: &mpsc::Sender<Input>, input: Input) -> Result<(), Failure> {
    to.try_send(input).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => busy(),
        mpsc::error::TrySendError::Closed(_) => stopped(),
    })
}

fn rooms_of(bytes: usize) -> u32 {
    u32::try_from(bytes / ROOM_BYTES + 1).unwrap_or(u32::MAX >> 4)
}

/// Not taken in.
pub(super) fn busy() -> Failure {
    let message = "the coordinator takes requests as fast as it can and did not take this one in; nothing was executed, \
                   send it again after the suggested wait";
    Failure::new(Reason::Busy, message).retry_after(BUSY_RETRY)
}

fn stopped() -> Failure {
    let message = "the coordinator ended before it could answer; whether the request was executed is not known from \
                   here: send it again with the same key, or ask for the transaction once the coordinator is back";
    Failure::new(Reason::Stopped, message)
}

/// Only replies of the right kind are passed on as answers.
pub(super) fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Rejected(rejection) => Err(crate::server::failures::of_rejection(rejection)),
        other => Ok(other),
    }
}
