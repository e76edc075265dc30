//! Over HTTP.

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::Step;

/// Keeps its connections.
pub type Client = Pooled<HttpConnector, Full<Bytes>>;

/// A client of any service.
pub fn client() -> Client {
    Pooled::builder(TokioExecutor::new()).build_http()
}

/// Says yes to everything; where it listens.
pub async fn serve() -> String {
    let router = Router::new().route("/{step}", post(|_: Bytes| async {}));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Calls, and fails unless the answer is yes.
pub async fn call(client: &Client, url: &str, step: Step, body: Bytes) {
    let step = match step {
        Step::Try => "try",
        Step::Confirm => "confirm",
    };
    let request = Request::post(format!("{url}/{step}"))
        .body(Full::new(body))
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap();
}
