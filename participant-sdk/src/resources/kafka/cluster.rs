//! The brokers of a cluster: who leads what, who coordinates whom, and connections to them.
//!
//! Every answer that names the cluster is held against the name that was learnt first: another cluster behind the same
//! address is an error, whenever it appears.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::options::{ANSWER_LIMIT, FIRST_PAUSE, LONGEST_PAUSE, MAX_IDLE_CONNECTIONS};
use super::wire::{Connection, KafkaError};

/// Versions of requests that are used; every broker of version 4.0 or later speaks them.
pub(super) mod version {
    pub const METADATA: i16 = 12;
    pub const FIND_COORDINATOR: i16 = 4;
    pub const INIT_PRODUCER_ID: i16 = 4;
    /// The first that tells a broker that the client speaks transactions of version 2.
    pub const PRODUCE: i16 = 12;
    /// As [`PRODUCE`].
    pub const TXN_OFFSET_COMMIT: i16 = 5;
    /// As [`PRODUCE`].
    pub const END_TXN: i16 = 5;
    /// The first that names topics by their ids, so that a topic that was made again is not taken for the old one.
    pub const FETCH: i16 = 13;
    pub const LIST_OFFSETS: i16 = 7;
    pub const DESCRIBE_TRANSACTIONS: i16 = 0;
    pub const LIST_TRANSACTIONS: i16 = 1;
    pub const DESCRIBE_CONFIGS: i16 = 4;
    pub const CREATE_TOPICS: i16 = 7;
    pub const API_VERSIONS: i16 = 3;
}

/// Coordinators are found by the kind of what they coordinate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Coordinated {
    Group = 0,
    Transaction = 1,
}

/// A topic as the cluster knows it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub id: Uuid,
    /// The leader of each partition, if it has one.
    pub leaders: Vec<Option<BrokerId>>,
    /// The fewest replicas that a partition has in sync now.
    pub fewest_in_sync: usize,
}

/// Grows from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`].
pub(super) struct Pause(Duration);

impl Pause {
    pub fn new() -> Self {
        Pause(FIRST_PAUSE)
    }

    /// Waits, but not beyond `deadline`; `false` if that has come.
    pub async fn before(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.0.min(left)).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        true
    }
}

#[derive(Default)]
struct Known {
    brokers: BTreeMap<BrokerId, String>,
    topics: BTreeMap<String, Topic>,
    coordinators: BTreeMap<(Coordinated, String), BrokerId>,
    idle: BTreeMap<String, Vec<Connection>>,
}

/// The most coordinators and topics that are remembered; with more, all are looked up again.
const MAX_REMEMBERED: usize = 10_000;

/// A cluster.
pub(super) struct Cluster {
    bootstrap: Vec<String>,
    id: OnceLock<String>,
    known: Mutex<Known>,
}

