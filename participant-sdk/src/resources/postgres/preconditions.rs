//! What must hold of a server before it may promise anything, each with what to do if it does not.

use tokio_postgres::Client;

use super::connection::ServerTraits;
use super::failure::resource_error;
use crate::resource::ResourceError;

/// The oldest version that has every function that is used here; older ones get no security fixes any more.
const MIN_VERSION: i32 = 130_000;
/// The first version with `client_connection_check_interval`.
const CHECKS_CONNECTIONS: i32 = 140_000;

struct Server {
    version: i32,
    description: String,
    in_recovery: bool,
    read_only: bool,
    max_prepared: i32,
    synchronous_commit: String,
    fsync: bool,
}

/// Asks the server, and says what it must be told at the start of each connection.
pub(super) async fn check(client: &Client) -> Result<ServerTraits, ResourceError> {
    let server = ask(client)
        .await
        .map_err(|error| resource_error("asking PostgreSQL for its settings", &error))?;
    if server.version < MIN_VERSION {
        return Err(ResourceError::permanent(format!(
            "PostgreSQL is too old ({}); use version 13 or later",
            server.description
        )));
    }
    // Transient: a standby that is about to be promoted looks the same.
    if server.in_recovery {
        return Err(ResourceError::transient(
            "this PostgreSQL server is in recovery or a standby, which cannot prepare anything; connect to the primary, or \
             wait until it is promoted",
        ));
    }
    if server.read_only {
        return Err(ResourceError::permanent(
            "transactions are read-only by default for this user or database (default_transaction_read_only = on); turn \
             that off for the participant's user: ALTER ROLE … SET default_transaction_read_only = off",
        ));
    }
    if server.max_prepared == 0 {
        return Err(ResourceError::permanent(
            "PostgreSQL cannot prepare transactions (max_prepared_transactions = 0); set it to at least the number of \
             branches that may be in doubt at one time, such as 64, and restart the server",
        ));
    }
    if !server.fsync {
        tracing::warn!("PostgreSQL runs with fsync = off: a crash of its machine loses votes and commits");
    }
    Ok(ServerTraits {
        force_synchronous_commit: matches!(server.synchronous_commit.as_str(), "off" | "local"),
        checks_connections: server.version >= CHECKS_CONNECTIONS && server.description.contains("linux"),
    })
}

async fn ask(client: &Client) -> Result<Server, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT current_setting('server_version_num')::int, version(), pg_is_in_recovery(), \
             current_setting('default_transaction_read_only')::boolean, \
             current_setting('max_prepared_transactions')::int, current_setting('synchronous_commit'), \
             current_setting('fsync')::boolean",
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
    })
}
