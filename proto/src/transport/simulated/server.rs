//! Takes calls and lets services answer them.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::NodeId;
use tokio::time::Instant;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, BoxMessage, BoxMessageStream, Service};
use tonic::transport::NamedService;
use tonic::{Request, Response, Status};

use super::Network;
use super::endpoint::Error;
use super::line::{Reader, Writer};

/// A service as the generated code makes it.
pub trait Serves:
    Service<
        (PathAndQuery, Request<BoxMessageStream>),
        Response = Response<BoxMessageStream>,
        Error = Status,
        Future = BoxFuture<Response<BoxMessageStream>, Status>,
    > + Send
{
}

impl<S> Serves for S where
    S: Service<
            (PathAndQuery, Request<BoxMessageStream>),
            Response = Response<BoxMessageStream>,
            Error = Status,
            Future = BoxFuture<Response<BoxMessageStream>, Status>,
        > + Send
{
}

/// The services of a process, before somebody can call them.
#[derive(Default)]
pub struct Server {
    services: BTreeMap<&'static str, Box<dyn Serves>>,
}

impl Server {
    /// One without services.
    pub fn new() -> Server {
        Server::default()
    }

    /// The same with one more.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Server
    where
        S: Serves + NamedService + 'static,
    {
        self.services.insert(S::NAME, Box::new(service));
        self
    }

    /// Takes calls until `stopped`. Those that were taken are answered also afterwards, while the process lives.
    ///
    /// # Errors
    ///
    /// If somebody listens there already.
    pub async fn serve(self, address: SocketAddr, stopped: impl Future<Output = ()>) -> Result<(), Error> {
        let id = madsim::plugin::node();
        let node = Handle::current()
            .get_node(id)
            .expect("this is a node of this runtime");
        let network = Network::current();
        let listener = Arc::new_cyclic(|this: &Weak<Listener>| Listener {
            network: network.clone(),
            id,
            node,
            services: Mutex::new(self.services),
            coming: Mutex::default(),
            arrives: Waker::from(Arc::new(Arrives(this.clone()))),
        });
        let _listening = network.listen(address, listener)?;
        stopped.await;
        Ok(())
    }
}

/// Who takes calls at an address.
pub(super) struct Listener {
    network: Arc<Network>,
    id: NodeId,
    node: NodeHandle,
    services: Mutex<BTreeMap<&'static str, Box<dyn Serves>>>,
    /// Calls on their way.
    coming: Mutex<Coming>,
    /// Takes the one that arrives.
    arrives: Waker,
}

#[derive(Default)]
struct Coming {
    /// By the moment of arrival, and among those of one moment by their number.
    calls: BTreeMap<(Instant, u64), Opening>,
    /// How many there have been.
    count: u64,
}

/// How a call begins.
pub(super) struct Opening {
    pub path: PathAndQuery,
    pub request: Request<Asked>,
    /// Not by one message.
    pub is_answered_by_a_stream: bool,
    pub answers: Writer<Answer>,
}

/// What a call asks.
pub(super) enum Asked {
    Message(BoxMessage),
    Stream(Reader<Sent>),
}

/// What goes over the line of a client's stream.
pub(super) enum Sent {
    Message(BoxMessage),
    /// The client has ended it. Without this it is broken.
    End,
}

/// What comes back.
pub(super) enum Answer {
    /// All of it.
    Whole(Response<BoxMessage>),
    /// Messages follow.
    Head(Response<()>),
    Next(BoxMessage),
    /// There were no more messages.
    Ended,
    Failed(Status),
}

impl Listener {
    pub fn node(&self) -> NodeId {
        self.id
    }

    /// A call is on its way.
    pub fn comes(&self, opening: Opening) {
        let arrival = self.network.arrival_after(self.network.now());
        {
            let coming = &mut *self.coming();
            coming.count += 1;
            coming.calls.insert((arrival, coming.count), opening);
        }
        self.network.wake_at(arrival, &self.arrives);
    }

    /// The process takes the call that arrives, in a task of its own. It is dropped at the first wait at which nobody waits for its
    /// answer any more.
    fn take(self: &Arc<Self>) {
        // Each has a timer, and those go off in their order.
        let Some((_, opening)) = self.coming().calls.pop_first() else {
            return;
        };
        let listener = self.clone();
        self.node.spawn(async move {
            let Opening {
                path,
                request,
                is_answered_by_a_stream,
                answers,
            } = opening;
            let mut answering = pin!(answer(
                &listener,
                path,
                request,
                is_answered_by_a_stream,
                &answers
            ));
            // As with gRPC, the service is asked even if the news that nobody waits is there already.
            poll_fn(|context| match answering.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => answers.poll_abandoned(context),
            })
            .await;
        });
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn call(
        &self,
        path: PathAndQuery,
        request: Request<BoxMessageStream>,
    ) -> BoxFuture<Response<BoxMessageStream>, Status> {
        let name = path.path().split('/').nth(1).unwrap_or_default();
        let services = &mut *self
            .services
            .lock()
            .expect("nothing panics while it holds this lock");
        match services.get_mut(name) {
            Some(service) => service.call((path, request)),
            None => Box::pin(async move { Err(Status::unimplemented(format!("{path} is not served here"))) }),
        }
    }
}

/// Calls arrive: takes them. A timer that never goes off must not keep the listener.
struct Arrives(Weak<Listener>);

impl Wake for Arrives {
    fn wake(self: Arc<Self>) {
        if let Some(listener) = self.0.upgrade() {
            listener.take();
        }
    }
}

async fn answer(
    listener: &Listener,
    path: PathAndQuery,
    request: Request<Asked>,
    is_answered_by_a_stream: bool,
    answers: &Writer<Answer>,
) {
    let request = request.map(|asked| -> BoxMessageStream {
        match asked {
            Asked::Message(message) => Box::pin(stream::iter([Ok(message)])),
            Asked::Stream(messages) => Box::pin(Messages {
                messages,
                network: listener.network.clone(),
                is_over: false,
            }),
        }
    });
    let (metadata, mut messages, extensions) = match listener.call(path, request).await {
        Ok(response) => response.into_parts(),
        Err(status) => return send(answers, Answer::Failed(status)),
    };
    if !is_answered_by_a_stream {
        let only = messages.next().await;
        let only = only.unwrap_or_else(|| Err(Status::internal("a service has answered nothing")));
        return send(
            answers,
            match only {
                Ok(message) => Answer::Whole(Response::from_parts(metadata, message, extensions)),
                Err(status) => Answer::Failed(status),
            },
        );
    }
    send(
        answers,
        Answer::Head(Response::from_parts(metadata, (), extensions)),
    );
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) => send(answers, Answer::Next(message)),
            Err(status) => return send(answers, Answer::Failed(status)),
        }
    }
    send(answers, Answer::Ended);
}

/// That nobody waits for it is noticed at the next look.
fn send(answers: &Writer<Answer>, answer: Answer) {
    let _ = answers.write(answer);
}

/// The messages of a client's stream.
struct Messages {
    messages: Reader<Sent>,
    network: Arc<Network>,
    is_over: bool,
}

impl Stream for Messages {
    type Item = Result<BoxMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let broken = match ready!(self.messages.poll_read(context)) {
            Some(Sent::Message(message)) => return Poll::Ready(Some(Ok(message))),
            Some(Sent::End) => None,
            // A client that cancels its call is heard as one that ends its stream, and one whose connection breaks is not. Nobody
            // here knows which it was.
            None => self
                .network
                .tosses()
                .then(|| Err(Status::unknown("connection reset"))),
        };
        self.is_over = true;
        Poll::Ready(broken)
    }
}
