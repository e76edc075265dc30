//! How many transactions over two resources the driver commits in a second, on a real disk, without the transport:
//! callers and participants speak to it as the servers do.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on ends

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use handfast_coordinator::config::Settings;
use handfast_coordinator::driver::{
    DriverHandle, FRAMES_IN_FLIGHT, Input, Request, SessionSender, create_log, inbox, recover,
};
use handfast_coordinator::index::MemoryIndex;
use handfast_coordinator::runtime::Phase;
use handfast_core::{
    Ack, AckKind, Decision, Event, ExecuteRequest, OperationRequest, SessionHello, SessionId, Vote, Wait,
};
use handfast_ids::{BranchId, Generation, InstanceId, ResourceName, StoreId};
use handfast_proto::{convert, v1};
use handfast_wal::RealDisk;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls under way at a time.
const CALLERS: usize = 4096;
const RESOURCES: [&str; 2] = ["orders-db", "ledger"];

async fn participant(handle: DriverHandle, resource: &'static str) {
    let session = handle.session_id();
    let (frames, mut received) = mpsc::channel(FRAMES_IN_FLIGHT);
    let (released, _release) = oneshot::channel();
    let hello = SessionHello {
        resource: ResourceName::new(resource).unwrap(),
        store: StoreId(resource.len() as u128),
        generation: Generation(0),
        instance: InstanceId(1),
        attached: false,
        one_phase: false,
        seen: Vec::new(),
    };
    let sender = SessionSender { frames, released };
    let up = Input::SessionUp {
        session,
        hello,
        sender,
    };
    handle.put(up).await.unwrap();
    while let Some(Ok(frame)) = received.recv().await {
        let events = answer(session, frame);
        let room = handle.room(0).await.unwrap();
        if handle.put(Input::Frame { events, room }).await.is_err() {
            return;
        }
    }
}

fn answer(session: SessionId, frame: v1::SessionResponse) -> Vec<Event> {
    let votes = frame.prepares.into_iter().map(|prepare| Event::Vote {
        session,
        transaction: convert::transaction_id(&prepare.transaction_id).unwrap(),
        branch: BranchId(prepare.branch),
        vote: Vote::Prepared {
            prepared_for_ms: None,
        },
    });
    let acks = frame.decisions.into_iter().map(|decision| Event::Ack {
        session,
        transaction: convert::transaction_id(&decision.transaction_id).unwrap(),
        branch: BranchId(decision.branch),
        ack: Ack {
            decision: Decision::Commit,
            kind: AckKind::Done,
        },
    });
    votes.chain(acks).collect()
}

fn request(names: &[ResourceName]) -> Request {
    let operation = |resource: &ResourceName| OperationRequest {
        resource: resource.clone(),
        operation: b"work".as_slice().into(),
    };
    Request::Execute(ExecuteRequest {
        key: None,
        operations: names.iter().map(operation).collect(),
        timeout_ms: None,
        wait: Wait::Decided,
    })
}

async fn commit(handle: &DriverHandle, names: &[ResourceName], transactions: u64) {
    let mut open = FuturesUnordered::new();
    for _ in 0..transactions {
        if open.len() >= CALLERS {
            open.next().await;
        }
        let handle = handle.clone();
        let request = request(names);
        open.push(async move { handle.call(request, 0).await.unwrap() });
    }
    while open.next().await.is_some() {}
}

fn benchmark(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.server.inbox_inputs = 2 * CALLERS;
    let handle = runtime.block_on(async {
        let disk = RealDisk::open(directory.path()).unwrap();
        create_log(disk.clone(), &settings).await.unwrap();
        let (handle, inbox) = inbox(&settings.server);
        let (phase, _) = watch::channel(Phase::Serving);
        let index = |_, _| MemoryIndex::new(100_000);
        let driver = recover(disk, index, inbox, &settings, phase).await.unwrap();
        tokio::spawn(driver.run());
        for resource in RESOURCES {
            tokio::spawn(participant(handle.clone(), resource));
        }
        handle
    });
    let names = RESOURCES.map(|name| ResourceName::new(name).unwrap());
    // Both have dialed in once a transaction commits.
    while runtime.block_on(handle.call(request(&names), 0)).is_err() {}

    let mut group = criterion.benchmark_group("commit");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.bench_function("two resources", |bencher| {
        bencher.iter_custom(|transactions| {
            #[allow(clippy::disallowed_methods)] // real time is what is measured
            let begun = Instant::now();
            runtime.block_on(commit(&handle, &names, transactions));
            begun.elapsed()
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
