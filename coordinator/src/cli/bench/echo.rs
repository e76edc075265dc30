//! `handfast bench echo`: a bare tonic server that does nothing but answer, in a process of its own.

use std::pin::Pin;

use bytes::Bytes;
use clap::Args;
use handfast_proto::v1;
use handfast_proto::v1::transactions_server::{Transactions, TransactionsServer};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::{children, failed};
use crate::cli::output::print;
use crate::error::Error;
use crate::runtime;

/// As the coordinator has it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const CONCURRENT_STREAMS: u32 = 100_000;

/// Answer calls at once.
#[derive(Debug, Args)]
pub struct Echo {}

impl Echo {
    pub async fn run(self) -> Result<(), Error> {
        let termination = runtime::Termination::listen()
            .map_err(|error| failed(format!("signals cannot be received: {error}")))?;
        let unbound = |error: std::io::Error| failed(format!("no address for the echo: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(unbound)?;
        print(&listener.local_addr().map_err(unbound)?.to_string())?;
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(CONCURRENT_STREAMS)
            .add_service(TransactionsServer::new(Answering))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                ended(termination),
            )
            .await
            .map_err(|error| failed(format!("the echo has failed: {error}")))
    }
}

/// Completes when it is asked to end, or when nobody is left to ask.
async fn ended(termination: runtime::Termination) {
    let mut questions = children::questions();
    tokio::select! {
        biased;
        () = termination.asked() => {}
        () = async { while questions.recv().await.is_some() {} } => {}
    }
}

struct Answering;

type Outcomes = Pin<Box<dyn Stream<Item = Result<v1::ExecuteStreamResponse, Status>> + Send>>;
type Views = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

fn only_execute<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(
        "the echo answers Execute and ExecuteStream",
    ))
}

#[tonic::async_trait]
impl Transactions for Answering {
    async fn execute(
        &self,
        _request: Request<v1::ExecuteRequest>,
    ) -> Result<Response<v1::ExecuteResponse>, Status> {
        let result = v1::TransactionResult {
            transaction_id: "00000000-0000-8000-8000-000000000000".to_owned(),
            outcome: v1::Outcome::Committed.into(),
            ..v1::TransactionResult::default()
        };
        Ok(Response::new(v1::ExecuteResponse { result: Some(result) }))
    }

    type ExecuteStreamStream = Outcomes;

    /// Answers each message with one of as many answers.
    async fn execute_stream(
        &self,
        request: Request<Streaming<v1::ExecuteStreamRequest>>,
    ) -> Result<Response<Outcomes>, Status> {
        let messages = request.into_inner();
        let answers = tokio_stream::StreamExt::map(messages, |message| message.map(answer));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn begin(&self, _: Request<v1::BeginRequest>) -> Result<Response<v1::BeginResponse>, Status> {
        only_execute()
    }

    async fn commit(&self, _: Request<v1::CommitRequest>) -> Result<Response<v1::CommitResponse>, Status> {
        only_execute()
    }

    async fn abort(&self, _: Request<v1::AbortRequest>) -> Result<Response<v1::AbortResponse>, Status> {
        only_execute()
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        only_execute()
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        only_execute()
    }

    type WatchStream = Views;

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Views>, Status> {
        only_execute()
    }
}

fn answer(message: v1::ExecuteStreamRequest) -> v1::ExecuteStreamResponse {
    let committed = |request: v1::NumberedRequest| v1::NumberedAnswer {
        number: request.number,
        answer: Some(v1::numbered_answer::Answer::Committed(Bytes::from_static(
            &[0x5A; 16],
        ))),
    };
    v1::ExecuteStreamResponse {
        answers: message.requests.into_iter().map(committed).collect(),
    }
}
