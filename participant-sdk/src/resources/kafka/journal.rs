//! The journal: a compacted topic that every instance of the resource reads as it grows.
//!
//! One task appends: whatever gathered while the last batch was under way goes into the next, written by an idempotent
//! producer, so that a batch that is sent again is there once. Another task reads what anybody appended into the [`Fold`]. What
//! a caller has appended counts as the fold says once it was read back, because only then is it certain what came before it.

mod appending;
mod reading;

pub(super) use appending::ACKS_ALL;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::cluster::{Cluster, Pause, passes, topic_name, version};
use super::fold::{Branch, Fold};
use super::options::{ANSWER_LIMIT, QUEUED_APPENDS};
use super::pool::Pool;
use super::record::Record;
use super::wire::KafkaError;
use crate::resource::BranchKey;

/// The only partition: its order decides.
pub(super) const PARTITION: i32 = 0;
/// Asks for the end of a partition's log.
const LATEST: i64 = -1;

/// Records that are appended together, one behind the other.
pub(super) struct Append {
    records: Vec<(Record, Bytes)>,
    /// Told the offset of the last of them.
    done: oneshot::Sender<Result<i64, KafkaError>>,
}

/// How far the fold has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    next: i64,
    /// Why it comes no further, ever.
    broken: Option<String>,
}

struct Shared {
    cluster: Arc<Cluster>,
    topic: String,
    topic_id: Uuid,
    fold: Mutex<Fold>,
    progress: watch::Sender<Progress>,
}

impl Shared {
    fn fold(&self) -> MutexGuard<'_, Fold> {
        self.fold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journal as one session of this process has it.
pub(super) struct Journal {
    shared: Arc<Shared>,
    appends: mpsc::Sender<Append>,
    tasks: [AbortHandle; 2],
}

impl Drop for Journal {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Journal {
    /// Begins to read and to write the topic of this id. Whatever nothing waits for any more goes back to the pool.
    pub fn start(cluster: Arc<Cluster>, topic: &str, topic_id: Uuid, pool: Arc<Pool>) -> Self {
        let shared = Arc::new(Shared {
            cluster,
            topic: topic.to_owned(),
            topic_id,
            fold: Mutex::default(),
            progress: watch::Sender::default(),
        });
        let (appends, queue) = mpsc::channel(QUEUED_APPENDS);
        let tasks = [
            tokio::spawn(appending::run(shared.clone(), queue)).abort_handle(),
            tokio::spawn(reading::run(shared.clone(), pool)).abort_handle(),
        ];
        Journal {
            shared,
            appends,
            tasks,
        }
    }

    /// The state as it was read so far.
    pub fn fold(&self) -> MutexGuard<'_, Fold> {
        self.shared.fold()
    }

    /// What is known of a branch so far.
    pub fn branch(&self, branch: BranchKey) -> Option<Branch> {
        self.fold().branch(branch).cloned()
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// The topic's own id, which another topic of the same name does not have.
    pub fn topic_id(&self) -> Uuid {
        self.shared.topic_id
    }

    /// Why it cannot be read any further, if so. It must be opened again.
    pub fn broken(&self) -> Option<String> {
        self.shared.progress.borrow().broken.clone()
    }

    /// Appends, and returns once it is durable at every replica in sync.
    ///
    /// # Errors
    /// It may be there or not, now or in a while, unless the error says that the broker refused it.
    pub async fn append(&self, records: Vec<(Record, Bytes)>) -> Result<i64, KafkaError> {
        let (done, told) = oneshot::channel();
        let stopped = || KafkaError::Unusable("the journal is closed".to_owned());
        self.appends
            .send(Append { records, done })
            .await
            .map_err(|_| stopped())?;
        told.await.map_err(|_| stopped())?
    }

    /// Appends one record, and returns once the fold holds it and everything before it.
    pub async fn settle(
        &self,
        record: Record,
        operation: Bytes,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let settling = async {
            let offset = self.append(vec![(record, operation)]).await?;
            self.read_through(offset).await
        };
        timeout_at(deadline, settling)
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    /// Returns once the fold holds everything that was in the topic when this was called.
    pub async fn catch_up(&self, deadline: Instant) -> Result<(), KafkaError> {
        let end = self.end(deadline).await?;
        timeout_at(deadline, self.read_through(end - 1))
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    async fn read_through(&self, offset: i64) -> Result<(), KafkaError> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.next > offset || progress.broken.is_some())
            .await
            .map_err(|_| KafkaError::Unusable("the journal is closed".to_owned()))?;
        match &reached.broken {
            Some(why) => Err(KafkaError::Unusable(why.clone())),
            None => Ok(()),
        }
    }

    async fn end(&self, deadline: Instant) -> Result<i64, KafkaError> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(PARTITION)
            .with_timestamp(LATEST);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(topic_name(&self.shared.topic))
                    .with_partitions(vec![partition]),
            ]);
        let mut pause = Pause::new();
        loop {
            let attempt = async {
                let cluster = &self.shared.cluster;
                let leader = cluster.leader(&self.shared.topic, PARTITION).await?;
                let response = cluster
                    .ask(leader, &request, version::LIST_OFFSETS, ANSWER_LIMIT)
                    .await?;
                let partition = response.topics.first().and_then(|topic| topic.partitions.first());
                match partition {
                    Some(found) if found.error_code == 0 => Ok(found.offset),
                    Some(found) => Err(KafkaError::refused("ListOffsets", found.error_code)),
                    None => Err(KafkaError::Unusable(
                        "ListOffsets is answered without what was asked for".to_owned(),
                    )),
                }
            };
            match attempt.await {
                Err(error) if passes(&error) => {
                    self.shared.cluster.forget_topic(&self.shared.topic);
                    if !pause.before(deadline).await {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// It did not come as far as was asked.
    pub fn late(&self) -> KafkaError {
        KafkaError::NoAnswer {
            address: format!("topic {}", self.shared.topic),
            what: "the journal",
            why: "it did not come as far as was asked in time".to_owned(),
        }
    }
}
