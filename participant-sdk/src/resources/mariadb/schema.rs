//! Our tables, in the participant's own database: a database of MariaDB is what a schema is elsewhere.

use mysql_async::Conn;

use super::connection::{batch, column};
use super::failure::{describe, resource_error};
use crate::resource::ResourceError;

/// The layout of the tables that this build makes and reads.
pub(super) const LAYOUT: i64 = 2;

/// Makes the tables of layout 1, which kept one epoch of each log, those of this one.
pub(super) const FROM_LAYOUT_1: &str = "ALTER TABLE handfast_seen DROP PRIMARY KEY, ADD PRIMARY KEY (log_id, epoch); \
    UPDATE handfast_store SET layout = 2";

/// The tables, each with the statement that makes it. Only InnoDB keeps promises; nothing depends on the server's defaults.
pub(super) const TABLES: [(&str, &str); 3] = [
    (
        "handfast_store",
        "CREATE TABLE IF NOT EXISTS handfast_store (
            only_row TINYINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
            layout INT NOT NULL,
            store_id CHAR(32) NOT NULL,
            generation BIGINT UNSIGNED NOT NULL,
            database_name VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL,
            server_id VARCHAR(64) NOT NULL,
            made_at BIGINT NOT NULL,
            created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))
            ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin
            COMMENT = 'Which store this database is for Handfast; one row, made once.'",
    ),
    (
        "handfast_marker",
        "CREATE TABLE IF NOT EXISTS handfast_marker (
            branch CHAR(72) NOT NULL PRIMARY KEY COMMENT 'log id, transaction id, branch',
            log_id CHAR(32) NOT NULL,
            state VARCHAR(9) NOT NULL CHECK (state IN ('committed', 'aborted')),
            epoch BIGINT UNSIGNED NOT NULL,
            seen_lsn BIGINT UNSIGNED NOT NULL,
            created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
            KEY marker_seen (log_id, epoch, seen_lsn),
            KEY marker_age (created_at))
            ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin
            COMMENT = 'How branches of distributed transactions ended. Goes when the coordinator says Forget; never by hand.'",
    ),
    (
        "handfast_seen",
        "CREATE TABLE IF NOT EXISTS handfast_seen (
            log_id CHAR(32) NOT NULL,
            epoch BIGINT UNSIGNED NOT NULL,
            lsn BIGINT UNSIGNED NOT NULL,
            PRIMARY KEY (log_id, epoch))
            ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin
            COMMENT = 'The highest position in each epoch of each coordinator log among markers that were deleted.'",
    ),
];

/// Makes the tables that are not there.
pub(super) async fn set_up(conn: &mut Conn) -> Result<(), ResourceError> {
    let failed = |error| resource_error("making the handfast_ tables", &error);
    let present = present(conn).await.map_err(failed)?;
    for (name, create) in TABLES {
        match present.iter().find(|(table, _)| table == name) {
            Some((_, engine)) if engine.eq_ignore_ascii_case("InnoDB") => {}
            Some((_, engine)) => {
                return Err(ResourceError::permanent(format!(
                    "table {name} is kept by engine {engine}, which cannot take part in transactions; run: ALTER TABLE {name} \
                     ENGINE = InnoDB"
                )));
            }
            None => {
                batch(conn, create).await.map_err(|error| {
                    if failed_for_privilege(&error) {
                        ResourceError::permanent(format!(
                            "the user may not make table {name}: {}; let an administrator make the tables, or run, once: GRANT \
                             CREATE, SELECT, INSERT, UPDATE, DELETE ON <the database>.* TO <the participant's user>",
                            describe(&error)
                        ))
                    } else {
                        resource_error("making the handfast_ tables", &error)
                    }
                })?;
            }
        }
    }
    Ok(())
}

/// Those of our tables that are there, each with its engine.
pub(super) async fn present(conn: &mut Conn) -> Result<Vec<(String, String)>, mysql_async::Error> {
    let rows = batch(
        conn,
        "SELECT TABLE_NAME, COALESCE(ENGINE, 'unknown') FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ('handfast_store', 'handfast_marker', 'handfast_seen')",
    )
    .await?;
    rows.iter()
        .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
        .collect()
}

fn failed_for_privilege(error: &mysql_async::Error) -> bool {
    matches!(super::failure::code(error), Some(1044 | 1142 | 1227))
}
