//! Markers and fences: how a branch ended, under one unique key.
//!
//! - A *marker* (`committed`) is written inside the branch, last. It is visible exactly if the branch was committed.
//! - A *fence* (`aborted`) is written when a branch has been rolled back or was never seen. Late work for the branch collides
//!   with it, because its marker has the same key.
//!
//! Both carry the epoch of the coordinator's log, and a marker the highest LSN that the writer had seen; when they are deleted, the
//! maximum of each epoch moves to `handfast.seen` ([`Positions`] says what for).

use std::collections::BTreeSet;
use std::iter::repeat;
use std::time::Duration;

use handfast_proto::ids::{BranchId, Epoch, LogId, TransactionId};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::connection::NAME_PREFIX;
use super::gid;
use super::options::MAX_OLD_MARKERS;
use crate::resource::{BranchKey, SeenLog};
use crate::resources::old_markers::OldMarkers;
use crate::resources::sql::positions::{MAX_EPOCHS, MAX_ROWS, Positions};

/// The most branches that one statement forgets.
const FORGET_BATCH: usize = 1_000;

/// How a branch ended, as its row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The marker is there.
    Committed { evidence: String },
    /// The fence is there.
    Aborted { evidence: String },
}

fn uuid_of(bits: u128) -> Uuid {
    Uuid::from_u128(bits)
}

/// LSNs are bytes written to one log; 63 bits of them are never reached.
fn stored_lsn(lsn: u64) -> i64 {
    i64::try_from(lsn).unwrap_or(i64::MAX)
}

/// The statement that writes a branch's marker. It holds only numbers and ids, and so needs no parameters.
pub(super) fn insert_marker(branch: BranchKey, seen: SeenLog) -> String {
    format!(
        "INSERT INTO handfast.marker (log_id, transaction_id, branch, state, epoch, seen_lsn) \
         VALUES ('{}', '{}', {}, 'committed', {}, {})",
        branch.log,
        branch.transaction,
        branch.branch,
        seen.epoch,
        stored_lsn(seen.lsn)
    )
}

/// Writes the fence, unless there is a row for the branch already. Waits for other work that holds the key, for as long as
/// the connection's `lock_timeout` says.
pub(super) async fn insert_fence(client: &Client, branch: BranchKey) -> Result<(), tokio_postgres::Error> {
    // Nobody tells an abort what the coordinator's log holds; that the log has lived in the epoch of the id is certain.
    let epoch = i64::from(branch.transaction.epoch().0);
    client
        .execute_typed(
            "INSERT INTO handfast.marker (log_id, transaction_id, branch, state, epoch, seen_lsn) \
             VALUES ($1, $2, $3, 'aborted', $4, 0) ON CONFLICT (log_id, transaction_id, branch) DO NOTHING",
            &[
                (&uuid_of(branch.log.0), Type::UUID),
                (&uuid_of(branch.transaction.as_u128()), Type::UUID),
                (&i64::from(branch.branch.0), Type::INT8),
                (&epoch, Type::INT8),
            ],
        )
        .await
        .map(drop)
}

