//! Branches in Kafka beside their floor, in one run and on one broker.
//!
//! ours:   `prepare` and `finish(commit)` of `KafkaResource`, with the journal before the vote and the marker after the end
//! floor:  a hand-written client that produces and commits in a transaction, on the same requests, and writes nothing down
//!
//! Both write one record of 100 bytes a transaction to the same topic, and have the same number of transactional ids. Rounds of both take turns; what counts is the median of
//! five ratios. `cargo bench -p handfast-participant --bench kafka`; needs a broker, see `servers/fetch-kafka`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark measures real time and fails by panicking"
)]

mod floor;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use handfast_participant::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use handfast_participant::resources::kafka::{KafkaOperation, KafkaOptions, KafkaResource};
use handfast_participant::{BranchKey, Completion, Decision, Resource, SeenLog, Vote, Work};
use handfast_servers::KafkaBroker;

const TOPIC: &str = "measured";
const PARTITIONS: i32 = 8;
/// Transactional ids for each transaction at once: one is busy a moment longer than its transaction.
const IDS_EACH: usize = 3;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    // What `cargo test` asks of a benchmark is that it builds.
    if std::env::args().any(|argument| argument == "--test")
        || !std::env::args().any(|argument| argument == "--bench")
    {
        return;
    }
    let broker = KafkaBroker::start(&[]).unwrap();
    broker.create_topic(TOPIC, PARTITIONS).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("transactions a second in Kafka, median of {ROUNDS} rounds of {ROUND:?} each");
    println!("{:>8} {:>10} {:>10} {:>8}", "at once", "ours", "floor", "ratio");
    for at_once in [1, 8, 32] {
        let (ours, floor, ratio) = runtime.block_on(compare(&broker, at_once));
        println!("{at_once:>8} {ours:>10.0} {floor:>10.0} {ratio:>8.2}");
    }
}

async fn compare(broker: &KafkaBroker, at_once: usize) -> (f64, f64, f64) {
    let mut options = KafkaOptions::new([broker.bootstrap()], &format!("measured-{at_once}"));
    options.pool = IDS_EACH * at_once;
    let resource = Arc::new(KafkaResource::new(options));
    resource.open().await.unwrap();
    let mut clients = Vec::new();
    for number in 0..at_once {
        let partition = i32::try_from(number).unwrap() % PARTITIONS;
        clients.push(floor::Client::connect(&broker.bootstrap(), TOPIC, partition).await);
    }
    let ids = floor::Pool::initialise(&mut clients[0], &format!("floor-{at_once}"), IDS_EACH * at_once).await;
    // Classes are loaded and code is compiled while nobody measures.
    ours(&resource, at_once, ROUND).await;
    floor(&mut clients, &ids, ROUND).await;
    let (mut rates, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let rate = ours(&resource, at_once, ROUND).await;
        let floor = floor(&mut clients, &ids, ROUND).await;
        rates.push(rate);
        floors.push(floor);
        ratios.push(rate / floor);
    }
    (median(rates), median(floors), median(ratios))
}

async fn ours(resource: &KafkaResource, at_once: usize, time: Duration) -> f64 {
    let begun = Instant::now();
    let workers = (0..at_once).map(|number| async move {
        let mut done = 0_u32;
        while begun.elapsed() < time {
            one(resource, i32::try_from(number).unwrap() % PARTITIONS).await;
            done += 1;
        }
        done
    });
    let done: u32 = join_all(workers).await.into_iter().sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

async fn one(resource: &KafkaResource, partition: i32) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let branch = BranchKey {
        log: LogId(1),
        transaction: TransactionId::new(1_000, Partition(0), Epoch(1), NEXT.fetch_add(1, Relaxed)),
        branch: BranchId(0),
    };
    let seen = SeenLog {
        log: LogId(1),
        epoch: Epoch(1),
        lsn: 1,
    };
    let operation = KafkaOperation::new()
        .record(TOPIC, "key", floor::VALUE)
        .to_partition(partition);
    let vote = resource
        .prepare(branch, Work::Operation(operation.encode()), seen, LIMIT)
        .await;
    assert!(matches!(vote, Ok(Vote::Prepared { .. })), "{vote:?}");
    let done = resource.finish(branch, Decision::Commit).await.unwrap();
    assert_eq!(done, Completion::Done);
    resource.forget(&[branch]).await.unwrap();
}

async fn floor(clients: &mut [floor::Client], ids: &floor::Pool, time: Duration) -> f64 {
    let begun = Instant::now();
    let workers = clients.iter_mut().map(|client| async move {
        let mut done = 0_u32;
        while begun.elapsed() < time {
            client.one(ids).await;
            done += 1;
        }
        done
    });
    let done: u32 = join_all(workers).await.into_iter().sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
