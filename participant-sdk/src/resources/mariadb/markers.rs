//! Markers and fences: how a branch ended, under one unique key.
//!
//! - A *marker* (`committed`) is written inside the branch, last. It is visible exactly if the branch was committed.
//! - A *fence* (`aborted`) is written when a branch has been rolled back or was never seen. Late work for the branch collides
//!   with it, because its marker has the same key.
//!
//! Both carry the epoch of the coordinator's log, and a marker the highest LSN that the writer had seen; when they are deleted, the
//! maximum of each epoch moves to `handfast_seen` ([`Positions`] says what for).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use handfast_proto::ids::{Epoch, LogId};
use mysql_async::{Conn, Error};

use super::connection::{batch, column};
use super::options::{BATCH, MAX_OLD_MARKERS};
use super::server::Flavor;
use super::{holders, xid};
use crate::resource::{BranchKey, SeenLog};
use crate::resources::old_markers::OldMarkers;
use crate::resources::sql::positions::{MAX_EPOCHS, MAX_LOGS, MAX_ROWS, Positions};

/// The variable that tells whether the branch wrote to tables that cannot be rolled back.
pub(super) const UNTRANSACTED: &str = "@handfast_untransacted";

/// How a branch ended, as its row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The marker is there.
    Committed { evidence: String },
    /// The fence is there.
    Aborted { evidence: String },
}

fn log_id(log: LogId) -> String {
    format!("{:032x}", log.0)
}

/// The statement that writes a branch's marker. It holds only numbers and ids, and so needs no parameters. It fails, because
/// the state is NULL, if something was written that does not belong to the transaction, or if there is no transaction.
pub(super) fn insert_marker(branch: BranchKey, seen: SeenLog, flavor: Flavor) -> String {
    format!(
        "INSERT INTO handfast_marker (branch, log_id, state, epoch, seen_lsn) \
         VALUES ('{}', '{}', IF({UNTRANSACTED} = 0 AND {} = 1, 'committed', NULL), {}, {})",
        xid::key(branch),
        log_id(branch.log),
        flavor.in_transaction(),
        seen.epoch.0,
        seen.lsn
    )
}

/// Writes the fence, unless there is a row for the branch already. Waits for other work that holds the key, for as long as
/// the connection's lock wait says.
pub(super) async fn insert_fence(conn: &mut Conn, branch: BranchKey) -> Result<(), Error> {
    // Nobody tells an abort what the coordinator's log holds; that the log has lived in the epoch of the id is certain.
    let insert = format!(
        "INSERT INTO handfast_marker (branch, log_id, state, epoch, seen_lsn) VALUES ('{}', '{}', 'aborted', {}, 0) \
         ON DUPLICATE KEY UPDATE state = state",
        xid::key(branch),
        log_id(branch.log),
        branch.transaction.epoch().0
    );
    batch(conn, &insert).await.map(drop)
}

/// The statement that asks how a branch ended; no row if it has not.
pub(super) fn select_state(branch: BranchKey) -> String {
    format!(
        "SELECT state, CAST(created_at AS CHAR) FROM handfast_marker WHERE branch = '{}'",
        xid::key(branch)
    )
}