/// How the branch ended, in a snapshot of now.
pub(super) async fn look_up(
    client: &Client,
    branch: BranchKey,
) -> Result<Option<Ended>, tokio_postgres::Error> {
    let row = client
        .query_typed_opt(
            "SELECT state, created_at::text FROM handfast.marker \
             WHERE log_id = $1 AND transaction_id = $2 AND branch = $3",
            &[
                (&uuid_of(branch.log.0), Type::UUID),
                (&uuid_of(branch.transaction.as_u128()), Type::UUID),
                (&i64::from(branch.branch.0), Type::INT8),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (state, written): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let evidence = format!("handfast.marker holds '{state}' for {branch}, written {written}");
    Ok(Some(if state == "committed" {
        Ended::Committed { evidence }
    } else {
        Ended::Aborted { evidence }
    }))
}

/// What was seen of each log, over all markers and what was kept of deleted ones. One index probe an epoch; rows that say nothing
/// more are deleted.
pub(super) async fn seen(client: &Client) -> Result<Vec<SeenLog>, tokio_postgres::Error> {
    let of_markers = client
        .query_typed(
            "WITH RECURSIVE found (log_id, epoch, lsn, told) AS ( \
                 (SELECT log_id, epoch, seen_lsn, (seen_lsn > 0)::int FROM handfast.marker \
                  ORDER BY log_id DESC, epoch DESC, seen_lsn DESC LIMIT 1) \
                 UNION ALL \
                 SELECT next.log_id, next.epoch, next.seen_lsn, \
                     CASE WHEN next.log_id = found.log_id THEN found.told ELSE 0 END + (next.seen_lsn > 0)::int \
                 FROM found, LATERAL ( \
                     SELECT log_id, epoch, seen_lsn FROM handfast.marker m \
                     WHERE (m.log_id, m.epoch) < (found.log_id, CASE WHEN found.told < $1 THEN found.epoch ELSE 0 END) \
                     ORDER BY log_id DESC, epoch DESC, seen_lsn DESC LIMIT 1) AS next) \
             SELECT log_id, epoch, lsn FROM found LIMIT $2",
            &[
                (&i32::try_from(MAX_EPOCHS).unwrap_or(i32::MAX), Type::INT4),
                (&most_rows(), Type::INT8),
            ],
        )
        .await?;
    let kept = client
        .query_typed(
            "SELECT log_id, epoch, lsn FROM handfast.seen ORDER BY log_id, epoch DESC LIMIT $1",
            &[(&most_rows(), Type::INT8)],
        )
        .await?;
    let mut positions = Positions::default();
    let mut rows = Vec::with_capacity(kept.len());
    for (row, is_kept) in of_markers
        .iter()
        .zip(repeat(false))
        .chain(kept.iter().zip(repeat(true)))
    {
        let log = LogId(row.try_get::<_, Uuid>(0)?.as_u128());
        let epoch = Epoch(u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX));
        let lsn = u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or(0);
        positions.raise(log, epoch, lsn);
        if is_kept {
            rows.push((log, epoch));
        }
    }
    for (log, epoch) in positions.surplus(&rows) {
        let delete = "DELETE FROM handfast.seen WHERE log_id = $1 AND epoch = $2";
        let (log, epoch) = (uuid_of(log.0), i64::from(epoch.0));
        client
            .execute_typed(delete, &[(&log, Type::UUID), (&epoch, Type::INT8)])
            .await?;
    }
    Ok(positions.seen())
}

fn most_rows() -> i64 {
    i64::try_from(MAX_ROWS).unwrap_or(i64::MAX)
}

/// The key of a row: log, transaction, branch.
pub(super) type RowKey = (Uuid, Uuid, i64);

/// Markers and fences beyond an age: those whose Forget was lost, or came while it could not be obeyed. Not more than
/// [`MAX_OLD_MARKERS`]; the next call goes on behind them.
pub(super) async fn old(
    client: &Client,
    age: Duration,
    listed: &OldMarkers<RowKey>,
) -> Result<Vec<BranchKey>, tokio_postgres::Error> {
    let (log, transaction, branch) = listed.after().unwrap_or((Uuid::nil(), Uuid::nil(), -1));
    let rows = client
        .query_typed(
            "SELECT log_id, transaction_id, branch FROM handfast.marker \
             WHERE created_at <= clock_timestamp() - make_interval(secs => $1) \
             AND (log_id, transaction_id, branch) > ($3, $4, $5) ORDER BY log_id, transaction_id, branch LIMIT $2",
            &[
                (&age.as_secs_f64(), Type::FLOAT8),
                (&MAX_OLD_MARKERS, Type::INT8),
                (&log, Type::UUID),
                (&transaction, Type::UUID),
                (&branch, Type::INT8),
            ],
        )
        .await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= MAX_OLD_MARKERS);
    listed.ended_with(match rows.last() {
        Some(row) if is_full => Some((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        _ => None,
    });
    let keys: Result<Vec<Option<BranchKey>>, _> = rows.iter().map(branch_of).collect();
    Ok(keys?.into_iter().flatten().collect())
}

fn branch_of(row: &Row) -> Result<Option<BranchKey>, tokio_postgres::Error> {
    let log = LogId(row.try_get::<_, Uuid>(0)?.as_u128());
    let transaction = TransactionId::from_u128(row.try_get::<_, Uuid>(1)?.as_u128()).ok();
    let branch = u32::try_from(row.try_get::<_, i64>(2)?).ok().map(BranchId);
    Ok(transaction.zip(branch).map(|(transaction, branch)| BranchKey {
        log,
        transaction,
        branch,
    }))
}

/// Deletes markers and fences, and keeps the highest position that they had seen in each epoch.
///
/// A row stays while the branch is prepared, while work on it goes on in this process (`busy`), and while another session
/// is in a transaction that is older than the row and might still be work on the branch. What stays is listed by a later
/// scan, once it is old.
pub(super) async fn forget(
    client: &Client,
    branches: &[BranchKey],
    busy: &BTreeSet<BranchKey>,
    session: &str,
) -> Result<(), tokio_postgres::Error> {
    let free: Vec<BranchKey> = branches
        .iter()
        .filter(|branch| !busy.contains(branch))
        .copied()
        .collect();
    for batch in free.chunks(FORGET_BATCH) {
        let logs: Vec<Uuid> = batch.iter().map(|key| uuid_of(key.log.0)).collect();
        let transactions: Vec<Uuid> = batch
            .iter()
            .map(|key| uuid_of(key.transaction.as_u128()))
            .collect();
        let ordinals: Vec<i64> = batch.iter().map(|key| i64::from(key.branch.0)).collect();
        let gids: Vec<String> = batch.iter().map(|key| gid::encode(*key)).collect();
        client
            .execute_typed(
                "WITH gone AS ( \
                     DELETE FROM handfast.marker m \
                     USING unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[]) AS k (log_id, transaction_id, branch, gid) \
                     WHERE m.log_id = k.log_id AND m.transaction_id = k.transaction_id AND m.branch = k.branch \
                     AND NOT EXISTS (SELECT FROM pg_prepared_xact() p WHERE p.gid = k.gid) \
                     AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = current_database() \
                         AND starts_with(a.application_name, $5) AND a.application_name <> $6 \
                         AND a.xact_start <= m.created_at) \
                     RETURNING m.log_id, m.epoch, m.seen_lsn) \
                 INSERT INTO handfast.seen AS s (log_id, epoch, lsn) \
                 SELECT log_id, epoch, max(seen_lsn) FROM gone GROUP BY log_id, epoch ORDER BY log_id, epoch \
                 ON CONFLICT (log_id, epoch) DO UPDATE SET lsn = excluded.lsn WHERE excluded.lsn > s.lsn",
                &[
                    (&logs, Type::UUID_ARRAY),
                    (&transactions, Type::UUID_ARRAY),
                    (&ordinals, Type::INT8_ARRAY),
                    (&gids, Type::TEXT_ARRAY),
                    (&NAME_PREFIX, Type::TEXT),
                    (&session, Type::TEXT),
                ],
            )
            .await?;
    }
    Ok(())
}
