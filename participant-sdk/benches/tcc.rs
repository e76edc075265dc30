//! What a transaction over two services with try, confirm and cancel costs: through a coordinator, and by hand without one.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench tcc`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod load;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use handfast_participant::resources::tcc::{TccOptions, TccResource};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use load::{Cluster, account};

type Http = Client<HttpConnector, Full<Bytes>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    let urls = [serve().await, serve().await];
    let journals = [(); 2].map(|()| tempfile::tempdir_in(".").unwrap());
    let stores = [0, 1].map(|side: usize| {
        let journal = journals[side].path().join("journal");
        TccResource::new(TccOptions::new(journal, &urls[side]))
    });
    let cluster = Cluster::start(stores).await;
    cluster.ready(operation(0, 0)).await;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();

    let (cluster, urls, http) = (&cluster, &urls, &http);
    load::compare(
        "services that do nothing",
        |client, turn| async move {
            for step in ["try", "confirm"] {
                let body = operation(client, turn);
                let [left, right] = urls;
                tokio::join!(
                    call(http, left, step, body.clone()),
                    call(http, right, step, body.clone())
                );
            }
            true
        },
        |client, turn| async move {
            let operation = operation(client, turn);
            cluster.execute([operation.clone(), operation]).await.unwrap()
        },
    )
    .await;
}

/// Says yes to everything.
async fn serve() -> String {
    let router = Router::new().route("/{step}", post(|_: Bytes| async {}));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn operation(client: u64, turn: u64) -> Bytes {
    format!("{{\"account\": {}}}", account(client, turn, 0)).into()
}

async fn call(http: &Http, url: &str, step: &str, body: Bytes) {
    let request = Request::post(format!("{url}/{step}"))
        .body(Full::new(body))
        .unwrap();
    let response = http.request(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap();
}
