//! What the database holds of branches, read from the database itself.
//!
//! Listed as *preparing* is work that older sessions of this process left behind and whose backend still lives. Work of
//! other processes is not listed: its backend does not say which branch it works on. It ends in rollback, collides with its
//! fence, or becomes prepared and is listed by a later scan.

use std::collections::BTreeSet;
use std::time::Duration;

use super::failure::resource_error;
use super::session::Session;
use super::{backends, gid, markers};
use crate::resource::{BranchKey, ResourceError, ScanLine, ScanPhase};

/// From which age on a prepared branch is spoken of in the log: it holds locks, and holds vacuum back.
pub(super) const OLD_PREPARED: Duration = Duration::from_secs(300);

/// A finished scan.
pub(super) struct Scanned {
    pub lines: Vec<ScanLine>,
    pub oldest_prepared: Option<Duration>,
}

/// Scans; every failure is an error, never a shorter list.
pub(super) async fn scan(session: &Session) -> Result<Scanned, ResourceError> {
    let failed = |error| resource_error("scanning for prepared branches", &error);
    let lease = session.decisions().await?;
    let asked = session.running.abandoned();
    let alive = backends::of_process(&lease, &session.process_prefix)
        .await
        .map_err(failed)?;
    for (_, backend) in asked.iter().filter(|(_, backend)| alive.contains(backend)) {
        backends::terminate(&lease, backend).await.map_err(failed)?;
    }
    session.running.still_alive(&alive, &asked);

    let rows = lease
        .query_typed(
            "SELECT gid, GREATEST(0, extract(epoch FROM clock_timestamp() - prepared))::float8 FROM pg_prepared_xacts \
             WHERE database = current_database() AND starts_with(gid, 'hf1_') ORDER BY prepared",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut listed = BTreeSet::new();
    let mut scanned = Scanned {
        lines: Vec::new(),
        oldest_prepared: None,
    };
    for row in &rows {
        let (name, age): (String, f64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        let Some(branch) = gid::decode(&name) else {
            tracing::warn!(
                gid = name,
                "a prepared transaction is named almost like ours; it is left alone"
            );
            continue;
        };
        let age = Duration::try_from_secs_f64(age).unwrap_or_default();
        scanned.oldest_prepared.get_or_insert(age);
        scanned.list(&mut listed, branch, ScanPhase::Prepared);
    }
    for (branch, _) in asked.iter().filter(|(_, backend)| alive.contains(backend)) {
        scanned.list(&mut listed, *branch, ScanPhase::Preparing);
    }
    for branch in markers::old(&lease, session.options.marker_age, &session.old_markers)
        .await
        .map_err(failed)?
    {
        scanned.list(&mut listed, branch, ScanPhase::Marker);
    }
    lease.give_back();
    if let Some(age) = scanned.oldest_prepared.filter(|age| *age > OLD_PREPARED) {
        tracing::warn!(
            ?age,
            "a branch has been prepared for long; it holds locks and holds vacuum back"
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
