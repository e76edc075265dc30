//! From work to a vote.
//!
//! The work of a branch is a task of its own, which ends by itself: a session that is lost, or an abort that comes meanwhile,
//! never leaves it half done. Whether it was promised is decided by the journal alone, where the first of promise and fence wins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::fold::Branch;
use super::operation::KafkaOperation;
use super::options::{ANSWER_LIMIT, LONGEST_PAUSE, MAX_BEGINS, MAX_BRANCHES, SETTLE_LIMIT};
use super::record::{KafkaTransaction, Key, Promise, Record};
use super::session::Session;
use super::transaction::NotBegun;
use super::wire::KafkaError;
use super::work::{self, Routed};
use super::{cluster::Pause, failure, transaction};
use crate::failpoint;
use crate::resource::{BranchKey, Refusal, SeenLog, Vote, Work};
use crate::runtime::random_bits;

/// Branches that are worked on in this process; bounded by the pool of ids.
#[derive(Default)]
pub(super) struct Working(Mutex<BTreeMap<BranchKey, watch::Receiver<Option<Vote>>>>);

impl Working {
    fn branches(&self) -> MutexGuard<'_, BTreeMap<BranchKey, watch::Receiver<Option<Vote>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are worked on now.
    pub fn list(&self) -> Vec<BranchKey> {
        self.branches().keys().copied().collect()
    }
}

/// Ends the entry of a branch however its task ends.
struct Entry(Arc<Session>, BranchKey);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.working.branches().remove(&self.1);
    }
}

/// Does the work and votes.
pub(super) async fn prepare(
    session: &Arc<Session>,
    branch: BranchKey,
    work: Work,
    seen: SeenLog,
    limit: Duration,
) -> Vote {
    let Work::Operation(bytes) = work else {
        return Vote::Refused(Refusal::permanent(
            "NOT_INTERACTIVE",
            "Kafka takes part in one-shot transactions only; send the records with the transaction",
        ));
    };
    let operation = match KafkaOperation::decode(&bytes) {
        Ok(operation) if operation.is_empty() => return Vote::ReadOnly,
        Ok(operation) => operation,
        Err(refusal) => return Vote::Refused(refusal),
    };
    let mut told = {
        let mut working = session.working.branches();
        match working.get(&branch) {
            Some(told) => told.clone(),
            None => {
                let (tell, told) = watch::channel(None);
                working.insert(branch, told.clone());
                let task = Task {
                    session: session.clone(),
                    branch,
                    seen,
                    started: Instant::now(),
                    deadline: Instant::now() + limit,
                };
                tokio::spawn(task.run(operation, bytes, tell));
                told
            }
        }
    };
    match told.wait_for(Option::is_some).await.map(|vote| vote.clone()) {
        Ok(Some(vote)) => vote,
        Ok(None) | Err(_) => Vote::Refused(Refusal::retryable("WORK_ENDED", "the work ended without a vote")),
    }
}

struct Task {
    session: Arc<Session>,
    branch: BranchKey,
    seen: SeenLog,
    started: Instant,
    deadline: Instant,
}

/// What became of the promise.
enum Outcome {
    Promised,
    Refused(Refusal),
    /// It may be in the journal, now or in a while.
    Unknown(Refusal),
}

