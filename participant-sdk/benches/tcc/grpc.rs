//! Over gRPC, by the published contract.

use bytes::Bytes;
use handfast_proto::tcc::v1::try_confirm_cancel_client::TryConfirmCancelClient;
use handfast_proto::tcc::v1::try_confirm_cancel_server::{TryConfirmCancel, TryConfirmCancelServer};
use handfast_proto::tcc::v1::{
    CancelRequest, CancelResponse, ConfirmRequest, ConfirmResponse, TryRequest, TryResponse,
};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::Step;

/// One connection, which carries any number of calls at once.
pub type Client = TryConfirmCancelClient<Channel>;

struct Yes;

#[tonic::async_trait]
impl TryConfirmCancel for Yes {
    async fn r#try(&self, _: Request<TryRequest>) -> Result<Response<TryResponse>, Status> {
        Ok(Response::new(TryResponse {}))
    }

    async fn confirm(&self, _: Request<ConfirmRequest>) -> Result<Response<ConfirmResponse>, Status> {
        Ok(Response::new(ConfirmResponse {}))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        Ok(Response::new(CancelResponse {}))
    }
}

/// Says yes to everything; where it listens.
pub async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .add_service(TryConfirmCancelServer::new(Yes))
        .serve_with_incoming(incoming);
    tokio::spawn(async move { serving.await.unwrap() });
    url
}

/// A client of this service.
pub async fn client(url: &str) -> Client {
    TryConfirmCancelClient::connect(url.to_owned()).await.unwrap()
}

/// Calls, and fails unless the answer is yes.
pub async fn call(mut client: Client, step: Step, operation: Bytes) {
    let (log_id, transaction_id) = ("0".repeat(32), "00000000-0000-8000-8000-000000000000".to_owned());
    match step {
        Step::Try => {
            let request = TryRequest {
                log_id,
                transaction_id,
                branch: 0,
                operation,
            };
            client.r#try(request).await.unwrap();
        }
        Step::Confirm => {
            let request = ConfirmRequest {
                log_id,
                transaction_id,
                branch: 0,
                operation,
            };
            client.confirm(request).await.unwrap();
        }
    }
}
