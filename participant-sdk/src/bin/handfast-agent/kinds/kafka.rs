//! `kind = "kafka"`: records and consumer offsets of an Apache Kafka cluster.
//!
//! ```toml
//! [[resource]]
//! kind = "kafka"
//! name = "events"
//! brokers = ["kafka-1.example:9092", "kafka-2.example:9092"]
//! journal_topic = "handfast-events"
//! pool = 64                        # branches that may be prepared at one time
//! transaction_timeout_ms = 900000  # how long a branch may stay prepared
//! ```

use std::time::Duration;

use anyhow::{Context, bail};
use handfast_participant::resources::Finding;
use handfast_participant::resources::kafka::{KafkaOptions, KafkaResource, check};
use handfast_participant::{Participant, Resource};
use serde::Deserialize;

use super::{Kind, Nonsense, Seat};

/// Decisions that are carried out at once.
const DECISIONS: usize = 32;

/// What the table may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// The topic that holds the journal, made at the first start; every instance of the resource names the same one.
    pub journal_topic: String,
    /// Copies of the journal topic when it is made, instead of the cluster's default.
    #[serde(default)]
    pub journal_replication: Option<i16>,
    /// Transactional ids: the most branches of this process that are prepared at one time.
    #[serde(default)]
    pub pool: Option<usize>,
    /// How long a branch may stay prepared, in milliseconds; at most `transaction.max.timeout.ms` of the brokers.
    #[serde(default)]
    pub transaction_timeout_ms: Option<u64>,
    /// How much sooner a vote says that its promise ends, in milliseconds.
    #[serde(default)]
    pub margin_ms: Option<u64>,
    /// From which age on a transaction that nobody promised is aborted, in milliseconds. Longer than any prepare takes.
    #[serde(default)]
    pub orphan_age_ms: Option<u64>,
}

impl Settings {
    fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.brokers.iter().cloned(), &self.journal_topic);
        options.journal_topic.clone_from(&self.journal_topic);
        options.journal_replication = self.journal_replication;
        options.pool = self.pool.unwrap_or(options.pool);
        let millis = |given: Option<u64>, otherwise| given.map_or(otherwise, Duration::from_millis);
        options.transaction_timeout = millis(self.transaction_timeout_ms, options.transaction_timeout);
        options.fence_age = options.transaction_timeout;
        options.margin = millis(self.margin_ms, options.margin);
        options.orphan_age = millis(self.orphan_age_ms, options.orphan_age);
        options
    }
}

impl Kind for Settings {
    async fn check(&self) -> Vec<Finding> {
        check(&self.options()).await
    }

    fn validate(&self) -> Result<(), Nonsense> {
        self.options().validate().map_err(|wrong| Nonsense {
            key: Some(match wrong.option {
                "bootstrap" => "brokers",
                "pool" => "pool",
                _ if self.margin_ms.is_some() => "margin_ms",
                _ => "transaction_timeout_ms",
            }),
            message: wrong.message,
        })
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let options = self.options();
        let (brokers, prepares) = (options.bootstrap.join(", "), options.pool);
        let resource = KafkaResource::new(options);
        // Each session opens the cluster again. A first look now tells a person at once what only a person can mend, even while
        // the coordinator cannot be reached.
        let name = &seat.name;
        match resource.open().await {
            Ok(identity) => {
                tracing::info!(resource = name, brokers, store = %identity.store, "the cluster is open")
            }
            Err(error) if error.permanent => bail!("{error}"),
            Err(error) => {
                tracing::warn!(resource = name, brokers, %error, "the cluster is not ready; it is tried again")
            }
        }
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .concurrency(prepares, DECISIONS)
            .resource(resource);
        let _watch = seat.watch(participant.handle());
        participant
            .run(seat.stopped)
            .await
            .with_context(|| format!("the cluster at {brokers}"))
    }
}
