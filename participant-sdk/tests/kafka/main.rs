//! `KafkaResource` against a real broker.
//!
//! - `access`: what the user may not do
//! - `branches`: votes, decisions, markers, fences
//! - `crash`: killed brokers, killed instances
//! - `expiry`: promises that ran out, and transactions that were ended by hand
//! - `input`: operations that cannot be
//! - `opening`: what is checked before anything is promised
//! - `scanning`: scan, seen, forget
//!
//! `raw` asks the broker as any client could.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod branches;
mod crash;
mod expiry;
mod input;
mod opening;
mod raw;
mod scanning;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use handfast_participant::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use handfast_participant::resources::kafka::{KafkaOperation, KafkaOptions, KafkaResource};
use handfast_participant::{BranchKey, Refusal, Resource, SeenLog, Vote, Work};
use handfast_servers::KafkaBroker;

const LOG: LogId = LogId(0x10);
/// Long enough for a busy machine, short enough for a test that hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Partitions of a test's topic.
const PARTITIONS: i32 = 3;

/// A broker that looks often for transactions that have expired.
fn start_broker() -> KafkaBroker {
    KafkaBroker::start(&["transaction.abort.timed.out.transaction.cleanup.interval.ms=100"]).unwrap()
}

/// A broker that asks its rules, of which there are none yet, whether somebody may do what he asks for.
fn start_guarded_broker() -> KafkaBroker {
    let settings = [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found=true",
    ];
    KafkaBroker::start(&settings).unwrap()
}

/// The broker that the tests of this binary share; stopped when the last of them ends.
fn shared() -> Arc<KafkaBroker> {
    static SHARED: Mutex<Weak<KafkaBroker>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let broker = Arc::new(start_broker());
        *shared = Arc::downgrade(&broker);
        broker
    })
}

/// A resource of a name that no other test has, and a topic for its records.
struct Shop {
    broker: Arc<KafkaBroker>,
    topic: String,
    options: KafkaOptions,
}

impl Shop {
    fn new() -> Self {
        Self::on(shared())
    }

    fn on(broker: Arc<KafkaBroker>) -> Self {
        let number = next();
        let topic = format!("orders-{number}");
        broker.create_topic(&topic, PARTITIONS).unwrap();
        let options = KafkaOptions::new([broker.bootstrap()], &format!("shop-{number}"));
        Shop {
            broker,
            topic,
            options,
        }
    }

    /// One more instance of the resource.
    async fn open(&self) -> KafkaResource {
        open(self.options.clone()).await
    }

    /// Writes one record.
    fn order(&self, value: &str) -> KafkaOperation {
        KafkaOperation::new().record(&self.topic, "key", value.to_owned())
    }

    /// The values that a consumer with `read_committed` sees.
    fn committed(&self) -> Vec<String> {
        values(self.broker.read_committed(&self.topic).unwrap())
    }

    /// Waits until nothing holds the topic back: the brokers write the ends of transactions a moment after they are durable.
    async fn stable(&self) {
        until("the topic to be stable", || {
            self.broker.is_stable(&self.topic).unwrap()
        })
        .await;
    }
}

impl Shop {
    /// The id of the only open transaction of this resource, with producer id and epoch.
    fn open_transaction(&self) -> raw::Transaction {
        let open = self.open_transactions();
        assert_eq!(open.len(), 1, "{open:?}");
        open.into_iter().next().unwrap()
    }

    /// Open transactions of this resource.
    fn open_transactions(&self) -> Vec<raw::Transaction> {
        raw::open_transactions(&self.broker, &self.topic)
    }
}

fn values(records: Vec<handfast_servers::kafka::ReadRecord>) -> Vec<String> {
    records
        .into_iter()
        .map(|record| String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap())
        .collect()
}

async fn open(options: KafkaOptions) -> KafkaResource {
    let resource = KafkaResource::new(options);
    resource.open().await.unwrap();
    resource
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waited)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// A branch that no other test has.
fn branch() -> BranchKey {
    let transaction = TransactionId::new(1_000, Partition(0), Epoch(3), next());
    BranchKey {
        log: LOG,
        transaction,
        branch: BranchId(0),
    }
}

fn seen(epoch: u32, lsn: u64) -> SeenLog {
    SeenLog {
        log: LOG,
        epoch: Epoch(epoch),
        lsn,
    }
}

async fn prepare(resource: &KafkaResource, branch: BranchKey, operation: &KafkaOperation) -> Vote {
    resource
        .prepare(branch, Work::Operation(operation.encode()), seen(3, 1), LIMIT)
        .await
        .unwrap()
}

/// Prepares, and fails unless the vote is yes.
async fn promise(resource: &KafkaResource, branch: BranchKey, operation: &KafkaOperation) {
    let vote = prepare(resource, branch, operation).await;
    assert!(matches!(vote, Vote::Prepared { .. }), "{vote:?}");
}

fn refused(vote: Vote) -> Refusal {
    match vote {
        Vote::Refused(refusal) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}
