//! The durable vote of [`Staged`] services, on the project's own log.
//!
//! ```text
//!   prepare ─► reserve ─► append Prepared ─┐
//!   both    ─► reserve ─► append CommittedAtOnce ─► apply  (the only branch of its transaction)
//!   commit  ─► append Committed ─► apply   ├─► one sync for all that gathered ─► votes and acks, one frame
//!   abort   ─► append Aborted ─► release  ─┘
//!   forget  ─► append Forgotten, which waits for the next sync that somebody needs
//! ```
//!
//! The service's state is the fold of the journal's records in the order in which they were appended, live as after a
//! restart. Durability gates what is *said*, not what is computed: a vote or an acknowledgement waits until its record is
//! durable. A crash takes the memory together with the records that were not durable, and nobody was told of those.
//!
//! | a branch is | Prepare | Commit | Abort |
//! |---|---|---|---|
//! | unknown | reserve, vote | *hazard*: absence proves nothing | write a fence, done |
//! | prepared | same vote | apply, leave a marker, done | release, leave a fence, done |
//! | committed (marker) | refused | done | contrary |
//! | aborted (fence) | refused | contrary | done |
//!
//! Prepare of the only branch, which is to commit at once, votes "committed", and again where there is the marker. The
//! question how it came out is answered "commit" by a marker; otherwise it is obeyed as an abort.
//!
//! Markers and fences stay until Forget. A checkpoint is a snapshot of the service, the live branches, the markers and
//! fences, what was seen of coordinators' logs, and the identity of the store.
//!
//! What is on the disk is told in [`record`]. The first error of the disk is final: the participant stops, and its next
//! start finds out what is durable.

pub mod branches;
mod checkpoint;
mod engine;
#[cfg(feature = "tcc")]
pub(crate) mod promises;
pub mod record;

use std::collections::VecDeque;

use handfast_proto::ids::{Generation, StoreId};
use handfast_wal::{Disk, GroupCommit, Log, Lsn, Opened, Options, WalError};

use crate::resource::{BranchKey, Completion, Decision, Refusal, Staged, StoreIdentity, Vote};
use crate::runtime;
use crate::session::RecentVotes;
use branches::State;
use checkpoint::Checkpointing;
use record::Record;

pub use checkpoint::{Inspected, inspect};

/// How a journal is laid out.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Bytes of a segment of the log; two at least are on the disk.
    pub segment_bytes: u64,
    /// Bytes of records that wait for the batch in flight. Frames of up to half of this are taken in whole.
    pub buffer_bytes: usize,
    /// A checkpoint is written when this many bytes of records were appended since the last one.
    pub checkpoint_bytes: u64,
    /// Branches that are prepared, or finished and not yet forgotten. More prepares are refused.
    pub branches: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            segment_bytes: 16 << 20,
            buffer_bytes: 8 << 20,
            checkpoint_bytes: 64 << 20,
            branches: 1_000_000,
        }
    }
}

/// Why a journal cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory cannot be used.
    #[error("{directory}: {message}; name a directory that can be written to")]
    Directory {
        /// Which one.
        directory: String,
        /// What the operating system said.
        message: String,
    },
    /// The log says why and what to do.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The log is sound, and what its records say does not fit together or not with this service.
    #[error("record {at} of the journal: {message}; run the version of the program that wrote it")]
    Damaged {
        /// Which record; 0 for a record of the checkpoint.
        at: u64,
        /// What does not fit.
        message: String,
    },
}

/// The engine of a [`Staged`] service.
pub struct Journal<S, D: Disk> {
    state: State<S>,
    identity: StoreIdentity,
    log: GroupCommit<D>,
    options: JournalOptions,
    /// What is said once its record is durable, in the order of the records.
    waiting: VecDeque<(Lsn, Answer)>,
    recent: RecentVotes,
    /// The newest record of a commit at once, whose effect others can read before it is durable.
    at_once: Lsn,
    checkpointing: Checkpointing,
    scan_is_wanted: bool,
}

/// What a session says of a branch.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Vote(BranchKey, Vote),
    Ack(BranchKey, Decision, Completion),
}

impl<S: Staged, D: Disk> Journal<S, D> {
    /// Opens the journal on this disk, or makes one, and brings `staged`, which must be empty, to the state that it tells.
    ///
    /// # Errors
    /// Another process holds it, or it does not check out. Nothing was changed.
    pub async fn open(staged: S, disk: D, options: JournalOptions) -> Result<Self, JournalError> {
        Self::replayed(checkpoint::Replay::new(staged), disk, options).await
    }

    /// The same with a fold that is empty yet.
    async fn replayed(
        mut replay: checkpoint::Replay<S>,
        disk: D,
        options: JournalOptions,
    ) -> Result<Self, JournalError> {
        let log_options = Options {
            segment_bytes: options.segment_bytes,
            buffer_bytes: options.buffer_bytes,
        };
        let opened = Log::open(disk.clone(), log_options.clone(), |entry| replay.take(entry)).await;
        let Opened { log, .. } = match opened {
            Ok(opened) => opened,
            Err(WalError::NotALog) => {
                Log::create(disk, runtime::random_bits().to_be_bytes(), log_options).await?
            }
            Err(error) => return Err(error.into()),
        };
        let (mut state, replayed_bytes) = replay.finish()?;
        let mut log = GroupCommit::new(log);
        let (store, generation) = match state.store {
            Some(store) => store,
            None => found(&mut state, &mut log).await?,
        };
        state.staged.synced(log.durable().0);
        Ok(Journal {
            state,
            identity: StoreIdentity {
                store,
                generation,
                attached: true,
            },
            log,
            options,
            waiting: VecDeque::new(),
            recent: RecentVotes::default(),
            at_once: Lsn::ZERO,
            checkpointing: Checkpointing::new(replayed_bytes),
            scan_is_wanted: false,
        })
    }

    /// The service.
    pub fn staged(&self) -> &S {
        &self.state.staged
    }

    /// Appends a record of a branch and demands that it become durable.
    fn append(&mut self, record: &Record) -> Result<Lsn, WalError> {
        let bytes = record.encode();
        let lsn = self.log.append(&bytes)?;
        self.checkpointing.appended(bytes.len());
        Ok(lsn)
    }

    /// Says something once everything through `lsn` is durable.
    fn answer(&mut self, lsn: Lsn, answer: Answer) {
        let last = self.waiting.back().map_or(lsn, |(last, _)| lsn.max(*last));
        self.log.force(last);
        self.waiting.push_back((last, answer));
    }

    fn refuse(&mut self, branch: BranchKey, refusal: Refusal) -> Vote {
        let vote = Vote::Refused(refusal);
        self.recent.keep(branch, vote.clone());
        vote
    }
}

/// Writes the first records of a new journal. The identity comes last: a beginning that was cut short has none, and is
/// made again.
async fn found<S: Staged, D: Disk>(
    state: &mut State<S>,
    log: &mut GroupCommit<D>,
) -> Result<(StoreId, Generation), JournalError> {
    let (store, generation) = (StoreId(runtime::random_bits()), Generation(1));
    let initial = state.staged.initial().into_iter().map(Record::State);
    for record in initial.chain([Record::Store { store, generation }]) {
        let lsn = log.append(&record.encode())?;
        state
            .fold(lsn.0, record)
            .map_err(|message| JournalError::Damaged { at: lsn.0, message })?;
    }
    log.flush().await?;
    Ok((store, generation))
}

#[cfg(test)]
mod tests;
