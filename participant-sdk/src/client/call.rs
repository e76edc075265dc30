//! One request: connect, send, and try again where that is safe.

use std::future::Future;
use std::time::Duration;

use handfast_proto::status::{Advice, Failure};
use handfast_proto::transport::Channel;
use handfast_proto::v1;
use handfast_proto::v1::transactions_client::TransactionsClient;
use tokio::sync::Mutex;
use tonic::{Response, Status};

use super::pipeline::{NotSent, Pipeline, Told};
use super::{ClientOptions, Transport};
use crate::backoff::Backoff;
use crate::runtime::{self, Instant, link};

/// A connected client of the service.
#[derive(Clone)]
pub(super) struct Connected {
    pub transactions: TransactionsClient<Channel>,
    pipeline: Option<Pipeline>,
}

impl Connected {
    /// Executes a transaction, on the stream if there is one.
    pub async fn execute(mut self, request: v1::ExecuteRequest) -> Result<Response<Told>, Status> {
        let request = match &self.pipeline {
            Some(pipeline) => match pipeline.execute(request).await {
                Ok(answer) => return answer.map(Response::new),
                Err(NotSent(request)) => request,
            },
            None => request,
        };
        let response = self.transactions.execute(request).await?;
        Ok(response.map(|response| response.result.map_or(Told::Nothing, Told::Result)))
    }
}

/// How a request may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// For how long in all.
    pub patience: Duration,
    /// What to do when nobody can say whether a try was executed.
    pub ambiguity: Ambiguity,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ambiguity {
    /// Executing it twice is executing it once.
    TryAgain,
    /// Executing it twice would be twice.
    GiveUp,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CallError {
    /// The coordinator refused, and no try was executed.
    Refused(Failure),
    /// No try left this process.
    NotSent(String),
    /// A try may have been executed.
    Ambiguous(String),
}

/// What one try says.
enum Try<T> {
    Answered(T),
    /// Nothing was executed.
    Refused(Failure),
    NotSent(String),
    /// It may have been executed.
    Ambiguous(String),
}

/// Owns the connection and the rules of trying again.
#[derive(Debug)]
pub(super) struct Caller {
    options: ClientOptions,
    connection: Mutex<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    channel: Option<Channel>,
    pipeline: Option<Pipeline>,
    /// Which life of the connection this is, so that a failure of an old one does not end a new one.
    life: u64,
    /// Which address is next.
    address: usize,
}

impl Caller {
    pub fn new(options: ClientOptions) -> Self {
        Caller {
            options,
            connection: Mutex::default(),
        }
    }

    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.options.backoff_first, self.options.backoff_longest)
    }

    /// Sends until there is an answer, a refusal that stays, or no patience left. `send` is given what is left of it.
    ///
    /// Once a try may have been executed, no later refusal proves anything: the result stays ambiguous.
    pub async fn call<T, F, S>(&self, tries: Tries, mut send: S) -> Result<T, CallError>
    where
        S: FnMut(Connected, Duration) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let give_up_at = runtime::from_now(tries.patience);
        let mut backoff = self.backoff();
        let mut ambiguous = None;
        let may_repeat = tries.ambiguity == Ambiguity::TryAgain;
        loop {
            let (error, hint, may_pass) = match self.one_try(give_up_at, may_repeat, &mut send).await {
                Try::Answered(answer) => return Ok(answer),
                Try::Refused(failure) => {
                    let may_pass = failure.reason.advice() == Advice::Retry;
                    (CallError::Refused(failure.clone()), failure.retry_after, may_pass)
                }
                Try::NotSent(why) => (CallError::NotSent(why), None, true),
                Try::Ambiguous(why) => {
                    ambiguous = Some(why.clone());
                    (
                        CallError::Ambiguous(why),
                        None,
                        tries.ambiguity == Ambiguity::TryAgain,
                    )
                }
            };
            let wait = backoff.wait().max(hint.unwrap_or_default());
            let again_at = runtime::from_now(wait);
            if !may_pass || again_at >= give_up_at {
                return Err(match (ambiguous, error) {
                    (Some(_), CallError::Refused(failure)) => CallError::Ambiguous(format!(
                        "an earlier try may have been executed; then: {failure}"
                    )),
                    (Some(why), CallError::NotSent(_)) => CallError::Ambiguous(why),
                    (_, error) => error,
                });
            }
            runtime::sleep_until(again_at).await;
        }
    }

    async fn one_try<T, F, S>(&self, give_up_at: Instant, may_repeat: bool, send: &mut S) -> Try<T>
    where
        S: FnMut(Connected, Duration) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let remaining = give_up_at.saturating_duration_since(Instant::now());
        // Others may be connecting, one after the other; their waits are not to be added to this one's.
        let (connected, life) = match runtime::timeout(remaining, self.connected(remaining)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(unreachable)) => return Try::NotSent(unreachable.to_string()),
            Err(_) => return Try::NotSent("no connection in time".to_owned()),
        };
        let remaining = give_up_at.saturating_duration_since(Instant::now());
        let sent = link::call(may_repeat, || send(connected.clone(), remaining));
        let status = match runtime::timeout(remaining, sent).await {
            Ok(Ok(response)) => return Try::Answered(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => {
                // The connection may be half open; the next call had better make its own.
                self.disconnect(life).await;
                return Try::Ambiguous(format!("no answer within {} ms", remaining.as_millis()));
            }
        };
        match Failure::from_status(&status) {
            Some(failure) if failure.reason.advice() == Advice::Ask => Try::Ambiguous(failure.to_string()),
            Some(failure) => Try::Refused(failure),
            None => {
                self.disconnect(life).await;
                Try::Ambiguous(format!(
                    "the connection failed: {:?}: {}",
                    status.code(),
                    status.message()
                ))
            }
        }
    }

    /// The connection, made now if there is none. A failure proves that nothing was sent.
    pub async fn connected(&self, limit: Duration) -> Result<(Connected, u64), runtime::Unreachable> {
        let mut connection = self.connection.lock().await;
        if connection.channel.is_none() {
            let address = &self.options.addresses[connection.address % self.options.addresses.len()];
            connection.address = connection.address.wrapping_add(1);
            let channel = runtime::connect(address, limit.min(self.options.connect_timeout)).await?;
            connection.channel = Some(channel);
            connection.life += 1;
        }
        let channel = connection.channel.clone().expect("made right above");
        let transactions =
            TransactionsClient::new(channel).max_decoding_message_size(runtime::MAX_FRAME_BYTES);
        let is_lost = connection.pipeline.as_ref().is_none_or(Pipeline::can_be_replaced);
        if self.options.transport == Transport::Stream && is_lost {
            connection.pipeline = Some(Pipeline::new(transactions.clone()));
        }
        Ok((
            Connected {
                transactions,
                pipeline: connection.pipeline.clone(),
            },
            connection.life,
        ))
    }

    /// Forgets a connection that failed, unless it was replaced already.
    pub async fn disconnect(&self, life: u64) {
        let mut connection = self.connection.lock().await;
        if connection.life == life {
            connection.channel = None;
            connection.pipeline = None;
        }
    }
}