/// How the branch ended, in a snapshot of now.
pub(super) async fn look_up(conn: &mut Conn, branch: BranchKey) -> Result<Option<Ended>, Error> {
    let rows = batch(conn, &select_state(branch)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (state, written): (String, String) = (column(row, 0)?, column(row, 1)?);
    let evidence = format!("handfast_marker holds '{state}' for {branch}, written {written}");
    Ok(Some(if state == "committed" {
        Ended::Committed { evidence }
    } else {
        Ended::Aborted { evidence }
    }))
}

/// What was seen of each log, over all markers and what was kept of deleted ones. One index probe an epoch and one a log; rows that
/// say nothing more are deleted.
pub(super) async fn seen(conn: &mut Conn) -> Result<Vec<SeenLog>, Error> {
    let (mut positions, mut rows) = (Positions::default(), Vec::new());
    let kept =
        format!("SELECT log_id, epoch, lsn FROM handfast_seen ORDER BY log_id, epoch DESC LIMIT {MAX_ROWS}");
    for row in batch(conn, &kept).await? {
        if let Some((log, epoch, lsn)) = position(&row)? {
            positions.raise(log, epoch, lsn);
            rows.push((log, epoch));
        }
    }
    let mut last = String::new();
    for _ in 0..MAX_LOGS {
        let next =
            format!("SELECT log_id FROM handfast_marker WHERE log_id > '{last}' ORDER BY log_id LIMIT 1");
        let Some(row) = batch(conn, &next).await?.pop() else {
            break;
        };
        last = column(&row, 0)?;
        let (mut below, mut told) = (u64::MAX, 0);
        for _ in 0..MAX_ROWS / MAX_LOGS {
            let top = format!(
                "SELECT log_id, epoch, seen_lsn FROM handfast_marker WHERE log_id = '{last}' AND epoch < {below} \
                 ORDER BY epoch DESC, seen_lsn DESC LIMIT 1"
            );
            let Some(row) = batch(conn, &top).await?.pop() else {
                break;
            };
            below = column(&row, 1)?;
            if let Some((log, epoch, lsn)) = position(&row)? {
                positions.raise(log, epoch, lsn);
                told += usize::from(lsn > 0);
            }
            if told == MAX_EPOCHS {
                break;
            }
        }
    }
    for (log, epoch) in positions.surplus(&rows) {
        let delete = format!(
            "DELETE FROM handfast_seen WHERE log_id = '{}' AND epoch = {}",
            log_id(log),
            epoch.0
        );
        batch(conn, &delete).await?;
    }
    Ok(positions.seen())
}

/// Log, epoch and LSN, if it is a row of ours.
fn position(row: &mysql_async::Row) -> Result<Option<(LogId, Epoch, u64)>, Error> {
    let log = u128::from_str_radix(&column::<String>(row, 0)?, 16)
        .ok()
        .map(LogId);
    let epoch = Epoch(u32::try_from(column::<u64>(row, 1)?).unwrap_or(u32::MAX));
    let lsn = column(row, 2)?;
    Ok(log.map(|log| (log, epoch, lsn)))
}

/// Markers and fences beyond an age: those whose Forget was lost, or came while it could not be obeyed. Not more than
/// [`MAX_OLD_MARKERS`]; the next call goes on behind them.
pub(super) async fn old(
    conn: &mut Conn,
    age: Duration,
    listed: &OldMarkers<String>,
) -> Result<Vec<BranchKey>, Error> {
    // A key of ours holds hexadecimal digits only, and whoever may write others may write anything.
    let after = listed.after().unwrap_or_default().replace(['\'', '\\'], "");
    let select = format!(
        "SELECT branch FROM handfast_marker WHERE branch > '{after}' AND created_at <= NOW(6) - INTERVAL {} MICROSECOND \
         ORDER BY branch LIMIT {MAX_OLD_MARKERS}",
        age.as_micros().min(u128::from(u32::MAX) * 1_000_000)
    );
    let rows = batch(conn, &select).await?;
    let keys: Result<Vec<String>, Error> = rows.iter().map(|row| column(row, 0)).collect();
    let keys = keys?;
    listed.ended_with(keys.last().filter(|_| keys.len() >= MAX_OLD_MARKERS).cloned());
    Ok(keys.iter().filter_map(|key| xid::of_key(key)).collect())
}

/// How long ago each of these prepared branches wrote its marker, which is not committed yet.
pub(super) async fn ages(conn: &mut Conn, branches: &[BranchKey]) -> Result<Vec<Duration>, Error> {
    let mut ages = Vec::new();
    for some in branches.chunks(BATCH) {
        let select = format!(
            "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; \
             SELECT GREATEST(0, TIMESTAMPDIFF(MICROSECOND, created_at, NOW(6))) FROM handfast_marker WHERE branch IN ({})",
            listed(some)
        );
        for row in batch(conn, &select).await? {
            ages.push(Duration::from_micros(column(&row, 0)?));
        }
    }
    Ok(ages)
}

/// Deletes markers and fences, and keeps the highest position that they had seen in each epoch.
///
/// A row stays while the branch is prepared (the row cannot be seen then), while work on it goes on in this process (`busy`),
/// and while any connection holds the branch's lock. What stays is listed by a later scan, once it is old.
pub(super) async fn forget(
    conn: &mut Conn,
    branches: &[BranchKey],
    busy: &BTreeSet<BranchKey>,
) -> Result<(), Error> {
    let free: Vec<BranchKey> = branches
        .iter()
        .filter(|branch| !busy.contains(branch))
        .copied()
        .collect();
    for some in free.chunks(BATCH) {
        let select = format!(
            "SELECT branch, log_id, epoch, seen_lsn FROM handfast_marker WHERE branch IN ({}) AND IS_USED_LOCK({}) IS NULL",
            listed(some),
            holders::lock_of("branch")
        );
        let mut gone: Vec<String> = Vec::new();
        let mut highest: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for row in batch(conn, &select).await? {
            gone.push(format!("'{}'", column::<String>(&row, 0)?));
            let lsn = column(&row, 3)?;
            let known = highest.entry((column(&row, 1)?, column(&row, 2)?)).or_insert(lsn);
            *known = lsn.max(*known);
        }
        if gone.is_empty() {
            continue;
        }
        let mut delete = "START TRANSACTION".to_owned();
        for ((log, epoch), lsn) in highest {
            delete.push_str(&format!(
                "; INSERT INTO handfast_seen (log_id, epoch, lsn) VALUES ('{log}', {epoch}, {lsn}) \
                 ON DUPLICATE KEY UPDATE lsn = GREATEST(lsn, {lsn})"
            ));
        }
        delete.push_str(&format!(
            "; DELETE FROM handfast_marker WHERE branch IN ({}); COMMIT",
            gone.join(", ")
        ));
        batch(conn, &delete).await?;
    }
    Ok(())
}

fn listed(branches: &[BranchKey]) -> String {
    let keys: Vec<String> = branches
        .iter()
        .map(|branch| format!("'{}'", xid::key(*branch)))
        .collect();
    keys.join(", ")
}
