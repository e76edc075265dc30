//! What the store holds of branches: the journal read to its end, held against what the transaction coordinators say.
//!
//! 1. The journal is read first. A branch that is promised a moment later is listed by the next scan.
//! 2. The coordinators are asked about every promise. One whose transaction is not open any more is still listed: only the
//!    decision says whether that is a hazard, and it leads to the marker.
//! 3. Promises that came behind their fence are cleared away, and transactions that were left behind are reaped.
//!
//! Nothing is listed as preparing: opening a session fences the work of older ones, which is promised by then or never will be.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::failure::resource_error;
use super::options::{ANSWER_LIMIT, CALL_LIMIT, MAX_OLD_MARKERS};
use super::record::{Key, Promise, Record};
use super::session::Session;
use super::{reap, transaction, wall_clock_ms};
use crate::resource::{BranchKey, ResourceError, ScanLine, ScanPhase};

/// From which age on a prepared branch is spoken of in the log: it holds back every reader of its partitions.
const OLD_PREPARED: Duration = Duration::from_secs(60);

/// A finished scan.
pub(super) struct Scanned {
    pub lines: Vec<ScanLine>,
    pub oldest_prepared: Duration,
}

/// Scans; every failure is an error, never a shorter list.
pub(super) async fn scan(session: &Session) -> Result<Scanned, ResourceError> {
    let deadline = Instant::now() + CALL_LIMIT;
    timeout_at(deadline, within(session, deadline))
        .await
        .unwrap_or_else(|_| {
            Err(ResourceError::transient(format!(
                "Kafka was not scanned within {CALL_LIMIT:?}"
            )))
        })
}

async fn within(session: &Session, deadline: Instant) -> Result<Scanned, ResourceError> {
    let failed = |error| resource_error("scanning for prepared branches", &error);
    session.journal.catch_up(deadline).await.map_err(failed)?;
    let (promised, finished, void) = {
        let fold = session.journal.fold();
        let promised: Vec<_> = fold
            .promised()
            .map(|(branch, noted)| (branch, noted.clone()))
            .collect();
        let finished: Vec<_> = fold
            .finished(session.options.marker_age, Instant::now())
            .take(MAX_OLD_MARKERS)
            .collect();
        (promised, finished, fold.void())
    };
    let ids: Vec<String> = promised
        .iter()
        .map(|(_, noted)| noted.promise.transaction.transactional_id.clone())
        .collect();
    let standings = transaction::describe(&session.cluster, &ids, deadline)
        .await
        .map_err(failed)?;

    let mut scanned = Scanned {
        lines: Vec::new(),
        oldest_prepared: Duration::ZERO,
    };
    for (branch, noted) in &promised {
        let transaction = &noted.promise.transaction;
        match standings.get(&transaction.transactional_id) {
            Some(standing) if standing.is_open(transaction) => {
                let age = u64::try_from(wall_clock_ms() - standing.since_ms).unwrap_or(0);
                scanned.oldest_prepared = scanned.oldest_prepared.max(Duration::from_millis(age));
            }
            Some(standing) if standing.is_aborted(transaction) => {
                tracing::warn!(%branch, %standing, "a promise has expired, or was aborted by hand");
            }
            standing => tracing::info!(
                %branch,
                standing = standing.map(ToString::to_string),
                "the transaction of a promise is not open, and its marker is not written yet"
            ),
        }
        scanned.list(*branch, ScanPhase::Prepared);
    }
    for branch in finished {
        scanned.list(branch, ScanPhase::Marker);
    }
    if scanned.oldest_prepared > OLD_PREPARED {
        tracing::warn!(
            age = ?scanned.oldest_prepared,
            "a branch has been prepared for long; it holds back every reader with read_committed of its partitions"
        );
    }
    clear_void(session, void).await;
    // What is left behind is a hindrance to readers and no danger; the scan is complete without it.
    if let Err(error) = reap::reap(session, deadline).await {
        tracing::warn!(%error, "transactions that were left behind are looked for with the next scan");
    }
    Ok(scanned)
}

impl Scanned {
    fn list(&mut self, branch: BranchKey, phase: ScanPhase) {
        self.lines.push(ScanLine { branch, phase });
    }
}

/// Whoever promised too late may have died before it saw that.
async fn clear_void(session: &Session, void: Vec<(BranchKey, Promise)>) {
    for (branch, promise) in void {
        let deadline = Instant::now() + ANSWER_LIMIT;
        match transaction::end(&session.cluster, &promise.transaction, false, deadline).await {
            Err(error) if !transaction::is_gone(&error) => {
                tracing::debug!(%branch, %error, "a void promise is left to the next scan");
            }
            Ok(()) | Err(_) => {
                let gone = Record::Gone(Key::Promise(branch));
                if let Err(error) = session.journal.append(vec![(gone, Bytes::new())]).await {
                    tracing::debug!(%branch, %error, "a void promise is left to the next scan");
                }
            }
        }
    }
}
