//! A call as a unary gRPC method, with the messages of `handfast.tcc.v1`. Which method stands in the address.
//!
//! A status code ends a branch only if it can be nobody's but the service's. What a library or a proxy between may say by itself
//! (UNAVAILABLE, RESOURCE_EXHAUSTED, PERMISSION_DENIED, UNIMPLEMENTED, …) says nothing of what the service did, and neither does
//! a deadline that has passed. <https://grpc.io/docs/guides/status-codes/> tells which codes libraries never make; of those,
//! OUT_OF_RANGE is left out as well, because tonic makes it of an answer that is too long.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::tcc::v1;
use hyper::Uri;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower_service::Service;

use super::connection::{self, Connector};
use super::{Answer, Reached, Step};
use crate::resource::{BranchKey, Refusal, ResourceError};
use crate::resources::tcc::options::TccOptions;

/// How often a connection with calls under way is pinged, and how long the answer may take: a service that is silently gone does
/// not keep the calls of its successor waiting.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Calls a service over gRPC.
pub(super) struct GrpcCalls {
    connector: Connector,
    client: GrpcOnly,
    authorization: Option<AsciiMetadataValue>,
    max_response_bytes: usize,
}

impl GrpcCalls {
    pub fn new(options: &TccOptions) -> Result<Self, ResourceError> {
        let connector = connection::connector(options)?;
        let client = connection::pool()
            .http2_only(true)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEPALIVE)
            .http2_keep_alive_timeout(KEEPALIVE)
            .build(connector.clone());
        Ok(GrpcCalls {
            connector,
            client: GrpcOnly(client),
            authorization: connection::authorization(options)?.map(as_metadata).transpose()?,
            max_response_bytes: options.max_response_bytes,
        })
    }

    /// Calls, and tells the service how long it is waited for.
    pub async fn call(
        &self,
        url: &Uri,
        step: Step,
        branch: BranchKey,
        operation: &[u8],
        limit: Duration,
    ) -> Answer {
        let log_id = format!("{:032x}", branch.log.0);
        let transaction_id = branch.transaction.to_string();
        let branch_number = branch.branch.0;
        let operation = Bytes::copy_from_slice(operation);
        let key = super::idempotency_key(step, branch);
        macro_rules! send {
            ($request:ident, $response:ident) => {{
                let message = v1::$request {
                    log_id,
                    transaction_id,
                    branch: branch_number,
                    operation,
                };
                self.unary::<_, v1::$response>(url, message, &key, limit)
                    .await
            }};
        }
        let answered = match step {
            Step::Try => send!(TryRequest, TryResponse),
            Step::Confirm => send!(ConfirmRequest, ConfirmResponse),
            Step::Cancel => send!(CancelRequest, CancelResponse),
        };
        match answered {
            Ok(()) => Answer::Done,
            Err(status) => understand(step, &status),
        }
    }

    async fn unary<Q, A>(&self, url: &Uri, message: Q, key: &str, limit: Duration) -> Result<(), Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let method = url.path_and_query().cloned();
        let method = method.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut request = self.request(message);
        let key = AsciiMetadataValue::try_from(key).expect("hexadecimal digits, dashes and a word are ASCII");
        request.metadata_mut().insert("idempotency-key", key);
        request.set_timeout(limit);
        let mut grpc = Grpc::with_origin(self.client.clone(), origin(url))
            .max_decoding_message_size(self.max_response_bytes);
        let answered = grpc.unary(request, method, ProstCodec::<Q, A>::default()).await;
        answered.map(drop)
    }

    /// A request with the token, if there is one.
    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        request
    }

    /// Whether a gRPC server is there. The one method that is called is that of the health service, which has no effects; a server
    /// without it says so in gRPC, which is answer enough.
    pub async fn reach(&self, url: &Uri) -> Reached {
        if let Err(reached) = connection::open(&self.connector, url).await {
            return reached;
        }
        let mut health = HealthClient::with_origin(self.client.clone(), origin(url));
        let asked = health.check(self.request(HealthCheckRequest {
            service: String::new(),
        }));
        match asked.await {
            Ok(said) if said.get_ref().status() == ServingStatus::Serving => {
                Reached::Fit(format!("{url}: a gRPC server that says it is serving"))
            }
            Ok(said) => Reached::Unfit {
                found: format!(
                    "{url}: a gRPC server that says it is {}",
                    said.get_ref().status().as_str_name()
                ),
                todo: "see what the service waits for",
            },
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => {
                Reached::Fit(format!("{url}: a gRPC server, without a health service to ask"))
            }
            Err(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
                Reached::Doubtful {
                    found: format!("{url}: {}", words(&status)),
                    todo: "the health service turns the agent away; see whether bearer_env has the token that is wanted",
                }
            }
            Err(status) => Reached::Unfit {
                found: format!(
                    "{url}: somebody listens, and does not answer as a gRPC server: {}",
                    words(&status)
                ),
                todo: "correct the address, or write transport = \"http\" if that is what is spoken there",
            },
        }
    }
}

/// Takes answers of gRPC alone. To tonic a page of some other server that says 404 reads like a gRPC server without the method.
#[derive(Clone)]
struct GrpcOnly(Client<Connector, Body>);

impl Service<hyper::Request<Body>> for GrpcOnly {
    type Response = hyper::Response<Incoming>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        let answered = self.0.request(request);
        Box::pin(async move {
            let response = answered.await?;
            let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
                return Err(format!("an answer that is not gRPC: {}", response.status()).into());
            }
            Ok(response)
        })
    }
}

fn as_metadata(header: HeaderValue) -> Result<AsciiMetadataValue, ResourceError> {
    let value = AsciiMetadataValue::try_from(header.as_bytes());
    let mut value = value.map_err(|_| {
        ResourceError::permanent("the bearer token has characters that no metadata of gRPC may have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The address without the method.
fn origin(url: &Uri) -> Uri {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).expect("an address with another path is an address")
}

fn understand(step: Step, status: &Status) -> Answer {
    match (step, status.code()) {
        (_, Code::FailedPrecondition) | (Step::Try, Code::InvalidArgument | Code::Aborted) => {
            Answer::Refused(refusal(status))
        }
        (_, Code::NotFound) => Answer::Absent(words(status)),
        _ => Answer::Unknown(words(status)),
    }
}

fn refusal(status: &Status) -> Refusal {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let message = Some(status.message()).filter(|message| !message.is_empty());
    Refusal {
        reason: reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| "SERVICE_REFUSED".to_owned()),
        message: message.map_or_else(|| words(status), str::to_owned),
        retryable: status.code() == Code::Aborted || status.get_details_retry_info().is_some(),
    }
}

/// The code as it is written in documents, and what was said with it or, if the call never came so far, what went wrong.
fn words(status: &Status) -> String {
    let code = name(status.code());
    match status.source() {
        Some(source) => format!("{code}: {}", connection::explained(source)),
        None => format!("{code} {}", super::shown(status.message()))
            .trim_end()
            .to_owned(),
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
