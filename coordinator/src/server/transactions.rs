//! What applications call.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use handfast_core::{ExecuteRequest, ExpectedBranch, KeyClaim, OperationRequest, Wait};
use handfast_ids::{BranchId, TransactionId};
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1::transactions_server::Transactions;
use handfast_proto::{convert, v1};
use prost::Message;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status, Streaming};

use super::{answers, digest, execute_stream};
use crate::driver::{self, DriverHandle, PageRequest, Question, Watching};

/// Lines of a page: without a wish, and at most.
const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// The service.
#[derive(Clone, Debug)]
pub struct TransactionsService {
    driver: DriverHandle,
    streams: usize,
    request_bytes: usize,
    places: Arc<Semaphore>,
}

impl TransactionsService {
    /// Over this driver, for so many streams at a time, and for transactions of so many bytes.
    pub fn new(driver: DriverHandle, streams: usize, request_bytes: usize) -> Self {
        let places = Arc::new(Semaphore::new(streams));
        TransactionsService {
            driver,
            streams,
            request_bytes,
            places,
        }
    }
}

#[tonic::async_trait]
impl Transactions for TransactionsService {
    async fn execute(
        &self,
        request: Request<v1::ExecuteRequest>,
    ) -> Result<Response<v1::ExecuteResponse>, Status> {
        let request = request.into_inner();
        let bytes = request.encoded_len();
        fits(bytes, self.request_bytes)?;
        let request = driver::Request::Execute(execute_request(request)?);
        let result = answers::result(self.driver.call(request, bytes).await?)?;
        Ok(Response::new(v1::ExecuteResponse { result: Some(result) }))
    }

    type ExecuteStreamStream = execute_stream::Responses;

