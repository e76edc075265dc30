//! Many transactions at once on one stream: whatever has gathered while the last message left goes into the next.
//!
//! ```text
//!   execute ─► requests ─► gathered ─► one message ─► stream ─► coordinator
//!   execute ◄─ waiting, by number ◄── one message of answers ◄─────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handfast_proto::convert;
use handfast_proto::ids::TransactionId;
use handfast_proto::sizes::GATHERED_BYTES;
use handfast_proto::status::Failure;
use handfast_proto::transport::Channel;
use handfast_proto::v1;
use handfast_proto::v1::numbered_answer::Answer;
use handfast_proto::v1::transactions_client::TransactionsClient;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::runtime;

/// Requests that wait to be sent; with more, callers wait.
const QUEUE: usize = 4096;
/// A message holds at most so many requests.
const REQUESTS: usize = 4096;
/// Messages that the transport has not taken yet.
const MESSAGES_AHEAD: usize = 1;

/// What a coordinator answered to Execute.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Told {
    /// The plain case.
    Committed(TransactionId),
    /// Any outcome in full.
    Result(v1::TransactionResult),
    /// An answer without a result.
    Nothing,
}

/// The stream of one connection. It is opened with the first request.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    requests: mpsc::Sender<Ask>,
    is_unsupported: Arc<AtomicBool>,
}

/// The request comes back: it did not leave this process, or the coordinator knows no streams.
#[derive(Debug)]
pub(super) struct NotSent(pub v1::ExecuteRequest);

type Verdict = Result<Result<Told, Status>, NotSent>;

#[derive(Debug)]
struct Ask {
    request: v1::ExecuteRequest,
    answer: oneshot::Sender<Verdict>,
}

impl Pipeline {
    /// A stream over this connection, served by a task of its own.
    pub fn new(client: TransactionsClient<Channel>) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let is_unsupported = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            client,
            queue,
            gathered: Vec::new(),
            waiting: BTreeMap::new(),
            last_number: 0,
            is_unsupported: is_unsupported.clone(),
        };
        runtime::spawn(pump.run());
        Pipeline {
            requests,
            is_unsupported,
        }
    }

    /// Whether another one may serve where this one has ended.
    pub fn can_be_replaced(&self) -> bool {
        self.requests.is_closed() && !self.is_unsupported.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer.
    pub async fn execute(&self, request: v1::ExecuteRequest) -> Verdict {
        let (answer, answered) = oneshot::channel();
        if let Err(mpsc::error::SendError(ask)) = self.requests.send(Ask { request, answer }).await {
            return Err(NotSent(ask.request));
        }
        answered
            .await
            .unwrap_or_else(|_| Ok(Err(Status::unavailable("the stream ended before the answer"))))
    }
}

/// Owns the stream.
struct Pump {
    client: TransactionsClient<Channel>,
    queue: mpsc::Receiver<Ask>,
    /// Not handed to the transport yet.
    gathered: Vec<Ask>,
    /// By the numbers under which they were sent.
    waiting: BTreeMap<u64, oneshot::Sender<Verdict>>,
    last_number: u64,
    is_unsupported: Arc<AtomicBool>,
}

/// What the pump woke up for.
enum Turn {
    Answers(Result<Option<v1::ExecuteStreamResponse>, Status>),
    Send(bool),
    Gathered(usize),
}

impl Pump {
    async fn run(mut self) {
        if self.queue.recv_many(&mut self.gathered, REQUESTS).await == 0 {
            return;
        }
        let (sender, messages) = mpsc::channel(MESSAGES_AHEAD);
        let first = self.message();
        let requests = first.requests.clone();
        let opened = match sender.try_send(first) {
            Ok(()) => self.client.execute_stream(ReceiverStream::new(messages)).await,
            Err(_) => Err(Status::internal("a new channel has room")),
        };
        match opened {
            Ok(response) => {
                let ended = self.serve(sender, response.into_inner()).await;
                self.lose(&ended);
            }
            // Nothing was executed.
            Err(status) if status.code() == Code::Unimplemented => {
                self.is_unsupported.store(true, Ordering::Relaxed);
                for numbered in requests {
                    let answer = self.waiting.remove(&numbered.number);
                    if let (Some(answer), Some(request)) = (answer, numbered.request) {
                        let _ = answer.send(Err(NotSent(request)));
                    }
                }
            }
            Err(status) => self.lose(&status),
        }
        self.give_back().await;
    }

