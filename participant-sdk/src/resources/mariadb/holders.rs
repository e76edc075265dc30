//! Who works on a branch: whichever connection holds the branch's named lock.
//!
//! A connection takes the lock before it begins and keeps it until the branch is prepared and let go of, or ended. The server
//! drops the lock when the connection ends, *after* it has rolled back, or let go of, the transaction. So, for every instance
//! and without any privilege (MariaDB manual, "GET_LOCK", "KILL"):
//!
//! - whoever holds the lock can be found, and ended by its user;
//! - once the lock is free, nothing changes by itself any more: the branch is prepared, or it is not.
//!
//! MariaDB wants this twice: a statement that waits for a lock does not notice that its client is gone; and a prepared
//! transaction can be finished by others only when the connection that prepared it has ended (`XAER_NOTA` until then).

use mysql_async::{Conn, Error};
use tokio::time::{Instant, sleep};

use super::connection::{batch, column};
use super::failure::is_no_such_thread;
use super::options::SETTLE_POLL;
use super::xid;
use crate::resource::BranchKey;

/// One connection, as the server numbers them. Numbers begin again when the server is restarted, so it counts only together
/// with the lock of its branch.
pub(super) type ConnectionId = u64;

/// The name of the branch's lock, as an expression: a name has at most 64 characters, and a branch 72.
pub(super) fn lock(branch: BranchKey) -> String {
    lock_of(&format!("'{}'", xid::key(branch)))
}

/// The same for an expression that gives a branch's key.
pub(super) fn lock_of(key: &str) -> String {
    format!("CONCAT('hf1_', SHA2({key}, 224))")
}

/// Which connection works on the branch, or holds it prepared.
pub(super) async fn holder(conn: &mut Conn, branch: BranchKey) -> Result<Option<ConnectionId>, Error> {
    let rows = batch(conn, &format!("SELECT IS_USED_LOCK({})", lock(branch))).await?;
    rows.first().map_or(Ok(None), |row| column(row, 0))
}

/// Asks the server to end the connection that works on the branch, whoever's it is; which one that was.
pub(super) async fn end(conn: &mut Conn, branch: BranchKey) -> Result<Option<ConnectionId>, Error> {
    let Some(connection) = holder(conn, branch).await? else {
        return Ok(None);
    };
    match batch(conn, &format!("KILL CONNECTION {connection}")).await {
        Ok(_) => Ok(Some(connection)),
        Err(error) if is_no_such_thread(&error) => Ok(Some(connection)),
        Err(error) => Err(error),
    }
}

/// Ends whoever works on the branch and waits until that is over; `false` if somebody still does at the deadline.
pub(super) async fn put_down(conn: &mut Conn, branch: BranchKey, deadline: Instant) -> Result<bool, Error> {
    while end(conn, branch).await?.is_some() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(SETTLE_POLL).await;
    }
    Ok(true)
}