impl Task {
    async fn run(self, operation: KafkaOperation, bytes: Bytes, tell: watch::Sender<Option<Vote>>) {
        let _entry = Entry(self.session.clone(), self.branch);
        let refused = |refusal| tell.send_replace(Some(Vote::Refused(refusal)));
        if let Some(vote) = self.known() {
            tell.send_replace(Some(vote));
            return;
        }
        let routing = work::route(&self.session.cluster, self.branch, &operation);
        let routed = match timeout_at(self.deadline, routing).await {
            Ok(Ok(routed)) => routed,
            Ok(Err(refusal)) => return drop(refused(refusal)),
            Err(_) => return drop(refused(too_late())),
        };
        let transaction = match self.begin().await {
            Ok(transaction) => transaction,
            Err(refusal) => return drop(refused(refusal)),
        };
        let offsets = operation.offsets.as_ref();
        let cluster = &self.session.cluster;
        if let Err(error) = work::perform(cluster, &transaction, &routed, offsets, self.deadline).await {
            self.undo(&transaction).await;
            self.session.pool.give_back(&transaction.transactional_id);
            return drop(refused(failure::refusal(&error)));
        }
        failpoint::pass("after_reserve");
        match self.promise(&transaction, &routed, &operation, bytes).await {
            Outcome::Promised => {
                let held = self.session.options.promise();
                tell.send_replace(Some(Vote::Prepared {
                    prepared_for: Some(held),
                }));
            }
            Outcome::Refused(refusal) => {
                self.undo(&transaction).await;
                self.session.pool.give_back(&transaction.transactional_id);
                refused(refusal);
            }
            Outcome::Unknown(refusal) => {
                refused(refusal);
                self.settle(&transaction).await;
            }
        }
    }

    /// What the journal says already.
    fn known(&self) -> Option<Vote> {
        let fold = self.session.journal.fold();
        match fold.branch(self.branch) {
            // Its time runs since an earlier prepare, and how much of it is left is not known here.
            Some(Branch::Promised(_)) => Some(Vote::Prepared {
                prepared_for: Some(Duration::ZERO),
            }),
            Some(Branch::Ended { .. } | Branch::Fenced) => Some(Vote::Refused(ended())),
            None if fold.len() >= MAX_BRANCHES => Some(Vote::Refused(Refusal::retryable(
                "BACKLOG",
                "as many branches are unfinished or not forgotten as the journal holds",
            ))),
            None => None,
        }
    }

    /// Begins a transaction under an id of the pool. An id whose initialisation is without an answer may be initialised later than
    /// anybody knows, so it is put aside, and the next attempt takes another one.
    async fn begin(&self) -> Result<KafkaTransaction, Refusal> {
        let session = &self.session;
        let mut pause = Pause::new();
        let mut attempt = 1;
        loop {
            let id = session.pool.take().ok_or_else(|| no_id(session.options.pool))?;
            let timeout = session.options.transaction_timeout;
            match transaction::begin(&session.cluster, &id, timeout, self.deadline).await {
                Ok(transaction) => return Ok(transaction),
                Err(NotBegun::Refused(error)) => {
                    session.pool.give_back(&id);
                    return Err(failure::refusal(&error));
                }
                Err(NotBegun::Unknown(error)) => {
                    session.pool.put_aside(&id);
                    tracing::debug!(branch = %self.branch, %error, id, "a transactional id is put aside");
                    if attempt == MAX_BEGINS || !pause.before(self.deadline).await {
                        return Err(failure::refusal(&error));
                    }
                    attempt += 1;
                }
            }
        }
    }

    async fn promise(
        &self,
        transaction: &KafkaTransaction,
        routed: &Routed,
        operation: &KafkaOperation,
        bytes: Bytes,
    ) -> Outcome {
        if self.session.journal.branch(self.branch).is_some() {
            return Outcome::Refused(ended());
        }
        let now = Instant::now();
        if now >= self.deadline || now.duration_since(self.started) >= self.session.options.promise() {
            return Outcome::Refused(too_late());
        }
        let promise = Promise {
            seen: self.seen,
            transaction: transaction.clone(),
            places: work::places(routed, operation.offsets.as_ref()),
        };
        let record = Record::Promise {
            branch: self.branch,
            promise,
        };
        match self.session.journal.settle(record, bytes, self.deadline).await {
            Ok(()) if self.is_promised(transaction) => {
                failpoint::pass("after_prepare_append");
                Outcome::Promised
            }
            Ok(()) => {
                self.clear_void().await;
                Outcome::Refused(match self.session.journal.branch(self.branch) {
                    Some(_) => ended(),
                    None => reaped(),
                })
            }
            // Such a batch is refused before anything of it is written. Every other error leaves that open.
            Err(error) => match error.code() {
                Some(ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge) => {
                    Outcome::Refused(failure::refusal(&error))
                }
                _ => Outcome::Unknown(failure::refusal(&error)),
            },
        }
    }

