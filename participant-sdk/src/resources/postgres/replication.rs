//! What the server shows may not be safe yet: with a synchronous standby, a commit is visible before the standby has it if
//! the one that waited for that was ended (by a person, a lost connection, a restart of the server).

use tokio_postgres::Client;

/// Waits until everything that the server shows now is where `synchronous_commit` wants a commit to be: on its own disk and,
/// if there is a synchronous standby, there.
///
/// A commit waits until the log is safe up to itself, and so is everything before. It must have written something: one that
/// has not waits for nothing. A message in the log is the smallest that there is, and nobody reads it.
pub(super) async fn catch_up(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .query_typed("SELECT pg_logical_emit_message(true, 'handfast', '')", &[])
        .await
        .map(drop)
}
