//! Runs the calls of a [`Resource`] beside the session's loop: many at once, bounded, no task for any of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::call_queue::CallQueue;
use super::engine::{Engine, EngineError, Opened, PrepareRequest, Progress};
use super::outbox::Outbox;
use super::recent::RecentVotes;
use crate::failpoint;
use crate::resource::{
    BranchKey, Completion, Decision, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity, Vote,
};
use crate::runtime::{self, Instant};

/// Prepares and decisions that wait for their turn; with more, no further frame is taken in.
const QUEUED_CALLS: usize = 20_000;
/// Branches whose markers wait to be deleted. Others come again with the next scan.
const QUEUED_FORGETS: usize = 100_000;
/// Branches in one call of `forget`.
const FORGETS_PER_CALL: usize = 1_000;
/// How long branches gather for a call of `forget`. It costs a database about as much for one branch as for a thousand (a
/// transaction and a sync of its own), and nobody waits for it.
const FORGET_GATHERING: Duration = Duration::from_millis(100);

/// How long a call other than `prepare` may take. Then it is dropped, and made again when it is asked for again.
const CALL_PATIENCE: Duration = Duration::from_secs(60);

/// How many calls run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concurrency {
    pub prepares: usize,
    /// Apart from prepares, so that hung work never blocks a decision.
    pub decisions: usize,
}

/// The engine of a [`Resource`].
pub struct Native<R: Resource> {
    resource: Arc<R>,
    concurrency: Concurrency,
    identity: Option<StoreIdentity>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    preparing: BTreeMap<BranchKey, AbortHandle>,
    deciding: BTreeMap<BranchKey, Decision>,
    /// The time of each runs while it waits.
    prepares: CallQueue<PrepareRequest>,
    decisions: CallQueue<Decision>,
    forgets: Vec<BranchKey>,
    forgetting: Forgetting,
    is_scanning: bool,
    recent: RecentVotes,
}

/// What is done about the branches that are to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forgetting {
    Nothing,
    Gathering,
    Calling,
}

/// What a call came to.
enum Done {
    /// `None`: cancelled, or too late to vote.
    Prepare(BranchKey, Option<Result<Vote, ResourceError>>),
    Decision(BranchKey, Decision, Result<Completion, ResourceError>),
    Gathered,
    Forget(Result<(), ResourceError>),
    Scan(Result<Vec<ScanLine>, ResourceError>),
}

impl<R: Resource> Native<R> {
    pub(crate) fn new(resource: R, concurrency: Concurrency) -> Self {
        Native {
            resource: Arc::new(resource),
            concurrency,
            identity: None,
            running: FuturesUnordered::new(),
            preparing: BTreeMap::new(),
            deciding: BTreeMap::new(),
            prepares: CallQueue::default(),
            decisions: CallQueue::default(),
            forgets: Vec::new(),
            forgetting: Forgetting::Nothing,
            is_scanning: false,
            recent: RecentVotes::default(),
        }
    }

    fn run(&mut self, call: impl Future<Output = Done> + Send + 'static) {
        self.running.push(Box::pin(call));
    }

    fn run_prepare(&mut self, request: PrepareRequest, timeout: Duration) {
        let (handle, registration) = AbortHandle::new_pair();
        let branch = request.branch;
        self.preparing.insert(branch, handle);
        let resource = self.resource.clone();
        self.run(async move {
            let PrepareRequest {
                branch, work, seen, ..
            } = request;
            let vote = runtime::timeout(timeout, resource.prepare(branch, work, seen, timeout));
            match Abortable::new(vote, registration).await {
                Ok(Ok(vote)) => Done::Prepare(branch, Some(vote)),
                // What the store makes of dropped work is not known here, so there is no vote. The coordinator aborts.
                Ok(Err(_)) | Err(_) => Done::Prepare(branch, None),
            }
        });
    }

    fn run_decision(&mut self, branch: BranchKey, decision: Decision) {
        self.deciding.insert(branch, decision);
        let resource = self.resource.clone();
        self.run(async move {
            Done::Decision(
                branch,
                decision,
                within_patience(resource.finish(branch, decision)).await,
            )
        });
    }

