//! A client's side of calls: what the generated clients call.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::Stream;
use madsim::task::JoinHandle;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxMessage, IdentityInterceptor, RequestExt};
use tonic::service::Interceptor;
use tonic::{Request, Response, Status, Streaming};

use super::endpoint::{Channel, Error};
use super::line::{Reader, Writer, line};
use super::server::{Answer, Asked, Opening, Sent};
use crate::alarm::once::{sleep_until, timeout};

/// Makes calls over a channel.
#[derive(Clone, Debug)]
pub struct Grpc<T, F> {
    channel: T,
    interceptor: F,
}

impl<T> Grpc<T, IdentityInterceptor> {
    /// Calls as they are.
    pub fn new(channel: T) -> Self {
        Grpc {
            channel,
            interceptor: Ok,
        }
    }
}

impl<F: Interceptor> Grpc<Channel, F> {
    /// Calls that the interceptor sees first.
    pub fn with_interceptor(channel: Channel, interceptor: F) -> Self {
        Grpc { channel, interceptor }
    }

    /// A channel is always ready.
    pub async fn ready(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// One message there, one back.
    pub async fn unary<M1, M2>(
        &mut self,
        request: Request<M1>,
        path: PathAndQuery,
        _codec: (),
    ) -> Result<Response<M2>, Status>
    where
        M1: Send + Sync + 'static,
        M2: 'static,
    {
        let limit = request.timeout();
        let request = self.asks(request)?;
        let mut answers = self.open(path, request, false).await?;
        match self.first(&mut answers, limit).await? {
            Answer::Whole(response) => Ok(response.map(message_of)),
            Answer::Failed(status) => Err(status),
            Answer::Head(_) | Answer::Next(_) | Answer::Ended => Err(out_of_place()),
        }
    }

    /// One message there, a stream of them back.
    pub async fn server_streaming<M1, M2>(
        &mut self,
        request: Request<M1>,
        path: PathAndQuery,
        _codec: (),
    ) -> Result<Response<Streaming<M2>>, Status>
    where
        M1: Send + Sync + 'static,
        M2: Send + 'static,
    {
        let limit = request.timeout();
        let request = self.asks(request)?;
        let answers = self.open(path, request, true).await?;
        self.streamed(answers, limit, None).await
    }

    /// A stream of messages each way.
    pub async fn streaming<M1, M2>(
        &mut self,
        request: Request<impl Stream<Item = M1> + Send + 'static>,
        path: PathAndQuery,
        _codec: (),
    ) -> Result<Response<Streaming<M2>>, Status>
    where
        M1: Send + Sync + 'static,
        M2: Send + 'static,
    {
        let limit = request.timeout();
        let (metadata, extensions, messages) = request.intercept(&mut self.interceptor)?.into_parts();
        let (writer, reader) = line(&self.channel.network);
        let request = Request::from_parts(metadata, extensions, Asked::Stream(reader));
        let answers = self.open(path, request, true).await?;
        let sending = Sending(madsim::task::spawn(send(messages, writer)));
        self.streamed(answers, limit, Some(sending)).await
    }

    /// A request of one message, as the interceptor lets it pass.
    fn asks<M>(&mut self, request: Request<M>) -> Result<Request<Asked>, Status>
    where
        M: Send + Sync + 'static,
    {
        let request = request.intercept(&mut self.interceptor)?;
        Ok(request.map(|message| Asked::Message(Box::new(message))))
    }

    /// Sends a call on its way.
    async fn open(
        &self,
        path: PathAndQuery,
        request: Request<Asked>,
        is_answered_by_a_stream: bool,
    ) -> Result<Reader<Answer>, Status> {
        let network = &self.channel.network;
        let Some(listener) = network.listener(self.channel.address) else {
            let there = network.arrival_after(network.now());
            sleep_until(network.arrival_after(there)).await;
            return Err(Status::unavailable("connection refused"));
        };
        let (answers, reader) = line(network);
        listener.comes(Opening {
            path,
            request,
            is_answered_by_a_stream,
            answers,
        });
        Ok(reader)
    }

    async fn streamed<M: Send + 'static>(
        &self,
        mut answers: Reader<Answer>,
        limit: Option<Duration>,
        sending: Option<Sending>,
    ) -> Result<Response<Streaming<M>>, Status> {
        match self.first(&mut answers, limit).await? {
            Answer::Head(head) => Ok(head.map(|()| {
                Streaming::from_stream(Box::pin(Answers {
                    answers,
                    is_over: false,
                    _sending: sending,
                    messages: PhantomData,
                }))
            })),
            Answer::Failed(status) => Err(status),
            Answer::Whole(_) | Answer::Next(_) | Answer::Ended => Err(out_of_place()),
        }
    }

    /// The first that comes back, if it comes within the call's own limit, or that of all calls over this channel.
    async fn first(&self, answers: &mut Reader<Answer>, limit: Option<Duration>) -> Result<Answer, Status> {
        let first = poll_fn(|context| answers.poll_read(context));
        let first = match limit.or(self.channel.timeout) {
            Some(limit) => timeout(limit, first).await.map_err(|_| too_late(limit))?,
            None => first.await,
        };
        first.ok_or_else(|| Status::unavailable("connection reset"))
    }
}

/// Sends what a stream yields. Dropped, it sends no more.
struct Sending(JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send<M: Send + Sync + 'static>(messages: impl Stream<Item = M>, writer: Writer<Sent>) {
    let mut messages = pin!(messages);
    poll_fn(|context| {
        if writer.poll_abandoned(context).is_ready() {
            return Poll::Ready(());
        }
        while let Some(message) = ready!(messages.as_mut().poll_next(context)) {
            if writer.write(Sent::Message(Box::new(message))).is_err() {
                return Poll::Ready(());
            }
        }
        // If nobody reads it, it need not be told.
        let _ = writer.write(Sent::End);
        Poll::Ready(())
    })
    .await;
}

/// The answers of a stream.
struct Answers<M> {
    answers: Reader<Answer>,
    is_over: bool,
    _sending: Option<Sending>,
    messages: PhantomData<fn() -> M>,
}

impl<M: 'static> Stream for Answers<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let item = match ready!(self.answers.poll_read(context)) {
            Some(Answer::Next(message)) => return Poll::Ready(Some(Ok(message_of(message)))),
            Some(Answer::Ended) => None,
            Some(Answer::Failed(status)) => Some(Err(status)),
            Some(Answer::Whole(_) | Answer::Head(_)) => Some(Err(out_of_place())),
            None => Some(Err(Status::unknown("connection reset"))),
        };
        self.is_over = true;
        Poll::Ready(item)
    }
}

fn message_of<M: 'static>(message: BoxMessage) -> M {
    *message.downcast().expect("a service answers with what it says")
}

fn out_of_place() -> Status {
    Status::internal("an answer came out of its place")
}

fn too_late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {} ms", limit.as_millis()))
}