    async fn execute_stream(
        &self,
        request: Request<Streaming<v1::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let limit = self.streams;
            let message = format!("there are {limit} streams, which is the limit; raise server.streams");
            Status::from(Failure::new(Reason::Busy, message))
        })?;
        let (driver, incoming) = (self.driver.clone(), request.into_inner());
        let responses = execute_stream::serve(driver, incoming, self.request_bytes, place).await?;
        Ok(Response::new(responses))
    }

    async fn begin(&self, request: Request<v1::BeginRequest>) -> Result<Response<v1::BeginResponse>, Status> {
        let timeout_ms = wish(request.into_inner().timeout_ms);
        let reply = self.driver.call(driver::Request::Begin { timeout_ms }, 0).await?;
        Ok(Response::new(answers::begun(reply)?))
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let request = driver::Request::Commit {
            transaction: convert::transaction_id_from_text(&request.transaction_id)?,
            wait: wait(request.wait)?,
            expected: request.expected.into_iter().map(expected_branch).collect(),
        };
        let result = answers::result(self.driver.call(request, bytes).await?)?;
        Ok(Response::new(v1::CommitResponse { result: Some(result) }))
    }

    async fn abort(&self, request: Request<v1::AbortRequest>) -> Result<Response<v1::AbortResponse>, Status> {
        let transaction = convert::transaction_id_from_text(&request.into_inner().transaction_id)?;
        let reply = self
            .driver
            .call(driver::Request::Abort { transaction }, 0)
            .await?;
        let result = answers::result(reply)?;
        Ok(Response::new(v1::AbortResponse { result: Some(result) }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let found = match request.into_inner().of {
            None => return Err(invalid("of: give a transaction_id or a key").into()),
            Some(v1::get_request::Of::TransactionId(text)) => {
                let transaction = convert::transaction_id_from_text(&text)?;
                self.driver
                    .ask(|answer| Question::Transaction(transaction, answer))
                    .await?
            }
            Some(v1::get_request::Of::Key(text)) => {
                let key = convert::idempotency_key(&text)?;
                let found = self.driver.ask(|answer| Question::Key(key, answer)).await?;
                found.ok_or_else(|| no_such_key(&text))?
            }
        };
        let transaction = answers::transaction(found)?;
        Ok(Response::new(v1::GetResponse {
            transaction: Some(transaction),
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let page = PageRequest {
            live_only: request.live_only,
            ..page_request(request.page_size, &request.page_token)?
        };
        let found = self.driver.ask(|answer| Question::Page(page, answer)).await?;
        let next_page_token = match found.last() {
            Some(last) if found.len() == page.limit => last.view.transaction.to_string(),
            _ => String::new(),
        };
        // What was minted elsewhere is never listed here.
        let transactions = found
            .into_iter()
            .filter_map(|found| answers::transaction(found).ok())
            .collect();
        Ok(Response::new(v1::ListResponse {
            transactions,
            next_page_token,
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let transaction = convert::transaction_id_from_text(&request.into_inner().transaction_id)?;
        let views = self.driver.watch(transaction)?;
        Ok(Response::new(Box::pin(stream::unfold(Some(views), next_view))))
    }
}

/// The next thing that a watcher hears; nothing after the last.
async fn next_view(
    views: Option<watch::Receiver<Watching>>,
) -> Option<(
    Result<v1::WatchResponse, Status>,
    Option<watch::Receiver<Watching>>,
)> {
    let mut views = views?;
    // The sender goes with the last word, which is heard all the same.
    let changed = views.changed().await;
    let heard = views.borrow_and_update().clone();
    match (changed, heard) {
        (Ok(()), Some(Ok(watched))) => {
            let last = watched.last;
            let response = answers::of_view(*watched.view).map(|transaction| v1::WatchResponse {
                transaction: Some(transaction),
            });
            let more = (!last && response.is_ok()).then_some(views);
            Some((response.map_err(Status::from), more))
        }
        (Ok(()), Some(Err(failure))) => Some((Err(failure.into()), None)),
        (Ok(()), None) | (Err(_), _) => {
            let message = "the coordinator ended; ask for the transaction once it is back";
            Some((Err(Failure::new(Reason::Stopped, message).into()), None))
        }
    }
}

/// Refuses a transaction that is longer than any may be, whatever the bounds of its parts are.
pub(super) fn fits(found: usize, limit: usize) -> Result<(), Failure> {
    if found <= limit {
        return Ok(());
    }
    let message = format!(
        "the request has {found} bytes and may have {limit} (server.frame_bytes); nothing was executed. Send references to the \
         data instead, or several transactions"
    );
    Err(Failure::new(Reason::OperationTooLarge, message))
}

pub(super) fn execute_request(request: v1::ExecuteRequest) -> Result<ExecuteRequest, Failure> {
    let wait = wait(request.wait)?;
    let key = match &request.key {
        None => None,
        Some(claim) if claim.expires_at_ms == 0 => {
            return Err(invalid(
                "key.expires_at_ms: give Unix milliseconds; it is part of the key",
            ));
        }
        Some(claim) => {
            let operations = request.operations.iter();
            Some(KeyClaim {
                key: convert::idempotency_key(&claim.key)?,
                expires_at_ms: claim.expires_at_ms,
                digest: digest::of_operations(
                    operations.map(|operation| (operation.resource.as_str(), operation.operation.as_ref())),
                ),
            })
        }
    };
    let operations = request
        .operations
        .into_iter()
        .map(operation)
        .collect::<Result<_, _>>()?;
    Ok(ExecuteRequest {
        key,
        operations,
        timeout_ms: wish(request.timeout_ms),
        wait,
    })
}

fn operation(operation: v1::Operation) -> Result<OperationRequest, Failure> {
    Ok(OperationRequest {
        resource: convert::resource_name(&operation.resource)?,
        operation: Arc::from(operation.operation.as_ref()),
    })
}

fn expected_branch(branch: v1::ExpectedBranch) -> ExpectedBranch {
    ExpectedBranch {
        branch: BranchId(branch.branch),
        operations: branch.operations,
    }
}

fn wait(wait: i32) -> Result<Wait, Failure> {
    match v1::Wait::try_from(wait) {
        Ok(v1::Wait::Unspecified | v1::Wait::Decided) => Ok(Wait::Decided),
        Ok(v1::Wait::Applied) => Ok(Wait::Applied),
        Err(_) => Err(invalid(format!(
            "wait: {wait} is unknown; give WAIT_DECIDED or WAIT_APPLIED"
        ))),
    }
}

/// 0 stands for no wish.
fn wish(milliseconds: u64) -> Option<u64> {
    (milliseconds > 0).then_some(milliseconds)
}

/// The page that is asked for; a token is the last id of the page before.
pub(super) fn page_request(size: u32, token: &str) -> Result<PageRequest, Failure> {
    let after: Option<TransactionId> = match token {
        "" => None,
        token => Some(
            token
                .parse()
                .map_err(|_| invalid("page_token: give the one of the page before"))?,
        ),
    };
    let limit = match size as usize {
        0 => PAGE_SIZE,
        size if size <= PAGE_SIZE_MAX => size,
        size => return Err(invalid(format!("page_size: {size} is above {PAGE_SIZE_MAX}"))),
    };
    Ok(PageRequest {
        after,
        limit,
        live_only: false,
    })
}

fn no_such_key(key: &str) -> Failure {
    let message = format!(
        "no transaction is known under the key {key:?}: none was executed under it, or the key has expired or its \
         transaction is older than the history"
    );
    Failure::new(Reason::UnknownTransaction, message)
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Reason::InvalidArgument, message)
}