    fn gather_forgets(&mut self) {
        self.forgetting = Forgetting::Gathering;
        self.run(async {
            runtime::sleep_until(runtime::from_now(FORGET_GATHERING)).await;
            Done::Gathered
        });
    }

    /// A decision that came again may still run when its branch is to be forgotten: without the marker it would find
    /// nothing, and report a hazard that is none. So the forget waits for it.
    fn run_forget(&mut self) {
        let (deciding, decisions) = (&self.deciding, &self.decisions);
        let is_free =
            |branch: &mut BranchKey| !deciding.contains_key(branch) && !decisions.is_waiting(branch);
        let branches: Vec<BranchKey> = self
            .forgets
            .extract_if(.., is_free)
            .take(FORGETS_PER_CALL)
            .collect();
        if branches.is_empty() {
            return;
        }
        self.forgetting = Forgetting::Calling;
        let resource = self.resource.clone();
        self.run(async move { Done::Forget(within_patience(resource.forget(&branches)).await) });
    }

    /// What has come of a scan, if it was one. An error ends the session: only opening the store again can help.
    fn done(&mut self, done: Done, outbox: &mut Outbox) -> Result<Option<Progress>, EngineError> {
        match done {
            Done::Prepare(branch, vote) => {
                self.preparing.remove(&branch);
                match vote {
                    Some(Ok(vote)) => {
                        failpoint::pass("after_prepare_sync");
                        outbox.vote(branch, &vote);
                        self.recent.keep(branch, vote);
                    }
                    Some(Err(error)) if error.reopen => return Err(error.into()),
                    // A branch that was refused is never sent an abort, and this one may need it.
                    Some(Err(error)) => {
                        tracing::warn!(%branch, %error, "a branch gets no vote; the coordinator aborts it at its deadline");
                    }
                    None => {}
                }
            }
            Done::Decision(branch, decision, result) => {
                self.deciding.remove(&branch);
                match result {
                    Err(error) if error.reopen => return Err(error.into()),
                    Ok(completion) => {
                        failpoint::pass(match decision {
                            Decision::Commit => "after_commit_sync",
                            Decision::Abort => "after_abort_sync",
                        });
                        outbox.ack(branch, decision, &completion);
                    }
                    // Not acknowledged, so the coordinator sends it again.
                    Err(error) => {
                        tracing::warn!(%branch, ?decision, %error, "could not carry out a decision")
                    }
                }
            }
            Done::Gathered => {
                self.forgetting = Forgetting::Nothing;
                self.run_forget();
            }
            Done::Forget(result) => {
                self.forgetting = Forgetting::Nothing;
                match result {
                    Ok(()) => {}
                    Err(error) if error.reopen => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(%error, "could not delete markers; the next scan shows them again");
                    }
                }
            }
            Done::Scan(result) => {
                self.is_scanning = false;
                return match result {
                    Ok(lines) => Ok(Some(Progress::Scanned(lines))),
                    Err(error) if error.reopen => Err(error.into()),
                    Err(error) => Ok(Some(Progress::ScanFailed(error))),
                };
            }
        }
        Ok(None)
    }
}

impl<R: Resource> Engine for Native<R> {
    fn session_lost(&mut self) {
        self.running.clear();
        self.preparing.clear();
        self.deciding.clear();
        self.prepares.clear();
        self.decisions.clear();
        self.forgetting = Forgetting::Nothing;
        self.is_scanning = false;
        self.recent.clear();
    }

    async fn reach(&mut self) -> Result<(), EngineError> {
        self.identity = Some(within_patience(self.resource.open()).await?);
        Ok(())
    }

    async fn open(&mut self) -> Result<Opened, EngineError> {
        let identity = self
            .identity
            .ok_or_else(|| EngineError::Transient("the store was not reached".into()))?;
        let seen = within_patience(self.resource.seen()).await?;
        let lines = within_patience(self.resource.scan()).await?;
        Ok(Opened {
            identity,
            seen,
            lines,
            one_phase: false,
        })
    }

