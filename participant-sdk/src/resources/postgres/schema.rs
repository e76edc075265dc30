//! The tables in schema `handfast` of the participant's own database.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure::{describe, resource_error};
use crate::resource::ResourceError;

/// The layout of the tables that this build makes and reads.
pub(super) const LAYOUT: i32 = 2;

/// Makes the tables of layout 1, which kept one epoch of each log, those of this one.
pub(super) const FROM_LAYOUT_1: &str = "ALTER TABLE handfast.seen DROP CONSTRAINT seen_pkey, ADD PRIMARY KEY (log_id, epoch); \
    UPDATE handfast.store SET layout = 2";

/// Held while the tables are made, so that instances that start together do not collide. Any number of our own.
const SETUP_LOCK: i64 = 0x6861_6e64_6661_7374;

const TABLES: &str = "
CREATE TABLE handfast.store (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    layout integer NOT NULL,
    store_id uuid NOT NULL,
    generation bigint NOT NULL,
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    database_name text NOT NULL,
    timeline integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp());
COMMENT ON TABLE handfast.store IS 'Which store this database is for Handfast; one row, made once.';

CREATE TABLE handfast.marker (
    log_id uuid NOT NULL,
    transaction_id uuid NOT NULL,
    branch bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('committed', 'aborted')),
    epoch bigint NOT NULL,
    seen_lsn bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (log_id, transaction_id, branch));
COMMENT ON TABLE handfast.marker IS
    'How branches of distributed transactions ended. Deleted when the coordinator says Forget; never delete by hand.';
CREATE INDEX marker_seen ON handfast.marker (log_id, epoch, seen_lsn);
CREATE INDEX marker_age ON handfast.marker (created_at);

CREATE TABLE handfast.seen (
    log_id uuid NOT NULL,
    epoch bigint NOT NULL,
    lsn bigint NOT NULL,
    PRIMARY KEY (log_id, epoch));
COMMENT ON TABLE handfast.seen IS
    'The highest position in each epoch of each coordinator log among markers that were deleted.';
";

/// Makes the tables if they are not there.
pub(super) async fn set_up(client: &Client) -> Result<(), ResourceError> {
    match make(client).await {
        Ok(()) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(ResourceError::permanent(format!(
                "the user may not make or use schema handfast: {}; let an administrator run, once in this database: CREATE \
                 SCHEMA handfast AUTHORIZATION <the participant's user>",
                describe(&error)
            )))
        }
        Err(error) => Err(resource_error("making the tables in schema handfast", &error)),
    }
}

async fn make(client: &Client) -> Result<(), tokio_postgres::Error> {
    if exists(client, "to_regclass('handfast.store')").await? {
        return Ok(());
    }
    client
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({SETUP_LOCK})"))
        .await?;
    if !exists(client, "to_regnamespace('handfast')").await? {
        client.batch_execute("CREATE SCHEMA handfast").await?;
    }
    if !exists(client, "to_regclass('handfast.store')").await? {
        client.batch_execute(TABLES).await?;
    }
    client.batch_execute("COMMIT").await
}

async fn exists(client: &Client, object: &str) -> Result<bool, tokio_postgres::Error> {
    client
        .query_typed_one(&format!("SELECT {object} IS NOT NULL"), &[])
        .await?
        .try_get(0)
}
