//! What can be set, and the bounds of everything that waits, in one place.

use std::time::Duration;

use handfast_proto::ids::InstanceId;
use tokio_postgres::config::SslMode;

use crate::resource::ResourceError;

/// How long carrying out one decision, one scan or one forget may take before it is given up and made again later.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a fence waits for another transaction that holds the same key, before it looks again.
pub(super) const FENCE_LOCK_LIMIT: Duration = Duration::from_millis(1_000);
/// After how long a fence that waits has the backend that it waits for ended.
pub(super) const REAP_AFTER: Duration = Duration::from_millis(100);
/// How often an abort looks again before it is left to the next call.
pub(super) const ABORT_ROUNDS: u32 = 3;
/// How long it may take to learn how a prepare ended whose connection was lost.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How often a backend that is being ended is looked at.
pub(super) const SETTLE_POLL: Duration = Duration::from_millis(20);
/// How long a prepare waits for interactive statements that still run.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(5);
/// How soon the server notices that the connection of a running statement is gone (PostgreSQL 14 and later).
pub(super) const CONNECTION_CHECK: Duration = Duration::from_secs(1);
/// The most old markers that one scan lists.
pub(super) const MAX_OLD_MARKERS: i64 = 1_000;
/// The most rows that one interactive query returns.
pub const MAX_QUERY_ROWS: usize = 10_000;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the database is, and how much of it may be used.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Server, database, user and password.
    pub database: tokio_postgres::Config,
    /// This process; its connections carry it in `application_name`.
    pub instance: InstanceId,
    /// The most connections for one-shot work. Work that does not get one in time is refused, retryably.
    pub work_connections: usize,
    /// Connections that work never takes, so that decisions get through while all work waits for locks.
    pub decision_connections: usize,
    /// The most interactive branches at one time.
    pub interactive_connections: usize,
    /// How long getting a connection may take.
    pub connect_limit: Duration,
    /// How long one interactive statement may run.
    pub interactive_statement_limit: Duration,
    /// How long an interactive branch may wait for its next statement or its prepare, before it is rolled back.
    pub interactive_idle_limit: Duration,
    /// From which age on a scan lists markers, so that the coordinator can say which of them may go.
    pub marker_age: Duration,
}

impl PostgresOptions {
    /// Options for a database, such as `postgres://user:password@db.example:5432/orders` or `host=… dbname=…`.
    ///
    /// Errors are permanent. There is no TLS yet: a URL that demands it is an error and never a connection in the clear.
    pub fn new(url: &str, instance: InstanceId) -> Result<Self, ResourceError> {
        let database: tokio_postgres::Config = url.parse().map_err(|error| {
            ResourceError::permanent(format!(
                "the PostgreSQL URL cannot be read: {error}; write postgres://user:password@host:port/database"
            ))
        })?;
        if database.get_ssl_mode() == SslMode::Require {
            return Err(ResourceError::permanent(
                "the PostgreSQL URL demands TLS (sslmode=require), which this build cannot do; connect over a private \
                 network or a local tunnel and write sslmode=disable",
            ));
        }
        Ok(PostgresOptions {
            database,
            instance,
            work_connections: 8,
            decision_connections: 4,
            interactive_connections: 16,
            connect_limit: Duration::from_secs(5),
            interactive_statement_limit: Duration::from_secs(30),
            interactive_idle_limit: Duration::from_secs(60),
            marker_age: Duration::from_secs(600),
        })
    }

    /// The connection settings that are the same for all connections.
    pub(super) fn connection(&self, application_name: &str) -> tokio_postgres::Config {
        let mut config = self.database.clone();
        config
            .application_name(application_name)
            .connect_timeout(self.connect_limit)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        config
    }
}
