//! Group commit for one event loop: whatever gathers while a batch is on its way to the disk goes into the next one.
//!
//! ```text
//! loop {
//!     select! { biased;
//!         durable = log.completed() => release what waited for it,
//!         frame = inbox.recv(), if log.has_room() => log.append(..), log.force(..),
//!     }
//!     log.start();
//! }
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::checkpoint::{self, CheckpointWriter, Truncated};
use crate::frame::{self, RECORD_LENGTH_BYTES};
use crate::identity::LogId;
use crate::latch::Latch;
use crate::spare::Try;
use crate::writer::Counters;
use crate::{Disk, Log, Lsn, Options, Result, WalError, spare};

/// Whether the next segment is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// It is, or it was at the last rotation and is being made again.
    Reserved,
    /// It is not, because the disk is full. The open segment still takes records; when it is full too, the log fails.
    /// Refuse new work, finish decided work, and call [`GroupCommit::replenish`] from time to time.
    Low,
}

/// A log, and the records on their way into it. It runs no task of its own: [`GroupCommit::completed`] moves things on.
///
/// `durable <= written <= accepted` holds always.
pub struct GroupCommit<D: Disk> {
    disk: D,
    log_id: LogId,
    options: Options,
    latch: Latch,
    record_limit: usize,
    segment: Lsn,
    accepted: Lsn,
    /// What the batch in flight ends with.
    written: Lsn,
    durable: Lsn,
    demanded: Lsn,
    pending: Vec<u8>,
    /// The other of the two buffers, while no batch is in flight.
    idle_buffer: Vec<u8>,
    writer: Writer<D>,
    reserve: Reserve,
    has_filled: bool,
    space: Space,
    counters: Counters,
}

/// Who has the log.
enum Writer<D: Disk> {
    Idle(Box<Log<D>>),
    /// `start` was called and must wait until the next segment is reserved.
    Held(Box<Log<D>>),
    Flying(Flight<Landed<D>>),
    /// Only within [`GroupCommit::start`].
    Gone,
}

/// The next segment.
enum Reserve {
    Ready,
    Making(Flight<Result<Try>>),
    Low,
    /// To be made as soon as the log is here.
    Wanted,
}

type Flight<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Landed<D: Disk> {
    log: Box<Log<D>>,
    buffer: Vec<u8>,
    result: Result<()>,
    /// Whether the spare became the next segment.
    took_spare: bool,
}

impl<D: Disk> GroupCommit<D> {
    /// Takes an open log.
    pub fn new(log: Log<D>) -> Self {
        let durable = log.durable();
        GroupCommit {
            disk: log.disk.clone(),
            log_id: log.log_id,
            options: log.options.clone(),
            latch: log.latch.clone(),
            record_limit: record_limit(&log),
            segment: log.place.segment,
            accepted: durable,
            written: durable,
            durable,
            demanded: durable,
            pending: Vec::new(),
            idle_buffer: Vec::new(),
            reserve: if log.spare { Reserve::Ready } else { Reserve::Low },
            has_filled: false,
            space: if log.spare { Space::Reserved } else { Space::Low },
            counters: log.counters,
            writer: Writer::Idle(Box::new(log)),
        }
    }

    /// Accepts a record and gives it its position. It is written with the next batch, durable when
    /// [`GroupCommit::completed`] has said so, and may be lost until then.
    ///
    /// # Errors
    /// [`WalError::Full`]: wait for a batch. [`WalError::RecordTooLarge`]: never. Otherwise the error that latched.
    pub fn append(&mut self, record: &[u8]) -> Result<Lsn> {
        self.latch.check()?;
        if record.len() > self.record_limit {
            return Err(WalError::RecordTooLarge {
                bytes: record.len(),
                limit: self.record_limit,
            });
        }
        if self.pending.len() + RECORD_LENGTH_BYTES + record.len() > self.options.buffer_bytes {
            return Err(WalError::Full {
                pending: self.pending.len(),
                limit: self.options.buffer_bytes,
            });
        }
        frame::push_record(&mut self.pending, record);
        self.accepted = self.accepted.next();
        Ok(self.accepted)
    }

    /// Demands that everything through `lsn` become durable. Without a demand, records wait and ride along with the next
    /// batch that somebody demands.
    ///
    /// # Panics
    /// If `lsn` was never accepted.
    pub fn force(&mut self, lsn: Lsn) {
        assert!(
            lsn <= self.accepted,
            "forced lsn {lsn}, and the last one accepted is {}",
            self.accepted
        );
        self.demanded = self.demanded.max(lsn);
    }

