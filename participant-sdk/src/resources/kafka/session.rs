//! What one process holds of a cluster: its journal, its ids and its running work.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use handfast_proto::ids::{Generation, StoreId};
use kafka_protocol::error::ResponseError;
use tokio::time::{Instant, timeout_at};

use super::cluster::Cluster;
use super::failure::resource_error;
use super::finish;
use super::journal::Journal;
use super::options::{CALL_LIMIT, KafkaOptions};
use super::pool::Pool;
use super::preconditions;
use super::prepare::Working;
use super::record::{LAYOUT, Record};
use super::wire::KafkaError;
use crate::resource::{BranchKey, ResourceError, StoreIdentity};
use crate::resources::old_markers::OldMarkers;
use crate::resources::{Finding, Verdict};
use crate::runtime::random_bits;

/// From opening the cluster until its journal has to be read anew.
pub(super) struct Session {
    pub options: Arc<KafkaOptions>,
    pub cluster: Arc<Cluster>,
    pub journal: Journal,
    pub pool: Arc<Pool>,
    pub working: Working,
    pub old_markers: OldMarkers<BranchKey>,
    identity: StoreIdentity,
}

impl Session {
    /// Connects, checks the cluster, reads the journal and says which store it is.
    pub async fn open(options: Arc<KafkaOptions>) -> Result<Self, ResourceError> {
        options.validate()?;
        let deadline = Instant::now() + CALL_LIMIT;
        timeout_at(deadline, Self::open_within(options, deadline))
            .await
            .unwrap_or_else(|_| {
                Err(ResourceError::transient(format!(
                    "Kafka was not opened within {CALL_LIMIT:?}"
                )))
            })
    }

    async fn open_within(options: Arc<KafkaOptions>, deadline: Instant) -> Result<Self, ResourceError> {
        let cluster = Arc::new(Cluster::new(options.bootstrap.clone()));
        let failed = |error| resource_error("opening the journal", &error);
        examine(&cluster, &options).await?;
        let topic = preconditions::make_journal(&cluster, &options, deadline)
            .await
            .map_err(failed)?;
        let pool = Arc::new(Pool::new(topic.id, random_bits(), options.pool));
        let journal = Journal::start(cluster.clone(), &options.journal_topic, topic.id, pool.clone());
        journal.catch_up(deadline).await.map_err(failed)?;
        let identity = establish(&cluster, &journal, deadline).await?;
        Ok(Session {
            options,
            cluster,
            journal,
            pool,
            working: Working::default(),
            old_markers: OldMarkers::default(),
            identity,
        })
    }

    /// For a new session with the coordinator: looks that the cluster is there and the same, and fences the work of the
    /// older one. What is promised by then is listed by the scan; what is not never will be.
    pub async fn renew(&self) -> Result<StoreIdentity, ResourceError> {
        let deadline = Instant::now() + CALL_LIMIT;
        self.cluster
            .metadata(&[])
            .await
            .map_err(|error| resource_error("looking at the cluster again", &error))?;
        let working = self.working.list();
        let fences = working
            .into_iter()
            .map(|branch| finish::fence(self, branch, deadline));
        try_join_all(fences).await?;
        Ok(self.identity)
    }

    pub fn identity(&self) -> StoreIdentity {
        self.identity
    }
}

async fn examine(cluster: &Cluster, options: &KafkaOptions) -> Result<(), ResourceError> {
    let findings = preconditions::look(cluster, options)
        .await
        .map_err(|error| resource_error("connecting to Kafka", &error))?;
    let broken: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_broken())
        .map(ToString::to_string)
        .collect();
    if !broken.is_empty() {
        return Err(ResourceError::permanent(broken.join("; ")));
    }
    for finding in findings {
        if matches!(finding.verdict, Verdict::Advice(_)) {
            tracing::warn!("{finding}");
        }
    }
    Ok(())
}

/// Which store the journal is; made on the first time. Of instances that start together, the first record counts.
async fn establish(
    cluster: &Cluster,
    journal: &Journal,
    deadline: Instant,
) -> Result<StoreIdentity, ResourceError> {
    let known = || {
        let fold = journal.fold();
        fold.store()
            .map(|(store, layout, cluster)| (store, layout, cluster.to_owned()))
    };
    if known().is_none() {
        let record = Record::Store {
            store: StoreId(random_bits()),
            layout: LAYOUT,
            cluster: cluster.id().to_owned(),
        };
        journal
            .settle(record, Bytes::new(), deadline)
            .await
            .map_err(|error| resource_error("writing the identity of the store", &error))?;
    }
    let Some((store, layout, made_in)) = known() else {
        return Err(ResourceError::transient(
            "the identity of the store is not written yet",
        ));
    };
    recognize(journal, cluster, layout, &made_in)?;
    Ok(StoreIdentity {
        store,
        generation: Generation(1),
        attached: false,
    })
}

/// Whether the journal was made here.
fn recognize(journal: &Journal, cluster: &Cluster, layout: u8, made_in: &str) -> Result<(), ResourceError> {
    if layout != LAYOUT {
        return Err(ResourceError::permanent(format!(
            "topic {} has layout {layout}, and this build reads layout {LAYOUT}; use the build that made it, or a later one that \
             can convert it",
            journal.topic()
        )));
    }
    if made_in != cluster.id() {
        return Err(ResourceError::permanent(format!(
            "topic {} is a copy: it was made in cluster {made_in}, and this is cluster {}. Its promises are transactions of the \
             other cluster. Give the resource here another name, and with it a journal of its own",
            journal.topic(),
            cluster.id()
        )));
    }
    Ok(())
}

/// Which store the journal is and what is promised in it, for people; nothing if there is no journal yet. Reads it to its end.
pub(super) async fn describe(cluster: Arc<Cluster>, options: &KafkaOptions) -> Vec<Finding> {
    let deadline = Instant::now() + CALL_LIMIT;
    let unread = |error: &KafkaError| vec![Finding::broken("store", "cannot be read", error.to_string())];
    let topic = match cluster.topic(&options.journal_topic).await {
        Ok(topic) => topic,
        Err(error) if error.code() == Some(ResponseError::UnknownTopicOrPartition) => return Vec::new(),
        Err(error) => return unread(&error),
    };
    let pool = Arc::new(Pool::new(topic.id, random_bits(), options.pool));
    let journal = Journal::start(cluster.clone(), &options.journal_topic, topic.id, pool);
    if let Err(error) = journal.catch_up(deadline).await {
        return unread(&error);
    }
    let fold = journal.fold();
    let store = match fold.store() {
        None => Finding::holds("store", "will be made"),
        Some((store, layout, made_in)) => match recognize(&journal, &cluster, layout, made_in) {
            Ok(()) => Finding::holds("store", store.to_string()),
            Err(error) => Finding::broken("store", "is not the one that was made here", error.message),
        },
    };
    let promised = Finding::holds("prepared branches", fold.promised().count().to_string());
    vec![store, promised]
}
