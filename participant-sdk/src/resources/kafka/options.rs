//! What can be set, and the bounds of everything that waits, in one place.

use std::time::Duration;

use crate::resource::ResourceError;

/// How long connecting to a broker may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a broker may take to answer one request.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is taken from a broker.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Connections to one broker that wait for their next request.
pub(super) const MAX_IDLE_CONNECTIONS: usize = 64;
/// How long carrying out one decision, one scan or one forget may take before it is given up and made again later.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(20);
/// How much of a scan is spent on asking how promised transactions stand, which people are told and nothing depends on.
pub(super) const STANDINGS_LIMIT: Duration = Duration::from_secs(5);
/// How much of a scan is spent on what was left behind.
pub(super) const TIDY_LIMIT: Duration = Duration::from_secs(5);
/// Void promises that a scan clears away at one time.
pub(super) const CLEARED_AT_ONCE: usize = 16;
/// The pause before a request is made again that a broker could not serve just now, and what it grows to.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// See [`FIRST_PAUSE`].
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long a broker waits for something new before it answers the reader of the journal with nothing.
pub(super) const FETCH_WAIT: Duration = Duration::from_millis(500);
/// The most bytes that the reader of the journal takes at once.
pub(super) const FETCH_BYTES: i32 = 8 << 20;
/// Appends to the journal that wait for the batch in flight; with more, callers wait.
pub(super) const QUEUED_APPENDS: usize = 4_096;
/// The most bytes of records in one batch of the journal. A single record may be longer.
pub(super) const BATCH_BYTES: usize = 512 << 10;
/// How long a batch of the journal is tried before whoever waits for it is told that its fate is not known.
pub(super) const APPEND_LIMIT: Duration = Duration::from_secs(30);
/// How long one attempt to make certain that work that was not voted for is undone may take, and how often it is said that it
/// is not certain yet.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// The longest record of the journal topic, set when the topic is made: an operation and what is noted beside it.
pub(super) const MAX_JOURNAL_RECORD_BYTES: usize = 2 << 20;
/// Branches that the journal holds: prepared, or finished and not yet forgotten. More prepares are refused.
pub(super) const MAX_BRANCHES: usize = 100_000;
/// The most old markers that one scan lists.
pub(super) const MAX_OLD_MARKERS: usize = 1_000;
/// The most transactions that one scan reaps. Others come with the next one.
pub(super) const MAX_REAPED: usize = 1_000;
/// The most transactions that one request describes.
pub(super) const DESCRIBE_BATCH: usize = 500;
/// How many ids a branch tries to begin with: each but the last was put aside because a broker did not answer.
pub(super) const MAX_BEGINS: usize = 3;
/// Ids that a process puts aside and replaces. What is put aside beyond that makes its pool smaller.
pub(super) const MAX_PUT_ASIDE: usize = 10_000;
/// The most ids that a pool may have.
const MAX_POOL: usize = 1_000;

/// An option that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    /// The field of [`KafkaOptions`].
    pub option: &'static str,
    /// What is wrong, and what to write.
    pub message: String,
}

impl From<OptionError> for ResourceError {
    fn from(error: OptionError) -> Self {
        ResourceError::permanent(error.message)
    }
}

/// Where the cluster is, and how much of it may be used.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers to begin with, `host:port`.
    pub bootstrap: Vec<String>,
    /// The compacted topic of this resource, in which every instance of it finds what is promised. Made if it does not exist.
    pub journal_topic: String,
    /// Copies of the journal topic when it is made; `None` for the cluster's default.
    pub journal_replication: Option<i16>,
    /// Transactional ids of this process: the most branches that it holds as prepared at one time.
    pub pool: usize,
    /// How long a branch may stay prepared before the broker aborts it; at most `transaction.max.timeout.ms` of the brokers.
    pub transaction_timeout: Duration,
    /// How much sooner a vote says that its promise ends.
    pub margin: Duration,
    /// From which age on a scan lists markers, so that the coordinator can say which of them may go.
    pub marker_age: Duration,
    /// From which age on a transaction that nobody has promised is taken for left behind by a process that died, and aborted.
    /// Longer than any prepare takes.
    pub orphan_age: Duration,
    /// How long a fence of a branch that was never promised stays at least. Late work on such a branch collides with it.
    pub fence_age: Duration,
}

impl KafkaOptions {
    /// Options for a cluster and for the resource of this name: its journal is the topic `handfast-NAME`.
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>, name: &str) -> Self {
        let transaction_timeout = Duration::from_secs(15 * 60);
        KafkaOptions {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            journal_topic: format!("handfast-{name}"),
            journal_replication: None,
            pool: 64,
            transaction_timeout,
            margin: Duration::from_secs(30),
            marker_age: Duration::from_secs(600),
            orphan_age: Duration::from_secs(60),
            fence_age: transaction_timeout,
        }
    }

    /// How long a promise holds, from the receipt of its prepare: the broker's clock starts later.
    pub(super) fn promise(&self) -> Duration {
        self.transaction_timeout.saturating_sub(self.margin)
    }

    /// Looks whether the options make sense, which no broker needs to be asked for.
    ///
    /// # Errors
    /// The first that does not.
    pub fn validate(&self) -> Result<(), OptionError> {
        let wrong = |option, message: String| Err(OptionError { option, message });
        if self.bootstrap.is_empty() || self.bootstrap.iter().any(|broker| !is_address(broker)) {
            return wrong(
                "bootstrap",
                format!(
                    "brokers to begin with are written host:port, such as kafka.example:9092, and not {:?}",
                    self.bootstrap
                ),
            );
        }
        if self.pool == 0 || self.pool > MAX_POOL {
            return wrong(
                "pool",
                format!(
                    "the pool of transactional ids holds 1 to {MAX_POOL}, not {}",
                    self.pool
                ),
            );
        }
        if self.promise().is_zero() || i32::try_from(self.transaction_timeout.as_millis()).is_err() {
            return wrong(
                "transaction_timeout",
                format!(
                    "a transaction timeout of {:?} with a margin of {:?} leaves nothing to promise, or is longer than Kafka can say",
                    self.transaction_timeout, self.margin
                ),
            );
        }
        Ok(())
    }
}

fn is_address(broker: &str) -> bool {
    broker
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