    fn prepare(&mut self, request: PrepareRequest, outbox: &mut Outbox) {
        failpoint::pass("after_prepare_received");
        let branch = request.branch;
        if let Some(vote) = self.recent.get(&branch) {
            outbox.vote(branch, &vote);
            return;
        }
        if !self.preparing.contains_key(&branch) && !self.deciding.contains_key(&branch) {
            self.prepares.push(branch, request);
        }
    }

    fn decide(&mut self, branch: BranchKey, decision: Decision, _seen: SeenLog, _outbox: &mut Outbox) {
        failpoint::pass(match decision {
            Decision::Commit => "after_commit_received",
            Decision::Abort => "after_abort_received",
        });
        if decision == Decision::Abort {
            self.prepares.remove(&branch);
            if let Some(prepare) = self.preparing.remove(&branch) {
                prepare.abort();
            }
        }
        // A prepare that comes again after its decision is late work.
        self.recent.fence(branch, "the branch was decided already");
        if !self.deciding.contains_key(&branch) {
            self.decisions.push(branch, decision);
        }
    }

    /// It never said that it could decide, so nobody asks it how it did; and what cannot be told is not acknowledged.
    fn resolve(&mut self, branch: BranchKey, _seen: SeenLog, _outbox: &mut Outbox) {
        tracing::warn!(%branch, "the coordinator asks how a delegated branch came out, and none was ever delegated here");
    }

    fn forget(&mut self, branch: BranchKey) {
        if self.forgets.len() < QUEUED_FORGETS {
            self.forgets.push(branch);
            if self.forgets.len() == QUEUED_FORGETS {
                tracing::warn!(
                    "{QUEUED_FORGETS} branches wait to be forgotten, and no more are taken; their markers show in later scans, and go then"
                );
            }
        }
    }

    fn scan(&mut self) {
        if !self.is_scanning {
            self.is_scanning = true;
            let resource = self.resource.clone();
            self.run(async move { Done::Scan(within_patience(resource.scan()).await) });
        }
    }

    fn start(&mut self) {
        while self.deciding.len() < self.concurrency.decisions
            && let Some((branch, decision)) = self.decisions.pop()
        {
            self.run_decision(branch, decision);
        }
        while self.preparing.len() < self.concurrency.prepares
            && let Some((_, request)) = self.prepares.pop()
        {
            let timeout = request.deadline.saturating_duration_since(Instant::now());
            // Nobody wants a vote any more: the coordinator aborts, or has aborted.
            if !timeout.is_zero() {
                self.run_prepare(request, timeout);
            }
        }
        if self.forgetting == Forgetting::Nothing && self.forgets.len() >= FORGETS_PER_CALL {
            self.run_forget();
        }
        if self.forgetting == Forgetting::Nothing && !self.forgets.is_empty() {
            self.gather_forgets();
        }
    }

    fn has_room(&self) -> bool {
        self.prepares.len() + self.decisions.len() < QUEUED_CALLS
    }

    async fn progress(&mut self, outbox: &mut Outbox) -> Result<Progress, EngineError> {
        let Some(done) = self.running.next().await else {
            return std::future::pending().await;
        };
        let mut scanned = self.done(done, outbox)?;
        // Whatever else is done by now goes into the same frame.
        while scanned.is_none()
            && let Some(Some(done)) = self.running.next().now_or_never()
        {
            scanned = self.done(done, outbox)?;
        }
        Ok(scanned.unwrap_or(Progress::Moved))
    }

    async fn close(&mut self, _outbox: &mut Outbox) -> Result<(), EngineError> {
        self.session_lost();
        Ok(())
    }
}

async fn within_patience<T>(
    call: impl Future<Output = Result<T, ResourceError>>,
) -> Result<T, ResourceError> {
    let late = || ResourceError::transient(format!("no answer within {} s", CALL_PATIENCE.as_secs()));
    runtime::timeout(CALL_PATIENCE, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}
