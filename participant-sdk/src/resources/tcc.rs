//! A service with three calls as a resource: try, confirm, cancel. They go over HTTP or gRPC, and nothing here knows which.
//!
//! ```text
//!  prepare ─► intent in the journal ─► try ─┬─ done ──────────────► vote prepared
//!                                           ├─ no ────────────────► fence, vote refused
//!                                           └─ anything else ─► cancel ─► fence, vote refused, retryably
//!  commit ──► confirm ─► marker             (again and again, as often as the coordinator sends it)
//!  abort  ──► cancel ──► fence              (a branch that was never tried gets the fence alone)
//! ```
//!
//! The service cannot list what it holds, so the agent's journal does: what was begun stands there before the service hears of
//! it. A cancel that finds no branch leaves a fence there, and a try that comes later is refused. The store is the journal:
//! the resource is attached, one process at a time.
//!
//! A confirm or cancel that the service answers with "no" or "I know of none" ends the branch as well, otherwise than was
//! decided: the evidence is written down and given again until Forget.
//!
//! A try that was not answered is unknown, never failed: it is cancelled, at once or by the next scan.
//!
//! What must never live here: a loop that waits for the service. Whatever was not answered is asked again by the coordinator.

mod call;
mod check;
mod options;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use handfast_wal::RealDisk;
use tokio::sync::Mutex;

pub use call::CALL_VERSION;
pub use options::{
    DEFAULT_RESPONSE_BYTES, DEFAULT_TIMEOUT, GRPC_SERVICE, MAX_TIMEOUT, TccOptions, Transport,
};

use crate::failpoint;
use crate::journal::branches::BranchState;
use crate::journal::promises::Promises;
use crate::journal::record::{Deviation, Record};
use crate::journal::{JournalError, JournalOptions};
use crate::resource::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity,
    Vote, Work,
};
use call::{Answer, Caller, Step};

/// The most bytes of a service's words that are kept as evidence.
const EVIDENCE_BYTES: usize = 1_024;

/// A service that takes part through three calls. A clone is another handle on the same service.
#[derive(Clone)]
pub struct TccResource(Arc<Inner>);

struct Inner {
    options: TccOptions,
    /// Made by the first opening.
    open: Mutex<Option<Open>>,
    /// Branches whose try was answered with yes in the life of this process.
    tried: StdMutex<BTreeSet<BranchKey>>,
}

struct Open {
    promises: Promises<RealDisk>,
    caller: Arc<Caller>,
}

impl TccResource {
    /// A resource that opens its journal when it is opened.
    pub fn new(options: TccOptions) -> Self {
        TccResource(Arc::new(Inner {
            options,
            open: Mutex::new(None),
            tried: StdMutex::default(),
        }))
    }

    /// Writes a record down. Once begun it runs to its end, whoever waits for it.
    /// `false` if the branch has ended meanwhile.
    async fn note(&self, record: Record) -> Result<bool, ResourceError> {
        let inner = self.0.clone();
        let noted = tokio::spawn(async move {
            let mut open = inner.open.lock().await;
            let Open { promises, .. } = open.as_mut().ok_or_else(not_open)?;
            promises.note(record).await.map_err(|error| of_journal(&error))
        });
        noted
            .await
            .map_err(|error| ResourceError::transient(format!("a record was not written: {error}")))?
    }

    async fn caller(&self) -> Result<Arc<Caller>, ResourceError> {
        let open = self.0.open.lock().await;
        Ok(open.as_ref().ok_or_else(not_open)?.caller.clone())
    }

    async fn find(&self, branch: BranchKey) -> Result<Option<BranchState>, ResourceError> {
        let open = self.0.open.lock().await;
        let promises = &open.as_ref().ok_or_else(not_open)?.promises;
        let found = promises.find(branch).map_err(|error| of_journal(&error))?;
        Ok(found.cloned())
    }

