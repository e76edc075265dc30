//! Ending server processes of ours, and seeing whether they are gone.

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connection::{Backend, NAME_PREFIX};
use super::options::SETTLE_POLL;

/// Asks the server to end one backend; its transaction rolls back, unless it had just become prepared.
pub(super) async fn terminate(client: &Client, backend: &Backend) -> Result<(), tokio_postgres::Error> {
    client
        .query_typed(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid = $1 AND application_name = $2 AND usename = current_user",
            &[
                (&backend.process, Type::INT4),
                (&backend.application_name, Type::TEXT),
            ],
        )
        .await
        .map(drop)
}

/// Asks the server to end all backends of older sessions of this process.
pub(super) async fn terminate_older(
    client: &Client,
    process_prefix: &str,
    current: &str,
) -> Result<usize, tokio_postgres::Error> {
    client
        .query_typed(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE starts_with(application_name, $1) AND application_name <> $2 AND usename = current_user",
            &[(&process_prefix, Type::TEXT), (&current, Type::TEXT)],
        )
        .await
        .map(|ended| ended.len())
}

/// Asks the server to end what `waiting` waits for, if it is a participant's: only whoever works on the same branch can
/// stand in the way of its fence. Nobody else's backend is touched.
pub(super) async fn terminate_blockers(client: &Client, waiting: i32) -> Result<(), tokio_postgres::Error> {
    client
        .query_typed(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids($1)) \
             AND starts_with(application_name, $2) AND usename = current_user",
            &[(&waiting, Type::INT4), (&NAME_PREFIX, Type::TEXT)],
        )
        .await
        .map(drop)
}

/// The backends of this process, of all of its sessions, that are still there.
pub(super) async fn of_process(
    client: &Client,
    process_prefix: &str,
) -> Result<Vec<Backend>, tokio_postgres::Error> {
    let rows = client
        .query_typed(
            "SELECT pid, application_name FROM pg_stat_activity \
             WHERE starts_with(application_name, $1) AND usename = current_user",
            &[(&process_prefix, Type::TEXT)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Backend {
                process: row.try_get(0)?,
                application_name: row.try_get(1)?,
            })
        })
        .collect()
}

/// Whether the backend is still there.
pub(super) async fn is_alive(client: &Client, backend: &Backend) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND application_name = $2)",
            &[
                (&backend.process, Type::INT4),
                (&backend.application_name, Type::TEXT),
            ],
        )
        .await?;
    row.try_get(0)
}

/// Ends the backend and waits until it is gone; `false` if it still lives at the deadline.
pub(super) async fn put_down(
    client: &Client,
    backend: &Backend,
    deadline: Instant,
) -> Result<bool, tokio_postgres::Error> {
    terminate(client, backend).await?;
    while is_alive(client, backend).await? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(SETTLE_POLL).await;
    }
    Ok(true)
}
