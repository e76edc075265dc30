//! Following one transaction.

use std::fmt;
use std::sync::Arc;

use handfast_proto::ids::TransactionId;
use handfast_proto::status::{Advice, Failure};
use handfast_proto::v1;
use tonic::Streaming;

use super::ClientError;
use super::call::{Ambiguity, Caller, Tries};
use crate::backoff::Backoff;
use crate::runtime;

/// The states of a transaction, one after the other.
pub struct Watch {
    caller: Arc<Caller>,
    id: TransactionId,
    stream: Option<Streaming<v1::WatchResponse>>,
    backoff: Backoff,
    ended: bool,
}

impl Watch {
    pub(super) fn new(caller: Arc<Caller>, id: TransactionId) -> Self {
        Watch {
            backoff: caller.backoff(),
            caller,
            id,
            stream: None,
            ended: false,
        }
    }

    /// The state now, at the first call, then the state after each change; `None` once it has ended. After a lost
    /// connection the state now comes again.
    ///
    /// # Errors
    /// What to do. The next call asks again.
    pub async fn next(&mut self) -> Result<Option<v1::Transaction>, ClientError> {
        while !self.ended {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.subscribe().await?,
            };
            // A stream that ends before the transaction does was lost, even if it looks like a clean end.
            match stream.message().await {
                Ok(Some(response)) => {
                    self.stream = Some(stream);
                    self.backoff.reset();
                    if let Some(transaction) = response.transaction {
                        self.ended = is_final(transaction.state());
                        return Ok(Some(transaction));
                    }
                }
                interrupted => {
                    let failure = interrupted.as_ref().err().and_then(Failure::from_status);
                    if let Some(failure) = failure.filter(stays) {
                        return Err(failure.into());
                    }
                    tracing::debug!(?interrupted, id = %self.id, "a watch was interrupted");
                    runtime::sleep_until(runtime::from_now(self.backoff.wait())).await;
                }
            }
        }
        Ok(None)
    }

    async fn subscribe(&self) -> Result<Streaming<v1::WatchResponse>, ClientError> {
        let tries = Tries {
            patience: self.caller.options().read_patience,
            ambiguity: Ambiguity::TryAgain,
        };
        let request = v1::WatchRequest {
            transaction_id: self.id.to_string(),
        };
        let stream = self
            .caller
            .call(tries, |mut client, _| {
                let request = request.clone();
                async move { client.transactions.watch(request).await }
            })
            .await?;
        Ok(stream)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.id)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Asked again, the answer would be the same.
fn stays(failure: &Failure) -> bool {
    matches!(failure.reason.advice(), Advice::FixRequest | Advice::Operator)
}

fn is_final(state: v1::TransactionState) -> bool {
    matches!(
        state,
        v1::TransactionState::Ended | v1::TransactionState::NoEffects | v1::TransactionState::Forgotten
    )
}
