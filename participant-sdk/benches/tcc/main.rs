//! What a transaction over two services with try, confirm and cancel costs, over HTTP and over gRPC: through a coordinator, and by
//! hand without one.
//!
//! The services do nothing but answer, so what is seen is what the calls and the agent's journal cost. By hand try and confirm are
//! called on both, over connections that stay, and nothing is written down.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench tcc`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod grpc;
mod http;
#[path = "../load/mod.rs"]
mod load;

use std::path::PathBuf;

use bytes::Bytes;
use handfast_participant::resources::tcc::{TccOptions, TccResource};
use load::{Cluster, account};

/// What is called of a service, in this order.
#[derive(Clone, Copy)]
enum Step {
    Try,
    Confirm,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    over_http().await;
    over_grpc().await;
}

async fn over_http() {
    let services = [http::serve().await, http::serve().await];
    let (client, services) = (&http::client(), &services);
    compare(
        "services that do nothing, over HTTP",
        services,
        TccOptions::new,
        move |step, side, body| http::call(client, &services[side], step, body),
    )
    .await;
}

async fn over_grpc() {
    let services = [grpc::serve().await, grpc::serve().await];
    let clients = [grpc::client(&services[0]).await, grpc::client(&services[1]).await];
    compare(
        "services that do nothing, over gRPC",
        &services,
        TccOptions::grpc,
        |step, side, body| grpc::call(clients[side].clone(), step, body),
    )
    .await;
}

/// `call` calls a step of a side by hand.
async fn compare<C: Future<Output = ()>>(
    what: &str,
    services: &[String; 2],
    options: fn(PathBuf, &str) -> TccOptions,
    call: impl Fn(Step, usize, Bytes) -> C,
) {
    let journals = [(); 2].map(|()| tempfile::tempdir_in(".").unwrap());
    let stores = [0, 1].map(|side: usize| {
        let journal = journals[side].path().join("journal");
        TccResource::new(options(journal, &services[side]))
    });
    let cluster = Cluster::start(stores).await;
    cluster.ready(operation(0, 0)).await;
    let (cluster, call) = (&cluster, &call);
    load::compare(
        what,
        |client, turn| async move {
            for step in [Step::Try, Step::Confirm] {
                let body = operation(client, turn);
                tokio::join!(call(step, 0, body.clone()), call(step, 1, body));
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

fn operation(client: u64, turn: u64) -> Bytes {
    format!("{{\"account\": {}}}", account(client, turn, 0)).into()
}