    fn was_tried(&self, branch: BranchKey) -> bool {
        self.tried().contains(&branch)
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, BTreeSet<BranchKey>> {
        self.0.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(
        &self,
        branch: BranchKey,
        operation: Bytes,
        seen: SeenLog,
        limit: Duration,
    ) -> Result<Vote, Refusal> {
        let unavailable = |error: ResourceError| Refusal::retryable("STORE_UNAVAILABLE", error.message);
        match self.find(branch).await.map_err(unavailable)? {
            Some(BranchState::Prepared { .. }) if self.was_tried(branch) => {
                return Ok(Vote::Prepared { prepared_for: None });
            }
            // Begun by an earlier life of this process, which cannot say what came of it.
            Some(BranchState::Prepared { .. }) => {
                let message = "an earlier try of the branch was not answered; it is cancelled";
                return Err(Refusal::retryable("TRY_UNKNOWN", message));
            }
            Some(
                BranchState::Committed { .. } | BranchState::Aborted { .. } | BranchState::Deviated { .. },
            ) => {
                return Err(ended(branch));
            }
            None => {}
        }
        {
            let open = self.0.open.lock().await;
            let open = open.as_ref().ok_or_else(not_open).map_err(unavailable)?;
            open.promises.has_room()?;
        }
        let intent = Record::Prepared {
            branch,
            seen,
            operation: operation.clone(),
        };
        if !self.note(intent).await.map_err(unavailable)? {
            return Err(ended(branch));
        }
        failpoint::pass("tcc_after_intent");
        let caller = self.caller().await.map_err(unavailable)?;
        let answer = caller.call(Step::Try, branch, &operation, limit).await;
        failpoint::pass("tcc_after_try");
        match answer {
            Answer::Done => {
                self.tried().insert(branch);
                Ok(Vote::Prepared { prepared_for: None })
            }
            Answer::Refused(refusal) => {
                // The service holds nothing. Should this not be written, the next scan asks, and cancels what is not there.
                if let Err(error) = self.note(Record::Aborted { branch, seen }).await {
                    tracing::warn!(%branch, %error, "a refusal is left to the coordinator's abort");
                }
                Err(refusal)
            }
            Answer::Absent(why) | Answer::Unknown(why) => {
                if let Err(error) = self.cancel(branch, &operation, seen).await {
                    tracing::warn!(%branch, %error, "an unanswered try is left to the coordinator's abort");
                }
                Err(Refusal::retryable(
                    "TRY_UNKNOWN",
                    format!("the try came to nothing that is known: {why}"),
                ))
            }
        }
    }

    async fn confirm(
        &self,
        branch: BranchKey,
        operation: &[u8],
        seen: SeenLog,
    ) -> Result<Completion, ResourceError> {
        let answer = self
            .caller()
            .await?
            .call(Step::Confirm, branch, operation, Duration::MAX)
            .await;
        match answer {
            Answer::Done => {
                failpoint::pass("tcc_after_confirm");
                self.end(branch, Decision::Commit, Record::Committed { branch, seen })
                    .await
            }
            Answer::Absent(why) => Ok(Completion::Hazard(format!(
                "the service knows nothing to confirm: {why}"
            ))),
            Answer::Refused(refusal) => Ok(Completion::Contrary(format!(
                "the service will not confirm what it had promised: {}: {}",
                refusal.reason, refusal.message
            ))),
            Answer::Unknown(why) => Err(ResourceError::transient(format!("confirming {branch}: {why}"))),
        }
    }

    async fn cancel(
        &self,
        branch: BranchKey,
        operation: &[u8],
        seen: SeenLog,
    ) -> Result<Completion, ResourceError> {
        let answer = self
            .caller()
            .await?
            .call(Step::Cancel, branch, operation, Duration::MAX)
            .await;
        match answer {
            Answer::Done | Answer::Absent(_) => {
                failpoint::pass("tcc_after_cancel");
                self.end(branch, Decision::Abort, Record::Aborted { branch, seen })
                    .await
            }
            Answer::Refused(refusal) => Ok(Completion::Contrary(format!(
                "the service will not cancel: {}: {}",
                refusal.reason, refusal.message
            ))),
            Answer::Unknown(why) => Err(ResourceError::transient(format!("cancelling {branch}: {why}"))),
        }
    }

    /// Leaves the evidence that the branch ended otherwise than was decided. Not for the cancel of an unanswered try: nothing was
    /// decided there, and the branch stays listed until the coordinator has.
    async fn deviated(
        &self,
        branch: BranchKey,
        seen: SeenLog,
        decision: Decision,
        deviation: Deviation,
        evidence: String,
    ) -> Result<Completion, ResourceError> {
        tracing::error!(%branch, ?decision, %evidence, "a branch ended otherwise than was decided; a person must look");
        let record = Record::Deviated {
            branch,
            seen,
            deviation,
            evidence: evidence.clone(),
        };
        match self.end(branch, decision, record).await? {
            Completion::Done => Ok(deviation.completion(decision, &evidence)),
            found => Ok(found),
        }
    }

    /// Leaves the marker or the fence. Two calls may carry the same decision; the second finds what the first has left.
    async fn end(
        &self,
        branch: BranchKey,
        decision: Decision,
        record: Record,
    ) -> Result<Completion, ResourceError> {
        let is_new = self.note(record).await?;
        self.tried().remove(&branch);
        match self.find(branch).await? {
            _ if is_new => Ok(Completion::Done),
            Some(BranchState::Prepared { .. }) | None => Err(ResourceError::transient(format!(
                "{branch} changed while it was finished"
            ))),
            Some(state) => Ok(outcome(&state, decision)),
        }
    }

    /// What was seen of the branch's log, for records that come without.
    async fn seen_of(&self, branch: BranchKey) -> Result<SeenLog, ResourceError> {
        let seen = Resource::seen(self).await?;
        Ok(seen
            .into_iter()
            .find(|seen| seen.log == branch.log)
            .unwrap_or(SeenLog {
                log: branch.log,
                epoch: branch.transaction.epoch(),
                lsn: 0,
            }))
    }
}

impl Resource for TccResource {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let inner = self.0.clone();
        let opened = tokio::spawn(async move {
            let mut open = inner.open.lock().await;
            if let Some(open) = open.as_ref() {
                return open.promises.identity().map_err(|error| of_journal(&error));
            }
            let caller = Arc::new(Caller::new(&inner.options)?);
            let directory = &inner.options.data_dir;
            let disk = RealDisk::create(directory).map_err(|error| {
                ResourceError::permanent(format!(
                    "{}: {error}; name a directory that can be written to",
                    directory.display()
                ))
            })?;
            let promises = Promises::open(disk, JournalOptions::default());
            let promises = promises.await.map_err(|error| of_journal(&error))?;
            let identity = promises.identity().map_err(|error| of_journal(&error))?;
            *open = Some(Open { promises, caller });
            Ok(identity)
        });
        opened
            .await
            .map_err(|error| ResourceError::transient(format!("the journal was not opened: {error}")))?
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        let open = self.0.open.lock().await;
        let promises = &open.as_ref().ok_or_else(not_open)?.promises;
        promises.seen().map_err(|error| of_journal(&error))
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        let Work::Operation(operation) = work else {
            let message = "this resource takes part in one-shot transactions only";
            return Ok(Vote::Refused(Refusal::permanent("NOT_INTERACTIVE", message)));
        };
        // Half of the time is left for the cancel that an unanswered try needs.
        let attempt = self.attempt(branch, operation, seen, timeout / 2).await;
        Ok(attempt.unwrap_or_else(Vote::Refused))
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        match (self.find(branch).await?, decision) {
            (Some(BranchState::Prepared { operation, .. }), decision) => {
                let seen = self.seen_of(branch).await?;
                let completion = match decision {
                    Decision::Commit => self.confirm(branch, &operation, seen).await?,
                    Decision::Abort => self.cancel(branch, &operation, seen).await?,
                };
                match Deviation::of(decision, &completion) {
                    Some((deviation, evidence)) => {
                        let evidence = shortened(evidence);
                        self.deviated(branch, seen, decision, deviation, evidence).await
                    }
                    None => Ok(completion),
                }
            }
            (Some(state), decision) => Ok(outcome(&state, decision)),
            (None, Decision::Abort) => {
                let seen = self.seen_of(branch).await?;
                self.end(branch, Decision::Abort, Record::Aborted { branch, seen })
                    .await
            }
            (None, Decision::Commit) => Ok(Completion::Hazard(
                "the journal holds neither the branch nor a marker of it".to_owned(),
            )),
        }
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let mut open = self.0.open.lock().await;
        let promises = &mut open.as_mut().ok_or_else(not_open)?.promises;
        promises.lines().await.map_err(|error| of_journal(&error))
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let mut open = self.0.open.lock().await;
        let promises = &mut open.as_mut().ok_or_else(not_open)?.promises;
        for branch in branches {
            promises.forget(*branch).map_err(|error| of_journal(&error))?;
        }
        Ok(())
    }
}

/// What a branch that has ended makes of a decision that comes again, or of the other one.
fn outcome(state: &BranchState, decision: Decision) -> Completion {
    let contrary = |how: &str| Completion::Contrary(format!("the journal says that the branch was {how}"));
    match (state, decision) {
        (BranchState::Committed { .. }, Decision::Commit)
        | (BranchState::Aborted { .. }, Decision::Abort) => Completion::Done,
        (BranchState::Committed { .. }, Decision::Abort) => contrary("confirmed"),
        (BranchState::Aborted { .. }, Decision::Commit) => contrary("cancelled"),
        (
            BranchState::Deviated {
                deviation, evidence, ..
            },
            decision,
        ) => deviation.completion(decision, evidence),
        (BranchState::Prepared { .. }, _) => contrary("not finished"),
    }
}

/// Evidence stays in memory until it is forgotten, so there is a bound to it.
fn shortened(evidence: &str) -> String {
    evidence[..evidence.floor_char_boundary(EVIDENCE_BYTES)].to_owned()
}

fn ended(branch: BranchKey) -> Refusal {
    let message = format!("branch {branch} has ended already; this work came too late");
    Refusal::permanent("BRANCH_ENDED", message)
}

fn not_open() -> ResourceError {
    ResourceError::transient("the journal is not open yet")
}

/// The first error of the disk is final; everything else of a journal is for a person too.
fn of_journal(error: &JournalError) -> ResourceError {
    ResourceError::permanent(format!("the journal cannot be used: {error}"))
}