    fn is_promised(&self, transaction: &KafkaTransaction) -> bool {
        matches!(
            self.session.journal.branch(self.branch),
            Some(Branch::Promised(noted)) if noted.promise.transaction == *transaction
        )
    }

    /// Ends a transaction that was not promised. If that does not succeed, the next branch of its id ends it, or its timeout.
    async fn undo(&self, begun: &KafkaTransaction) {
        let deadline = Instant::now() + ANSWER_LIMIT;
        if let Err(error) = transaction::end(&self.session.cluster, begun, false, deadline).await {
            tracing::debug!(branch = %self.branch, %error, "work that was not promised is left to its timeout");
        }
    }

    /// The promise came after a fence, and says nothing.
    async fn clear_void(&self) {
        let gone = Record::Gone(Key::Promise(self.branch));
        if let Err(error) = self.session.journal.append(vec![(gone, Bytes::new())]).await {
            tracing::debug!(branch = %self.branch, %error, "a void promise is left to the next scan");
        }
    }

    /// Finds out whether the promise is there, by a fence that comes behind it or keeps it out. Until then the id stays lent,
    /// however long the journal is away: the pool bounds how many such tasks there are, and no outage may use it up for good.
    async fn settle(&self, transaction: &KafkaTransaction) {
        let journal = &self.session.journal;
        let fence = || {
            let fence = Record::Fence {
                branch: self.branch,
                nonce: random_bits(),
            };
            journal.settle(fence, Bytes::new(), Instant::now() + SETTLE_LIMIT)
        };
        let say = |error: &KafkaError| {
            tracing::warn!(
                branch = %self.branch, %error, id = transaction.transactional_id,
                "it is not known yet whether a branch was promised; its transactional id is lent until the journal says so"
            );
        };
        // The session of a journal that is broken is not used any more, nor is its pool.
        let is_over = || journal.broken().is_some();
        // If it was promised, the coordinator was told no. It answers abort when the branch is listed.
        if persist(fence, is_over, SETTLE_LIMIT, say).await && !self.is_promised(transaction) {
            self.undo(transaction).await;
            self.session.pool.give_back(&transaction.transactional_id);
        }
    }
}

/// Attempts again and again, no more often than each [`LONGEST_PAUSE`] after a while, and says `every` so often that it has not
/// succeeded. `false` if it never will, because it is over.
async fn persist<A: Future<Output = Result<(), KafkaError>>>(
    attempt: impl Fn() -> A,
    is_over: impl Fn() -> bool,
    every: Duration,
    say: impl Fn(&KafkaError),
) -> bool {
    let mut pause = Pause::new();
    let mut say_at = Instant::now() + every;
    loop {
        let error = match attempt().await {
            Ok(()) => return true,
            Err(_) if is_over() => return false,
            Err(error) => error,
        };
        let now = Instant::now();
        if now >= say_at {
            say(&error);
            say_at = now + every;
        }
        pause.before(now + LONGEST_PAUSE).await;
    }
}

fn no_id(pool: usize) -> Refusal {
    Refusal::retryable(
        "NO_TRANSACTIONAL_ID",
        format!(
            "all {pool} transactional ids hold branches that wait for their decision; raise the size of the pool, or find out what \
             they wait for"
        ),
    )
}

fn too_late() -> Refusal {
    Refusal::retryable("DEADLINE", "the work did not end within its time")
}

fn reaped() -> Refusal {
    Refusal::retryable(
        "REAPED",
        "the work took so long that another instance took it for left behind; if that happens again, raise the age from which \
         transactions are reaped",
    )
}

fn ended() -> Refusal {
    Refusal::permanent(
        "BRANCH_ENDED",
        "the branch was aborted or ended already; late work for it is not taken",
    )
}

#[cfg(test)]
mod tests;