    /// Serves until nobody asks any more and all is answered, or the stream ends. Tells how it ended.
    async fn serve(
        &mut self,
        sender: mpsc::Sender<v1::ExecuteStreamRequest>,
        mut answers: Streaming<v1::ExecuteStreamResponse>,
    ) -> Status {
        let mut sender = Some(sender);
        loop {
            let has_room = self.gathered.len() < REQUESTS && sender.is_some();
            let has_requests = !self.gathered.is_empty();
            let room = async {
                match &sender {
                    Some(sender) if has_requests => sender.reserve().await.map(drop).is_ok(),
                    _ => std::future::pending().await,
                }
            };
            let turn = tokio::select! { biased;
                message = answers.message() => Turn::Answers(message),
                has_room = room => Turn::Send(has_room),
                count = self.queue.recv_many(&mut self.gathered, REQUESTS), if has_room => Turn::Gathered(count),
            };
            match turn {
                Turn::Answers(Ok(Some(message))) => {
                    message
                        .answers
                        .into_iter()
                        .for_each(|answer| self.answered(answer));
                }
                Turn::Answers(Ok(None)) => return Status::unavailable("the coordinator ended the stream"),
                Turn::Answers(Err(status)) => return status,
                Turn::Send(true) => {
                    if let Some(sender) = &sender {
                        // There is room, and if nobody listens any more, the answers say so.
                        let _ = sender.try_send(self.message());
                    }
                }
                // Nobody takes messages any more, or nobody asks: what is under way is still answered.
                Turn::Send(false) | Turn::Gathered(0) => sender = None,
                Turn::Gathered(_) => {}
            }
        }
    }

    /// The next message, of [`GATHERED_BYTES`] or of one request; callers that have gone meanwhile are left out.
    fn message(&mut self) -> v1::ExecuteStreamRequest {
        let mut bytes = 0;
        let mut taken = 0;
        let mut requests = Vec::with_capacity(self.gathered.len());
        for ask in &self.gathered {
            bytes += ask.request.encoded_len();
            if taken > 0 && bytes > GATHERED_BYTES {
                break;
            }
            taken += 1;
        }
        for ask in self.gathered.drain(..taken) {
            if ask.answer.is_closed() {
                continue;
            }
            self.last_number += 1;
            self.waiting.insert(self.last_number, ask.answer);
            requests.push(v1::NumberedRequest {
                number: self.last_number,
                request: Some(ask.request),
            });
        }
        v1::ExecuteStreamRequest { requests }
    }

    fn answered(&mut self, numbered: v1::NumberedAnswer) {
        let Some(caller) = self.waiting.remove(&numbered.number) else {
            return;
        };
        let told = match numbered.answer {
            None => Ok(Told::Nothing),
            Some(Answer::Committed(id)) => {
                convert::transaction_id(&id).map_or(Ok(Told::Nothing), |id| Ok(Told::Committed(id)))
            }
            Some(Answer::Result(result)) => Ok(Told::Result(result)),
            Some(Answer::Failure(failure)) => Err(Failure::from(failure).into()),
        };
        // Who no longer waits does not need to know.
        let _ = caller.send(Ok(told));
    }

    /// The stream is lost: what was sent may have been executed.
    fn lose(&mut self, status: &Status) {
        for caller in std::mem::take(&mut self.waiting).into_values() {
            let _ = caller.send(Ok(Err(status.clone())));
        }
    }

    /// What was not sent goes back.
    async fn give_back(mut self) {
        self.queue.close();
        while self.queue.recv_many(&mut self.gathered, REQUESTS).await > 0 {}
        for ask in self.gathered {
            let _ = ask.answer.send(Err(NotSent(ask.request)));
        }
    }
}
