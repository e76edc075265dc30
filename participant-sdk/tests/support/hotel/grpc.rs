//! The hotel over gRPC: by the published contract, and once more as a service that was there before, with names and answers of its own.

use std::sync::{Arc, Mutex};

use axum::extract::Path;
use axum::routing::post;
use handfast_proto::tcc::v1;
use handfast_proto::tcc::v1::try_confirm_cancel_server::{TryConfirmCancel, TryConfirmCancelServer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Identity as TonicIdentity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Call, Desk, Fault, Reply, Said};
use crate::certificates::Identity;

/// The service with names of its own; its methods are `Reserve`, `Take` and `Release`.
pub const OWN_SERVICE: &str = "hotel.v1.Bookings";

pub async fn serve(
    desk: Arc<Mutex<Desk>>,
    listener: TcpListener,
    identity: Option<Identity>,
    closed: impl Future<Output = ()> + Send + 'static,
) {
    let front = Front(desk);
    let own = front.clone();
    let own = move |Path(method): Path<String>, request| own.clone().own(method, request);
    let router = Routes::new(TryConfirmCancelServer::new(front))
        .into_axum_router()
        .route(&format!("/{OWN_SERVICE}/{{method}}"), post(own));
    let mut server = Server::builder();
    if let Some(identity) = identity {
        let identity = TonicIdentity::from_pem(&identity.certificate, &identity.key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap();
    }
    server
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), closed)
        .await
        .unwrap();
}

#[derive(Clone)]
struct Front(Arc<Mutex<Desk>>);

/// A request of any step: the same fields under the same numbers.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    log_id: String,
    #[prost(string, tag = "2")]
    transaction_id: String,
    #[prost(uint32, tag = "3")]
    branch: u32,
    #[prost(bytes = "vec", tag = "4")]
    operation: Vec<u8>,
}

/// An answer that nobody asked for.
#[derive(Clone, PartialEq, prost::Message)]
struct Slip {
    #[prost(string, tag = "1")]
    thanks: String,
}

macro_rules! asked {
    ($request:expr) => {{
        let (metadata, extensions, message) = $request.into_parts();
        let asked = Asked {
            log_id: message.log_id,
            transaction_id: message.transaction_id,
            branch: message.branch,
            operation: message.operation.to_vec(),
        };
        Request::from_parts(metadata, extensions, asked)
    }};
}

#[tonic::async_trait]
impl TryConfirmCancel for Front {
    async fn r#try(&self, request: Request<v1::TryRequest>) -> Result<Response<v1::TryResponse>, Status> {
        self.answer("try", asked!(request)).await?;
        Ok(Response::new(v1::TryResponse {}))
    }

    async fn confirm(
        &self,
        request: Request<v1::ConfirmRequest>,
    ) -> Result<Response<v1::ConfirmResponse>, Status> {
        self.answer("confirm", asked!(request)).await?;
        Ok(Response::new(v1::ConfirmResponse {}))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        self.answer("cancel", asked!(request)).await?;
        Ok(Response::new(v1::CancelResponse {}))
    }
}

impl Front {
    async fn own(self, method: String, request: axum::extract::Request) -> axum::response::Response {
        struct Method(Front, String);
        impl tonic::server::UnaryService<Asked> for Method {
            type Response = Slip;
            type Future = tonic::codegen::BoxFuture<Response<Slip>, Status>;
            fn call(&mut self, request: Request<Asked>) -> Self::Future {
                let Method(front, method) = self;
                let (front, method) = (front.clone(), method.clone());
                Box::pin(async move {
                    let step = match method.as_str() {
                        "Reserve" => "try",
                        "Take" => "confirm",
                        "Release" => "cancel",
                        _ => return Err(Status::unimplemented(method)),
                    };
                    let bytes = front.answer(step, request).await?;
                    Ok(Response::new(Slip {
                        thanks: "x".repeat(bytes),
                    }))
                })
            }
        }
        let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::<Slip, Asked>::default());
        let answered = grpc.unary(Method(self, method), request).await;
        answered.map(axum::body::Body::new)
    }

    /// How many bytes to answer.
    async fn answer(&self, step: &str, request: Request<Asked>) -> Result<usize, Status> {
        let metadata = |name| {
            let value = request.metadata().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let call = Call {
            step: step.to_owned(),
            key: metadata("idempotency-key").unwrap(),
            limit_ms: metadata("grpc-timeout").map(|text| millis(&text)),
            body: request.get_ref().operation.clone(),
            authorization: metadata("authorization"),
        };
        let Ok(fault) = self.0.lock().unwrap().admit(call) else {
            return Err(Status::unauthenticated("who are you?"));
        };
        let asked = request.get_ref();
        let done = || book(&mut self.0.lock().unwrap(), step, asked);
        match fault {
            None => done().map(|()| 0),
            Some(Fault::RefusedOnceHeld(mut has_held)) => {
                has_held.wait_for(|held| *held).await.unwrap();
                Err(status(Said::Refused))
            }
            Some(Fault::Before(said)) => Err(status(said)),
            Some(Fault::After(said)) => {
                done().ok();
                Err(status(said))
            }
            Some(Fault::Silence) => {
                done().ok();
                std::future::pending().await
            }
            Some(Fault::Redirect(_)) => panic!("gRPC has no redirects"),
            Some(Fault::Large(bytes)) => done().map(|()| bytes),
        }
    }
}

fn status(said: Said) -> Status {
    let code = match said {
        Said::Unavailable => Code::Unavailable,
        Said::Refused => Code::FailedPrecondition,
        Said::Absent => Code::NotFound,
        Said::Number(number) => Code::from_i32(number.into()),
    };
    Status::new(code, "as the test asked for")
}

fn book(desk: &mut Desk, step: &str, asked: &Asked) -> Result<(), Status> {
    assert_eq!(asked.log_id.len(), 32, "{asked:?}");
    let transaction = format!("{}/{}", asked.transaction_id, asked.branch);
    let operation: Value = serde_json::from_slice(&asked.operation).unwrap_or_default();
    match desk.book(step, transaction, operation["room"].as_u64().unwrap_or_default()) {
        Reply::Done => Ok(()),
        Reply::NoSuchRoom => Err(Status::invalid_argument("no such room")),
        Reply::Conflict {
            reason,
            room,
            retryable,
        } => {
            let code = if retryable {
                Code::Aborted
            } else {
                Code::FailedPrecondition
            };
            let details = ErrorDetails::with_error_info(reason, "hotel.example", []);
            Err(Status::with_error_details(code, format!("room {room}"), details))
        }
        Reply::Absent => Err(Status::not_found("no such booking")),
    }
}

/// Of a deadline as gRPC writes it: digits, and a unit.
fn millis(text: &str) -> u64 {
    let (digits, unit) = text.split_at(text.len() - 1);
    let number: u64 = digits.parse().unwrap();
    match unit {
        "S" => number * 1_000,
        "m" => number,
        "u" => number / 1_000,
        "n" => number / 1_000_000,
        _ => panic!("{text} is longer than any call may take"),
    }
}
