//! Apache Kafka as a resource: records and a consumer group's offsets become part of a transaction.
//!
//! ```text
//!  KafkaResource ── session ──┬─ prepare ── work ── operation, partitioner, batch     work to vote
//!    (open … open)            ├─ finish                                               decision to effect, with proof
//!                             ├─ scan, reap                                           what is in doubt, or left behind
//!                             └─ preconditions                                        what must hold
//!  journal ── fold, record    what was promised, where every instance finds it
//!  pool                       transactional ids of this process
//!  below all: transaction, cluster, wire, failure, options
//! ```
//!
//! - A branch is a transaction of Kafka's own, left open: its records are written and not visible. Its names (transactional id,
//!   producer id, epoch) and the whole operation are written to the *journal*, a compacted topic of the same cluster, before the
//!   vote. With them, any instance ends it by a raw `EndTxn`.
//! - The promise expires: the broker aborts a transaction after its timeout. The vote says so. A decision to commit that comes
//!   later is a hazard, with the operation kept in the journal; it is never taken for done.
//! - A prepared branch holds back every reader with `read_committed` of the partitions that it wrote to.
//!
//! What must never live here: decisions. An open transaction that was promised is ended only as the coordinator says, or by the
//! broker's timeout; and no transactional id is initialised that may hold one.

mod batch;
mod cluster;
mod failure;
mod finish;
mod fold;
mod journal;
mod operation;
mod options;
mod partitioner;
mod pool;
mod preconditions;
mod prepare;
mod reap;
mod record;
mod scan;
mod session;
mod transaction;
mod wire;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::ids::LogId;
use tokio::time::{Instant, timeout};

pub use operation::{
    GroupMember, GroupOffsets, KafkaOperation, MAX_OPERATION_BYTES, MAX_POSITIONS, MAX_RECORDS,
    OPERATION_VERSION, OutgoingRecord, Payload, Position,
};
pub use options::{KafkaOptions, OptionError};

use super::Finding;
use crate::resource::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity,
    Vote, Work,
};
use cluster::Cluster;
use options::CALL_LIMIT;
use record::Record;
use session::Session;

/// A Kafka cluster that takes part in transactions. A clone is another handle on the same resource.
#[derive(Clone)]
pub struct KafkaResource(Arc<Inner>);

struct Inner {
    options: Arc<KafkaOptions>,
    opening: tokio::sync::Mutex<()>,
    current: RwLock<Option<Arc<Session>>>,
    /// Milliseconds, as the last scan found.
    oldest_prepared: AtomicU64,
}

/// Looks at every precondition of a cluster, and changes nothing.
pub async fn check(options: &KafkaOptions) -> Vec<Finding> {
    let cluster = Arc::new(Cluster::new(options.bootstrap.clone()));
    let mut findings = preconditions::check(&cluster, options).await;
    if !findings.iter().any(Finding::is_broken) {
        findings.extend(session::describe(cluster, options).await);
    }
    findings
}

impl KafkaResource {
    /// A resource that connects when it is opened.
    pub fn new(options: KafkaOptions) -> Self {
        KafkaResource(Arc::new(Inner {
            options: Arc::new(options),
            opening: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            oldest_prepared: AtomicU64::new(0),
        }))
    }

    /// How long the oldest branch has been prepared, as of the last scan that the coordinators answered; zero if there was none.
    pub fn oldest_prepared(&self) -> Duration {
        Duration::from_millis(self.0.oldest_prepared.load(Relaxed))
    }

    fn current(&self) -> Option<Arc<Session>> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn session(&self) -> Result<Arc<Session>, ResourceError> {
        let session = self
            .current()
            .ok_or_else(|| ResourceError::transient("the cluster is not open yet"))?;
        match session.journal.broken() {
            None => Ok(session),
            Some(why) => Err(ResourceError::reopen(format!(
                "{why}; the journal is read anew with the next session, or when this process is started again"
            ))),
        }
    }
}

/// Milliseconds since 1970: the time of records, as every producer writes it, and ages for people. Nothing is decided by it.
#[allow(
    clippy::disallowed_methods,
    reason = "records carry wall-clock time; what talks to real servers is never simulated"
)]
fn wall_clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Bounds a call that is made again later.
async fn bounded<T>(call: impl Future<Output = Result<T, ResourceError>>) -> Result<T, ResourceError> {
    timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(ResourceError::transient(format!(
            "Kafka did not answer within {CALL_LIMIT:?}"
        )))
    })
}

impl Resource for KafkaResource {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let _one_at_a_time = self.0.opening.lock().await;
        if let Some(session) = self
            .current()
            .filter(|session| session.journal.broken().is_none())
        {
            return bounded(session.renew()).await;
        }
        let session = Session::open(self.0.options.clone()).await?;
        let identity = session.identity();
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(session));
        Ok(identity)
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        let session = self.session()?;
        bounded(async {
            let deadline = Instant::now() + CALL_LIMIT;
            let caught_up = session.journal.catch_up(deadline).await;
            caught_up.map_err(|error| {
                failure::resource_error("reading what was seen of coordinators' logs", &error)
            })?;
            Ok(session.journal.fold().seen())
        })
        .await
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        match self.session() {
            Ok(session) => Ok(prepare::prepare(&session, branch, work, seen, timeout).await),
            Err(error) => Ok(Vote::Refused(Refusal::retryable(
                "KAFKA_UNREACHABLE",
                error.message,
            ))),
        }
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        finish::finish(&*self.session()?, branch, decision).await
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let scanned = scan::scan(&*self.session()?).await?;
        if let Some(oldest) = scanned.oldest_prepared {
            let oldest = u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX);
            self.0.oldest_prepared.store(oldest, Relaxed);
        }
        Ok(scanned.lines)
    }

    /// What was seen of the log is written before the branches that said it are taken out.
    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let session = self.session()?;
        let records = {
            let fold = session.journal.fold();
            let now = Instant::now();
            let seen: BTreeMap<LogId, SeenLog> =
                fold.seen().into_iter().map(|seen| (seen.log, seen)).collect();
            let gone: Vec<Record> = branches
                .iter()
                .flat_map(|branch| fold.keys_to_forget(*branch, session.options.fence_age, now))
                .map(Record::Gone)
                .collect();
            let logs: std::collections::BTreeSet<LogId> = branches.iter().map(|branch| branch.log).collect();
            let seen = logs
                .iter()
                .filter_map(|log| seen.get(log))
                .copied()
                .map(Record::Seen);
            match gone.is_empty() {
                true => Vec::new(),
                false => seen.chain(gone).map(|record| (record, Bytes::new())).collect(),
            }
        };
        if records.is_empty() {
            return Ok(());
        }
        let appended = bounded(async {
            let appended = session.journal.append(records).await;
            appended
                .map(drop)
                .map_err(|error| failure::resource_error("taking markers out of the journal", &error))
        });
        appended.await
    }
}
