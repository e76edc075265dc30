//! What the database holds of branches, read from the database itself.
//!
//! Listed as *preparing* is work that older sessions of this process left behind and whose connection still lives. Work of
//! other processes is not listed: it ends in rollback, collides with its fence, or becomes prepared and is listed by a later
//! scan.

use std::collections::BTreeSet;
use std::time::Duration;

use handfast_proto::ids::StoreId;
use mysql_async::{Conn, Error};

use super::connection::{batch, column};
use super::failure::resource_error;
use super::server::Flavor;
use super::session::Session;
use super::{holders, markers, xid};
use crate::resource::{BranchKey, ResourceError, ScanLine, ScanPhase};

/// From which age on a prepared branch is spoken of in the log: it holds locks, and holds back the purge of old rows.
pub(super) const OLD_PREPARED: Duration = Duration::from_secs(300);

/// A finished scan.
pub(super) struct Scanned {
    pub lines: Vec<ScanLine>,
    pub oldest_prepared: Option<Duration>,
}

/// The prepared branches of this store, out of all that the server holds.
pub(super) async fn recover(
    conn: &mut Conn,
    flavor: Flavor,
    store: StoreId,
) -> Result<Vec<BranchKey>, Error> {
    let mut branches = Vec::new();
    for row in batch(conn, flavor.recover()).await? {
        let format_id: i64 = column(&row, 0)?;
        let lengths = (column(&row, 1)?, column(&row, 2)?);
        let data: Vec<u8> = column(&row, 3)?;
        let ours = flavor
            .split(format_id, lengths, &data)
            .and_then(|(gtrid, bqual)| xid::decode(format_id, &gtrid, &bqual));
        match ours {
            Some((of, branch)) if of == store => branches.push(branch),
            Some(_) => {}
            None if format_id == xid::FORMAT_ID => tracing::warn!(
                xid = %String::from_utf8_lossy(&data),
                "a prepared transaction is named almost like ours; it is left alone"
            ),
            None => {}
        }
    }
    Ok(branches)
}

/// Whether the branch is in the server's list of prepared transactions.
pub(super) async fn is_prepared(
    conn: &mut Conn,
    session: &Session,
    branch: BranchKey,
) -> Result<bool, Error> {
    Ok(recover(conn, session.flavor, session.store)
        .await?
        .contains(&branch))
}

/// Scans; every failure is an error, never a shorter list.
pub(super) async fn scan(session: &Session) -> Result<Scanned, ResourceError> {
    let failed = |error| resource_error("scanning for prepared branches", &error);
    let mut lease = session.decisions().await?;
    let asked = session.running.abandoned();
    let (mut alive, mut still_there) = (Vec::new(), Vec::new());
    for (branch, connection) in &asked {
        if holders::holder(&mut lease, *branch).await.map_err(failed)? == Some(*connection) {
            holders::end(&mut lease, *branch).await.map_err(failed)?;
            alive.push(*connection);
            still_there.push(*branch);
        }
    }
    session.running.still_alive(&alive, &asked);

    let prepared = recover(&mut lease, session.flavor, session.store)
        .await
        .map_err(failed)?;
    let ages = markers::ages(&mut lease, &prepared).await.map_err(failed)?;
    let mut listed = BTreeSet::new();
    let mut scanned = Scanned {
        lines: Vec::new(),
        oldest_prepared: ages.into_iter().max(),
    };
    for branch in prepared {
        scanned.list(&mut listed, branch, ScanPhase::Prepared);
    }
    for branch in still_there {
        scanned.list(&mut listed, branch, ScanPhase::Preparing);
    }
    let old = markers::old(&mut lease, session.options.marker_age, &session.old_markers);
    for branch in old.await.map_err(failed)? {
        scanned.list(&mut listed, branch, ScanPhase::Marker);
    }
    lease.give_back();
    if let Some(age) = scanned.oldest_prepared.filter(|age| *age > OLD_PREPARED) {
        tracing::warn!(
            ?age,
            "a branch has been prepared for long; it holds locks and old versions of rows"
        );
    }
    Ok(scanned)
}

impl Scanned {
    fn list(&mut self, listed: &mut BTreeSet<BranchKey>, branch: BranchKey, phase: ScanPhase) {
        if listed.insert(branch) {
            self.lines.push(ScanLine { branch, phase });
        }
    }
}
