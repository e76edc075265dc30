//! What must hold of a server before it may promise anything, each with what to do if it does not.

use tokio_postgres::Client;

use super::connection::ServerTraits;
use super::failure::resource_error;
use crate::resource::ResourceError;
use crate::resources::{Finding, Verdict};

/// The oldest version that has every function that is used here; older ones get no security fixes any more.
const MIN_VERSION: i32 = 130_000;
/// The first version with `client_connection_check_interval`.
const CHECKS_CONNECTIONS: i32 = 140_000;

pub(super) struct Server {
    version: i32,
    description: String,
    in_recovery: bool,
    read_only: bool,
    max_prepared: i32,
    synchronous_commit: String,
    fsync: bool,
    full_page_writes: bool,
}

/// Asks the server, and says what it must be told at the start of each connection.
pub(super) async fn check(client: &Client) -> Result<ServerTraits, ResourceError> {
    let server = ask(client)
        .await
        .map_err(|error| resource_error("asking PostgreSQL for its settings", &error))?;
    for finding in server.findings() {
        match finding.verdict {
            Verdict::Holds => {}
            Verdict::Advice(_) => tracing::warn!("{finding}"),
            Verdict::Broken(message) => {
                return Err(ResourceError {
                    message,
                    // A standby that is about to be promoted looks the same as one that is not.
                    permanent: !server.in_recovery,
                    reopen: false,
                });
            }
        }
    }
    Ok(ServerTraits {
        force_synchronous_commit: is_weak(&server.synchronous_commit),
        checks_connections: server.version >= CHECKS_CONNECTIONS && server.description.contains("linux"),
    })
}

/// Whether a commit may be reported before it is on disk, or on those standbys that it waits for.
pub(super) fn is_weak(synchronous_commit: &str) -> bool {
    matches!(synchronous_commit, "off" | "local")
}

impl Server {
    /// Each precondition, the ones first without which the others mean nothing.
    pub fn findings(&self) -> Vec<Finding> {
        let on = |on: bool| if on { "on" } else { "off" };
        let description = self.description.split(" on ").next().unwrap_or_default();
        let version = match self.version {
            ..MIN_VERSION => Finding::broken(
                "version",
                description,
                format!(
                    "PostgreSQL is too old ({}); use version 13 or later",
                    self.description
                ),
            ),
            _ => Finding::holds("version", description),
        };
        let recovery = match self.in_recovery {
            true => Finding::broken(
                "pg_is_in_recovery",
                "true",
                "this PostgreSQL server is in recovery or a standby, which cannot prepare anything; connect to the \
                 primary, or wait until it is promoted",
            ),
            false => Finding::holds("pg_is_in_recovery", "false"),
        };
        let read_only = match self.read_only {
            true => Finding::broken(
                "default_transaction_read_only",
                "on",
                "transactions are read-only by default for this user or database (default_transaction_read_only = on); \
                 turn that off for the participant's user: ALTER ROLE … SET default_transaction_read_only = off",
            ),
            false => Finding::holds("default_transaction_read_only", "off"),
        };
        let slots = match self.max_prepared {
            0 => Finding::broken(
                "max_prepared_transactions",
                "0",
                "PostgreSQL cannot prepare transactions (max_prepared_transactions = 0); set it to at least the number \
                 of branches that may be in doubt at one time, such as 64, and restart the server",
            ),
            slots => Finding::holds("max_prepared_transactions", slots.to_string()),
        };
        let durable = |what: &str, is_on: bool| match is_on {
            true => Finding::holds(what, on(is_on)),
            false => Finding::advice(
                what,
                on(is_on),
                "a crash of its machine loses votes and commits; turn it on",
            ),
        };
        let commit = match self.synchronous_commit.as_str() {
            weak if is_weak(weak) => {
                format!("{weak}, and every connection of the participant turns it on")
            }
            other => other.to_owned(),
        };
        vec![
            version,
            recovery,
            read_only,
            slots,
            durable("fsync", self.fsync),
            durable("full_page_writes", self.full_page_writes),
            Finding::holds("synchronous_commit", commit),
        ]
    }
}

/// Asks for what [`Server::findings`] looks at.
pub(super) async fn ask(client: &Client) -> Result<Server, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT current_setting('server_version_num')::int, version(), pg_is_in_recovery(), \
             current_setting('default_transaction_read_only')::boolean, \
             current_setting('max_prepared_transactions')::int, current_setting('synchronous_commit'), \
             current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean",
            &[],
        )
        .await?;
    Ok(Server {
        version: row.try_get(0)?,
        description: row.try_get(1)?,
        in_recovery: row.try_get(2)?,
        read_only: row.try_get(3)?,
        max_prepared: row.try_get(4)?,
        synchronous_commit: row.try_get(5)?,
        fsync: row.try_get(6)?,
        full_page_writes: row.try_get(7)?,
    })
}
