//! What the store holds of branches: the journal read to its end, held against what the transaction coordinators say.
//!
//! 1. The journal is read first. A branch that is promised a moment later is listed by the next scan.
//! 2. The coordinators are asked about every promise, for what people are told. One whose transaction is not open any more is
//!    still listed: only the decision says whether that is a hazard, and it leads to the marker.
//! 3. Promises that came behind their fence are cleared away, and transactions that were left behind are reaped.
//!
//! Only the first is needed. The list does not wait for a coordinator that does not answer, because no branch of any other
//! coordinator could be recovered meanwhile.
//!
//! Nothing is listed as preparing: opening a session fences the work of older ones, which is promised by then or never will be.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::resource_error;
use super::options::{
    ANSWER_LIMIT, CALL_LIMIT, CLEARED_AT_ONCE, MAX_OLD_MARKERS, STANDINGS_LIMIT, TIDY_LIMIT,
};
use super::record::{Key, Promise, Record};
use super::session::Session;
use super::transaction::Standing;
use super::{reap, transaction, wall_clock_ms};
use crate::resource::{BranchKey, ResourceError, ScanLine, ScanPhase};

/// From which age on a prepared branch is spoken of in the log: it holds back every reader of its partitions.
const OLD_PREPARED: Duration = Duration::from_secs(60);

/// A finished scan.
pub(super) struct Scanned {
    pub lines: Vec<ScanLine>,
    /// `None` if the coordinators did not say.
    pub oldest_prepared: Option<Duration>,
}

/// Scans; every failure is an error, never a shorter list.
pub(super) async fn scan(session: &Session) -> Result<Scanned, ResourceError> {
    let deadline = Instant::now() + CALL_LIMIT;
    timeout_at(deadline, session.journal.catch_up(deadline))
        .await
        .unwrap_or_else(|_| Err(session.journal.late()))
        .map_err(|error| resource_error("scanning for prepared branches", &error))?;
    let (promised, finished, void) = {
        let fold = session.journal.fold();
        let promised: Vec<_> = fold
            .promised()
            .map(|(branch, noted)| (branch, noted.clone()))
            .collect();
        let after = session.old_markers.after();
        let finished: Vec<_> = fold
            .finished(session.options.marker_age, Instant::now())
            .filter(|branch| after.is_none_or(|after| *branch > after))
            .take(MAX_OLD_MARKERS)
            .collect();
        let last = finished.last().filter(|_| finished.len() == MAX_OLD_MARKERS);
        session.old_markers.ended_with(last.copied());
        (promised, finished, fold.void())
    };
    let ids: Vec<String> = promised
        .iter()
        .map(|(_, noted)| noted.promise.transaction.transactional_id.clone())
        .collect();
    let standings = standings(session, &ids).await;

    let mut scanned = Scanned {
        lines: Vec::new(),
        oldest_prepared: standings.as_ref().map(|_| Duration::ZERO),
    };
    let standings = standings.unwrap_or_default();
    for (branch, noted) in &promised {
        let transaction = &noted.promise.transaction;
        match standings.get(&transaction.transactional_id) {
            Some(standing) if standing.is_open(transaction) => {
                let age = u64::try_from(wall_clock_ms() - standing.since_ms).unwrap_or(0);
                scanned.oldest_prepared = scanned.oldest_prepared.max(Some(Duration::from_millis(age)));
            }
            Some(standing) if standing.is_aborted(transaction) => {
                tracing::warn!(%branch, %standing, "a promise has expired, or was aborted by hand");
            }
            Some(standing) => tracing::info!(
                %branch, %standing,
                "the transaction of a promise is not open, and its marker is not written yet"
            ),
            None => {
                tracing::info!(%branch, "the coordinator of a promise did not say how its transaction stands")
            }
        }
        scanned.list(*branch, ScanPhase::Prepared);
    }
    for branch in finished {
        scanned.list(branch, ScanPhase::Marker);
    }
    if let Some(age) = scanned.oldest_prepared.filter(|age| *age > OLD_PREPARED) {
        tracing::warn!(
            ?age,
            "a branch has been prepared for long; it holds back every reader with read_committed of its partitions"
        );
    }
    // What is left behind is a hindrance to readers and no danger; the scan is complete without it.
    if timeout(TIDY_LIMIT, tidy(session, void)).await.is_err() {
        tracing::warn!(
            "clearing away what was left behind took longer than {TIDY_LIMIT:?}; the next scan goes on with it"
        );
    }
    Ok(scanned)
}

/// What the coordinators say of these ids, if they do so in time.
async fn standings(session: &Session, ids: &[String]) -> Option<BTreeMap<String, Standing>> {
    let deadline = Instant::now() + STANDINGS_LIMIT;
    let described = transaction::describe(&session.cluster, ids, deadline);
    let why = match timeout_at(deadline, described).await {
        Ok(Ok(standings)) => return Some(standings),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {STANDINGS_LIMIT:?}"),
    };
    tracing::warn!(
        why,
        "transaction coordinators do not say how the promised transactions stand; the branches are listed without their age"
    );
    None
}

async fn tidy(session: &Session, void: Vec<(BranchKey, Promise)>) {
    clear_void(session, void).await;
    if let Err(error) = reap::reap(session, Instant::now() + TIDY_LIMIT).await {
        tracing::warn!(%error, "transactions that were left behind are looked for with the next scan");
    }
}

impl Scanned {
    fn list(&mut self, branch: BranchKey, phase: ScanPhase) {
        self.lines.push(ScanLine { branch, phase });
    }
}

/// Whoever promised too late may have died before it saw that.
async fn clear_void(session: &Session, void: Vec<(BranchKey, Promise)>) {
    let clear = |(branch, promise): (BranchKey, Promise)| async move {
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
    };
    iter(void).for_each_concurrent(CLEARED_AT_ONCE, clear).await;
}