impl Cluster {
    pub fn new(bootstrap: Vec<String>) -> Self {
        Cluster {
            bootstrap,
            id: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster's own name, once it was asked for anything.
    pub fn id(&self) -> &str {
        self.id.get().map_or("", String::as_str)
    }

    /// Asks the broker of this address, on a connection that is idle or new.
    pub async fn ask_address<R: Request>(
        &self,
        address: &str,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, KafkaError> {
        let idle = {
            let mut known = self.known();
            let idle = known.idle.get_mut(address);
            idle.and_then(|idle| std::iter::from_fn(|| idle.pop()).find(Connection::is_open))
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.introduced(address).await?,
        };
        let (connection, response) = connection.ask(request, version, limit).await?;
        let mut known = self.known();
        let idle = known.idle.entry(address.to_owned()).or_default();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(connection);
        }
        Ok(response)
    }

    /// A new connection is asked first which cluster it leads to.
    async fn introduced(&self, address: &str) -> Result<Connection, KafkaError> {
        let connection = Connection::open(address).await?;
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let (connection, answer) = connection.ask(&request, version::METADATA, ANSWER_LIMIT).await?;
        let id = answer.cluster_id.as_deref().unwrap_or_default();
        let first = self.id.get_or_init(|| id.to_owned());
        if id != first {
            return Err(KafkaError::OtherCluster {
                address: address.to_owned(),
                found: id.to_owned(),
                expected: first.clone(),
            });
        }
        Ok(connection)
    }

    /// Asks this broker.
    pub async fn ask<R: Request>(
        &self,
        broker: BrokerId,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, KafkaError> {
        let address = self.known().brokers.get(&broker).cloned();
        let Some(address) = address else {
            return Err(KafkaError::Unreachable {
                address: format!("broker {}", broker.0),
                why: "the cluster does not list it now".to_owned(),
            });
        };
        self.ask_address(&address, request, version, limit).await
    }

    /// Asks any broker that answers: those that are known, then those to begin with.
    pub async fn ask_any<R: Request>(&self, request: &R, version: i16) -> Result<R::Response, KafkaError> {
        let mut addresses: Vec<String> = self.known().brokers.values().cloned().collect();
        for address in &self.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let mut last = None;
        for address in &addresses {
            match self.ask_address(address, request, version, ANSWER_LIMIT).await {
                Ok(response) => return Ok(response),
                Err(error @ KafkaError::Unusable(_)) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| KafkaError::Unusable("no broker is named".to_owned())))
    }

    /// The brokers, and these topics.
    pub async fn metadata(&self, topics: &[&str]) -> Result<MetadataResponse, KafkaError> {
        let asked = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))))
            .collect();
        let request = MetadataRequest::default()
            .with_topics(Some(asked))
            .with_allow_auto_topic_creation(false);
        let response = self.ask_any(&request, version::METADATA).await?;
        let mut known = self.known();
        known.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)))
            .collect();
        Ok(response)
    }

    /// What is known of a topic, looked up if it is not.
    pub async fn topic(&self, name: &str) -> Result<Topic, KafkaError> {
        if let Some(topic) = self.known().topics.get(name) {
            return Ok(topic.clone());
        }
        let response = self.metadata(&[name]).await?;
        let Some(found) = response.topics.into_iter().next() else {
            return Err(KafkaError::refused(
                "Metadata",
                ResponseError::UnknownTopicOrPartition.code(),
            ));
        };
        if found.error_code != 0 {
            return Err(KafkaError::said(
                "Metadata",
                found.error_code,
                format!("topic {name}"),
            ));
        }
        let count = found.partitions.len();
        let mut topic = Topic {
            id: found.topic_id,
            leaders: vec![None; count],
            fewest_in_sync: found
                .partitions
                .iter()
                .map(|partition| partition.isr_nodes.len())
                .min()
                .unwrap_or(0),
        };
        for partition in found.partitions {
            let place = usize::try_from(partition.partition_index).ok();
            if let Some(leader) = place.and_then(|place| topic.leaders.get_mut(place)) {
                *leader = Some(partition.leader_id).filter(|leader| leader.0 >= 0);
            }
        }
        let mut known = self.known();
        if known.topics.len() >= MAX_REMEMBERED {
            known.topics.clear();
        }
        known.topics.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    /// The topic is looked up again when it is needed next.
    pub fn forget_topic(&self, name: &str) {
        self.known().topics.remove(name);
    }

    /// The leader of a partition.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<BrokerId, KafkaError> {
        let found = self.topic(topic).await?;
        let leader = usize::try_from(partition)
            .ok()
            .and_then(|place| found.leaders.get(place));
        match leader {
            Some(Some(leader)) => Ok(*leader),
            Some(None) => {
                self.forget_topic(topic);
                Err(KafkaError::refused(
                    "Metadata",
                    ResponseError::LeaderNotAvailable.code(),
                ))
            }
            None => Err(KafkaError::said(
                "Metadata",
                ResponseError::UnknownTopicOrPartition.code(),
                format!("topic {topic} has no partition {partition}"),
            )),
        }
    }

    /// Who coordinates a group or a transactional id.
    pub async fn coordinator(&self, kind: Coordinated, key: &str) -> Result<BrokerId, KafkaError> {
        let remembered = (kind, key.to_owned());
        if let Some(broker) = self.known().coordinators.get(&remembered) {
            return Ok(*broker);
        }
        let request = FindCoordinatorRequest::default()
            .with_key_type(kind as i8)
            .with_coordinator_keys(vec![StrBytes::from_string(key.to_owned())]);
        let response = self.ask_any(&request, version::FIND_COORDINATOR).await?;
        let Some(found) = response.coordinators.first() else {
            return Err(KafkaError::refused(
                "FindCoordinator",
                ResponseError::CoordinatorNotAvailable.code(),
            ));
        };
        if found.error_code != 0 {
            let said = found.error_message.as_deref().unwrap_or_default();
            return Err(KafkaError::said("FindCoordinator", found.error_code, said));
        }
        let mut known = self.known();
        known
            .brokers
            .insert(found.node_id, format!("{}:{}", found.host, found.port));
        if known.coordinators.len() >= MAX_REMEMBERED {
            known.coordinators.clear();
        }
        known.coordinators.insert(remembered, found.node_id);
        Ok(found.node_id)
    }

    /// Asks a coordinator until it answers with something else than "not now", or the deadline has come.
    ///
    /// The same request may reach the broker more than once, unless it [must not](is_repeatable): then no answer is the end. An
    /// answer with an error that does not pass is an error.
    pub async fn ask_coordinator<R: Request>(
        &self,
        kind: Coordinated,
        key: &str,
        request: &R,
        version: i16,
        deadline: Instant,
        error_of: impl Fn(&R::Response) -> Option<KafkaError>,
    ) -> Result<R::Response, KafkaError> {
        let mut pause = Pause::new();
        loop {
            let attempt = async {
                let broker = self.coordinator(kind, key).await?;
                let left = deadline.saturating_duration_since(Instant::now());
                let response = self.ask(broker, request, version, left.min(ANSWER_LIMIT)).await?;
                match error_of(&response) {
                    None => Ok(response),
                    Some(error) => Err(error),
                }
            };
            match attempt.await {
                Err(error) if error.is_unanswered::<R>() && !is_repeatable::<R>() => return Err(error),
                Err(error) if passes(&error) => {
                    if error.code() != Some(ResponseError::ConcurrentTransactions) {
                        self.known().coordinators.remove(&(kind, key.to_owned()));
                    }
                    if !pause.before(deadline).await {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }
}

/// Whether a request may be sent again while an earlier one may still be on its way. `InitProducerId` aborts whatever its id holds
/// at the time it arrives; everything else is bound to the producer id and epoch that it names, or changes nothing.
fn is_repeatable<R: Request>() -> bool {
    R::KEY != ApiKey::InitProducerId as i16
}

/// Whether the same request may succeed in a moment.
pub(super) fn passes(error: &KafkaError) -> bool {
    match error {
        KafkaError::Unreachable { .. } | KafkaError::NoAnswer { .. } => true,
        // The table of the protocol crate does not call a transaction that is being ended passing, though it ends in a moment.
        KafkaError::Refused { .. } => error
            .code()
            .is_some_and(|code| code.is_retriable() || code == ResponseError::ConcurrentTransactions),
        KafkaError::OtherCluster { .. } | KafkaError::Unusable(_) => false,
    }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
