//! What can be set, and the bounds of everything that waits, in one place.

use std::time::Duration;

use handfast_proto::ids::InstanceId;
use mysql_async::{Opts, OptsBuilder};

use crate::resource::ResourceError;

/// How long carrying out one decision, one scan or one forget may take before it is given up and made again later.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a fence waits for another transaction that holds the same key, in whole seconds, before it looks again.
pub(super) const FENCE_LOCK_SECONDS: u64 = 1;
/// How often a decision looks again before it is left to the next call.
pub(super) const FINISH_ROUNDS: u32 = 3;
/// How long one round of a decision waits for a connection that is being ended.
pub(super) const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to learn how a prepare ended whose connection was lost.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How often a connection that is being ended is looked at.
pub(super) const SETTLE_POLL: Duration = Duration::from_millis(10);
/// How long a prepare waits for interactive statements that still run.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(5);
/// The most old markers that one scan lists.
pub(super) const MAX_OLD_MARKERS: usize = 1_000;
/// The most branches that one statement names.
pub(super) const BATCH: usize = 500;
/// The most prepared statements that one connection remembers.
const STATEMENT_CACHE: usize = 32;
/// The most rows that one interactive query returns.
pub const MAX_QUERY_ROWS: usize = 10_000;

const KEEPALIVE: Duration = Duration::from_secs(15);

/// How the statements of a branch see what others do at the same time. A branch cannot change it by itself: the server
/// refuses that inside of an XA transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// All reads see one moment; the server's default.
    #[default]
    RepeatableRead,
    /// Reads lock what they read, until the vote if the branch wrote nothing, otherwise until the decision.
    Serializable,
}

impl Isolation {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
            Isolation::Serializable => "SERIALIZABLE",
        }
    }
}

/// Where the database is, and how much of it may be used.
#[derive(Clone, Debug)]
pub struct MariadbOptions {
    /// Server, database, user and password.
    pub database: Opts,
    /// This process.
    pub instance: InstanceId,
    /// The most connections for one-shot work. Work that does not get one in time is refused, retryably.
    pub work_connections: usize,
    /// Connections that work never takes, so that decisions get through while all work waits for locks.
    pub decision_connections: usize,
    /// The most interactive branches at one time.
    pub interactive_connections: usize,
    /// The most connections that stay with their prepared branch, each ready to finish it without a detour. Further branches
    /// are let go of: their connection is closed, and their decision takes another one.
    pub prepared_connections: usize,
    /// How long getting a connection may take.
    pub connect_limit: Duration,
    /// How long one interactive statement may run.
    pub interactive_statement_limit: Duration,
    /// How long an interactive branch may wait for its next statement or its prepare, before it is rolled back.
    pub interactive_idle_limit: Duration,
    /// From which age on a scan lists markers, so that the coordinator can say which of them may go.
    pub marker_age: Duration,
    /// The isolation of all branches.
    pub isolation: Isolation,
}

impl MariadbOptions {
    /// Options for a database, such as `mysql://user:password@db.example:3306/stock` (`mariadb://` means the same).
    ///
    /// Errors are permanent. There is no TLS yet: a URL that demands it is an error and never a connection in the clear.
    pub fn new(url: &str, instance: InstanceId) -> Result<Self, ResourceError> {
        let url = url
            .strip_prefix("mariadb://")
            .map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
        let unreadable = |what: String| {
            ResourceError::permanent(format!(
                "the MariaDB URL cannot be read: {what}; write mysql://user:password@host:port/database"
            ))
        };
        let database = Opts::from_url(&url).map_err(|error| match error {
            mysql_async::UrlError::FeatureRequired { param, .. } => no_tls(&param),
            error => unreadable(error.to_string()),
        })?;
        if database.ssl_opts().is_some() {
            return Err(no_tls("require_ssl"));
        }
        Self::of(database, instance)
    }

    /// Options for a database by its parts. Errors are permanent.
    pub fn of(database: Opts, instance: InstanceId) -> Result<Self, ResourceError> {
        if database.db_name().is_none_or(str::is_empty) {
            return Err(ResourceError::permanent(
                "no MariaDB database is named: its tables tell which store this is; write it behind the port, such as \
                 mysql://user@host:3306/stock",
            ));
        }
        Ok(MariadbOptions {
            database,
            instance,
            work_connections: 8,
            decision_connections: 4,
            interactive_connections: 16,
            prepared_connections: 64,
            connect_limit: Duration::from_secs(5),
            interactive_statement_limit: Duration::from_secs(30),
            interactive_idle_limit: Duration::from_secs(60),
            marker_age: Duration::from_secs(600),
            isolation: Isolation::default(),
        })
    }

    /// The most connections that may be open at one time.
    pub fn most_connections(&self) -> usize {
        self.work_connections
            + self.decision_connections
            + self.interactive_connections
            + self.prepared_connections
    }

    /// The connection settings that are the same for all connections. Rows count as touched when they match, changed or not,
    /// as the standard and PostgreSQL count them.
    pub(super) fn connection(&self, setup: &[String]) -> Opts {
        OptsBuilder::from_opts(self.database.clone())
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .client_found_rows(true)
            .stmt_cache_size(STATEMENT_CACHE)
            .setup(setup.to_vec())
            .into()
    }
}

fn no_tls(parameter: &str) -> ResourceError {
    ResourceError::permanent(format!(
        "the MariaDB URL demands TLS ({parameter}), which this build cannot do; connect over a private network or a local \
         tunnel"
    ))
}