    /// If nothing is in flight and something demanded is not durable, sends everything pending on its way.
    /// [`GroupCommit::completed`] drives it.
    pub fn start(&mut self) {
        let idle = matches!(self.writer, Writer::Idle(_) | Writer::Held(_));
        if !idle || self.latch.check().is_err() || self.demanded <= self.durable {
            return;
        }
        let mut log = match std::mem::replace(&mut self.writer, Writer::Gone) {
            Writer::Idle(log) | Writer::Held(log) => log,
            Writer::Flying(_) | Writer::Gone => return,
        };
        if matches!(self.reserve, Reserve::Making(_)) && log.may_rotate(self.pending.len()) {
            self.writer = Writer::Held(log);
            return;
        }
        log.spare = matches!(self.reserve, Reserve::Ready);
        let buffer = std::mem::replace(&mut self.pending, std::mem::take(&mut self.idle_buffer));
        self.written = self.accepted;
        self.assert_cursors();
        self.writer = Writer::Flying(Box::pin(async move {
            let had_spare = log.spare;
            let result = log.write_batch(&buffer).await;
            let took_spare = had_spare && !log.spare;
            Landed {
                log,
                buffer,
                result,
                took_spare,
            }
        }));
    }

    /// Waits for the batch in flight and gives the new durable position; waits for ever if none is in flight. Between
    /// batches it makes the next segment ready. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The first error of the disk, which has latched: stop the process.
    pub fn completed(&mut self) -> impl Future<Output = Result<Lsn>> + Send + '_ {
        std::future::poll_fn(|context| self.poll_completed(context))
    }

    /// Makes everything accepted so far durable, and waits for it.
    ///
    /// # Errors
    /// Those of [`GroupCommit::completed`].
    pub async fn flush(&mut self) -> Result<Lsn> {
        let target = self.accepted;
        self.force(target);
        self.latch.check()?;
        while self.durable < target {
            self.start();
            self.completed().await?;
        }
        Ok(self.durable)
    }

    /// Begins a checkpoint that replaces the log through `through`. It is independent of this value and can be written
    /// beside commits.
    ///
    /// # Panics
    /// If `through` is not durable: the checkpoint would be ahead of its log.
    pub fn checkpoint(&self, through: Lsn) -> CheckpointWriter<D> {
        assert!(
            through <= self.durable,
            "a checkpoint through {through}, and durable is {}",
            self.durable
        );
        CheckpointWriter::new(self.disk.clone(), self.latch.clone(), &self.log_id, through)
    }

    /// Removes segments that hold only records which the two newest checkpoints cover and which are before
    /// `retain_from`. Independent of this value, as [`GroupCommit::checkpoint`] is; not while a checkpoint finishes.
    pub fn truncate(&self, retain_from: Lsn) -> impl Future<Output = Result<Truncated>> + Send + use<D> {
        let segment_bytes = self.options.segment_bytes;
        checkpoint::truncate(self.disk.clone(), self.latch.clone(), segment_bytes, retain_from)
    }

    /// Tries again to reserve the next segment, if there was no space for it. [`GroupCommit::completed`] drives it. See
    /// [`GroupCommit::has_filled_the_disk`] for how often.
    pub fn replenish(&mut self) {
        if matches!(self.reserve, Reserve::Low) {
            self.reserve = Reserve::Wanted;
            self.reserve_when_possible();
        }
    }

    /// Tries again to reserve the next segment, if there was no space for it, and waits for how that came out: for callers
    /// that [flush](GroupCommit::flush) and drive nothing in between. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The first error of the disk, which has latched: stop the process. A disk that is still full is none.
    pub async fn replenished(&mut self) -> Result<Space> {
        self.replenish();
        std::future::poll_fn(|context| {
            self.latch.check()?;
            self.poll_reserve(context)?;
            match self.reserve {
                Reserve::Making(_) => Poll::Pending,
                _ => Poll::Ready(Ok(self.space)),
            }
        })
        .await
    }

    /// Whether the next segment is reserved.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Whether a try to reserve the next segment is under way.
    pub fn is_reserving(&self) -> bool {
        matches!(self.reserve, Reserve::Making(_) | Reserve::Wanted)
    }

    /// Whether the last try to reserve has filled the disk for a moment, because the disk could not tell how much room it has. Whoever
    /// else writes there is in trouble then: leave more and more time between such tries. One that asked first cost nothing.
    pub fn has_filled_the_disk(&self) -> bool {
        self.has_filled
    }

    /// The first record of the open segment, present or to come: what truncation can get to at most.
    pub fn segment(&self) -> Lsn {
        self.segment
    }

    /// Everything through here survives a crash.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Everything through here was handed to the disk.
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// The last record accepted.
    pub fn accepted(&self) -> Lsn {
        self.accepted
    }

    /// Whether a batch is on its way.
    pub fn in_flight(&self) -> bool {
        matches!(self.writer, Writer::Flying(_) | Writer::Held(_))
    }

    /// How many bytes wait for the next batch.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Whether at least half of the buffer is free. Without room, take in no more work until a batch has completed.
    pub fn has_room(&self) -> bool {
        self.pending.len() <= self.options.buffer_bytes / 2
    }

    /// The largest record that [`GroupCommit::append`] takes.
    pub fn record_limit(&self) -> usize {
        self.record_limit
    }

    /// Who this log is.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// What was written since the log was opened. The batch in flight is not counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The error that is final, if there was one.
    pub fn failure(&self) -> Option<WalError> {
        self.latch.check().err()
    }

    fn poll_completed(&mut self, context: &mut Context<'_>) -> Poll<Result<Lsn>> {
        self.latch.check()?;
        self.poll_reserve(context)?;
        let Writer::Flying(flight) = &mut self.writer else {
            return Poll::Pending;
        };
        let Poll::Ready(Landed {
            log,
            mut buffer,
            result,
            took_spare,
        }) = flight.as_mut().poll(context)
        else {
            return Poll::Pending;
        };
        buffer.clear();
        self.idle_buffer = buffer;
        (self.counters, self.segment) = (log.counters, log.place.segment);
        self.record_limit = record_limit(&log);
        let durable = log.durable();
        self.writer = Writer::Idle(log);
        if let Err(error) = result {
            return Poll::Ready(Err(self.latch.set(error)));
        }
        assert_eq!(
            durable, self.written,
            "a batch holds every record that was handed over"
        );
        self.durable = durable;
        self.assert_cursors();
        // One that was made while the batch flew is still there.
        if took_spare {
            self.reserve = Reserve::Wanted;
        }
        self.reserve_when_possible();
        // Polled once, so that the making begins even if nobody waits for a batch for a while.
        self.poll_reserve(context)?;
        Poll::Ready(Ok(self.durable))
    }

    fn poll_reserve(&mut self, context: &mut Context<'_>) -> Result<()> {
        let Reserve::Making(making) = &mut self.reserve else {
            return Ok(());
        };
        let Poll::Ready(made) = making.as_mut().poll(context) else {
            return Ok(());
        };
        let made = made.map_err(|error| self.latch.set(error))?;
        // Once for each change: the tries after it are many.
        if made != Try::Made && self.space == Space::Reserved {
            tracing::warn!("no space to reserve the next segment");
        }
        self.has_filled = made == Try::Filled;
        (self.reserve, self.space) = match made {
            Try::Made => (Reserve::Ready, Space::Reserved),
            Try::TooLittleRoom | Try::Filled => (Reserve::Low, Space::Low),
        };
        if matches!(self.writer, Writer::Held(_)) {
            self.start();
        }
        Ok(())
    }

    /// Not while a batch flies: one that rotates without a reserve makes its own, under the same name.
    fn reserve_when_possible(&mut self) {
        if matches!(self.reserve, Reserve::Wanted) && matches!(self.writer, Writer::Idle(_)) {
            let (disk, segment_bytes) = (self.disk.clone(), self.options.segment_bytes);
            self.reserve =
                Reserve::Making(Box::pin(
                    async move { spare::try_to_make(&disk, segment_bytes).await },
                ));
        }
    }

    fn assert_cursors(&self) {
        assert!(
            self.durable <= self.written && self.written <= self.accepted,
            "{self:?}"
        );
    }
}

/// An open segment that was made with other options may be too small for what the next one takes, and while it is empty there is no
/// next one.
fn record_limit<D: Disk>(log: &Log<D>) -> usize {
    let new = log.options.record_limit();
    match log.place.is_empty() {
        true => new.min(log.options.record_limit_of(log.place.segment_bytes)),
        false => new,
    }
}

impl<D: Disk> fmt::Debug for GroupCommit<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit")
            .field("durable", &self.durable)
            .field("written", &self.written)
            .field("accepted", &self.accepted)
            .field("demanded", &self.demanded)
            .field("pending_bytes", &self.pending.len())
            .field("in_flight", &self.in_flight())
            .field("space", &self.space())
            .finish_non_exhaustive()
    }
}
