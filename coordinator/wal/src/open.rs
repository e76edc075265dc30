//! Creating a log, and opening one: reading it, refusing what does not check out, and repairing what a crash explains.

use crate::identity::{self, Key, LogId};
use crate::names;
use crate::scan::{SegmentReport, Tail};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::spare::Try;
use crate::survey::{self, Entry, Replay, Report};
use crate::writer::Place;
use crate::{Disk, Fault, Log, Lsn, Options, Problem, Result, WalError, frame, spare};

/// Zeros that cut a tail are written in pieces of this size.
const CUT_BYTES: u64 = 1 << 20;

/// A log that was opened.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// The log, ready to append.
    pub log: Log<D>,
    /// Who it is.
    pub log_id: LogId,
    /// What recovery found.
    pub recovered: Recovered,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The checkpoint that replaced the records through this one.
    pub checkpoint: Option<Lsn>,
    /// The last record. It is durable now, even if it was in the page cache only.
    pub last: Lsn,
    /// How many records and checkpoint records the visitor got.
    pub visited: u64,
    /// The bytes of the segments that hold records behind the checkpoint: what a restart has to read.
    pub replayed_bytes: u64,
    /// The torn tail that was cut: file, first byte, byte behind the last.
    pub cut: Option<(String, u64, u64)>,
}

impl<D: Disk> Log<D> {
    /// Makes a new log with this random id. The directory may hold other files, but no log. A creation that was
    /// interrupted is done again.
    ///
    /// # Errors
    /// [`WalError::AlreadyALog`], [`WalError::Locked`], [`WalError::InvalidOptions`], and those of the disk.
    pub async fn create(disk: D, log_id: LogId, options: Options) -> Result<Opened<D>> {
        options.check()?;
        let lock = lock(&disk).await?;
        let listing = survey::list(&disk).await?;
        if listing.identity {
            return Err(WalError::AlreadyALog);
        }
        if !survey::is_unborn(&disk, &listing).await? {
            let fault = Fault::IdentityMissing;
            return Err(WalError::Corrupt(Problem {
                file: names::IDENTITY.to_owned(),
                offset: 0,
                fault,
            }));
        }
        let first = SegmentHeader {
            first: Lsn::ZERO.next(),
            segment_bytes: options.segment_bytes,
        };
        spare::make(&disk, options.segment_bytes).await?;
        spare::become_segment(&disk, &log_id, first).await?;
        spare::make(&disk, options.segment_bytes).await?;

        // The identity comes last: with it, the log exists.
        let unfinished = names::IDENTITY_UNFINISHED;
        spare::remove_if_present(&disk, unfinished).await?;
        let written = disk.write_sync(unfinished, 0, identity::encode(&log_id)).await;
        written.map_err(WalError::io("write", unfinished))?;
        disk.rename(unfinished, names::IDENTITY)
            .await
            .map_err(WalError::io("rename", unfinished))?;
        sync_dir(&disk).await?;

        let place = Place {
            segment: first.first,
            segment_bytes: options.segment_bytes,
            offset: SEGMENT_HEADER_BYTES,
            last: Lsn::ZERO,
        };
        let log = Log::new(disk, lock, log_id, options, place, true);
        Ok(Opened {
            log,
            log_id,
            recovered: Recovered::default(),
        })
    }

    /// Opens a log. `visitor` gets the records of the newest checkpoint, then those of the log behind it, in order;
    /// what it got counts only if this succeeds. Memory is bounded by the largest frame.
    ///
    /// A torn tail is cut. Records that a crashed process wrote without learning that they are durable are kept, and are
    /// durable before this returns. Nothing else is repaired: what does not check out is refused, and nothing is changed. (What the caller
    /// finds wrong with a record it is told after a torn tail was cut.)
    ///
    /// # Errors
    /// [`WalError::NotALog`], [`WalError::Locked`], [`WalError::Corrupt`], [`WalError::UnknownVersion`],
    /// [`WalError::InvalidOptions`], and those of the disk.
    pub async fn open(
        disk: D,
        options: Options,
        mut visitor: impl FnMut(Entry<'_>) + Send,
    ) -> Result<Opened<D>> {
        options.check()?;
        let listing = survey::list(&disk).await?;
        if !listing.identity && survey::is_unborn(&disk, &listing).await? {
            return Err(WalError::NotALog);
        }
        let lock = lock(&disk).await?;
        let mut visited = 0;
        let mut counting = |entry: Entry<'_>| {
            visited += 1;
            visitor(entry);
        };
        let report = survey::survey(&disk, Replay::BehindCheckpoint, &mut counting).await?;
        if let Some(refusal) = survey::refusal(&report) {
            return Err(refusal);
        }
        let (Some(log_id), Some(open)) = (report.log_id, report.segments.last()) else {
            return Err(WalError::NotALog);
        };
        let cut = settle(&disk, &log_id, &report, open).await?;
        let spare = reserve(&disk, &options, report.spare).await?;
        let checkpoint = report.checkpoints.last().map(|checkpoint| checkpoint.through);
        let behind = |segment: &&SegmentReport| segment.last > checkpoint.unwrap_or(Lsn::ZERO);
        let recovered = Recovered {
            checkpoint,
            last: report.last(),
            visited,
            replayed_bytes: report
                .segments
                .iter()
                .filter(behind)
                .map(|segment| segment.bytes)
                .sum(),
            cut,
        };
        tracing::info!(last = recovered.last.0, visited, spare, "log opened");
        let place = Place {
            segment: open.first,
            segment_bytes: open.segment_bytes,
            offset: open.bytes,
            last: open.last,
        };
        Ok(Opened {
            log: Log::new(disk, lock, log_id, options, place, spare),
            log_id,
            recovered,
        })
    }
}

async fn lock<D: Disk>(disk: &D) -> Result<D::Lock> {
    disk.lock().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => WalError::Locked,
        _ => WalError::io("lock", names::LOCK)(error),
    })
}

/// Makes durable what was found, and removes what counts for nothing.
async fn settle<D: Disk>(
    disk: &D,
    log_id: &LogId,
    report: &Report,
    open: &SegmentReport,
) -> Result<Option<(String, u64, u64)>> {
    for leftover in &report.leftovers {
        spare::remove_if_present(disk, leftover).await?;
    }
    sync_dir(disk).await?;
    match report.segments.as_slice() {
        [.., before, _] if before.tail == Tail::Open => {
            let seal = frame::encode_seal(Key::of_file(log_id, before.first), before.bytes, before.last);
            disk.write_sync(&before.file, before.bytes, seal)
                .await
                .map_err(WalError::io("seal", &before.file))?;
        }
        [.., before, _] if open.last_frame.is_none() => write_again(disk, before).await?,
        _ => write_again(disk, open).await?,
    }
    let Tail::Torn { from, to } = open.tail else {
        return Ok(None);
    };
    cut(disk, &open.file, from, to).await?;
    tracing::warn!(
        file = open.file,
        from,
        to,
        "cut a write that a crash had interrupted"
    );
    Ok(Some((open.file.clone(), from, to)))
}

/// The last frame may be in the page cache only, and a plain sync would not do: after a sync that failed, the kernel
/// may hold its pages as clean although the medium never got them. Writing them again makes the sync mean something.
async fn write_again<D: Disk>(disk: &D, segment: &SegmentReport) -> Result<()> {
    let Some((from, to)) = segment.last_frame else {
        return Ok(());
    };
    let file = &segment.file;
    let frame = disk
        .read(file, from, (to - from) as usize)
        .await
        .map_err(WalError::io("read", file))?;
    disk.write_sync(file, from, frame)
        .await
        .map_err(WalError::io("write", file))?;
    Ok(())
}

/// Overwrites a torn tail with zeros. Interrupted, it leaves a torn tail again.
async fn cut<D: Disk>(disk: &D, file: &str, from: u64, to: u64) -> Result<()> {
    let mut at = from;
    while at < to {
        let zeros = vec![0; CUT_BYTES.min(to - at) as usize];
        at += zeros.len() as u64;
        disk.write(file, at - zeros.len() as u64, zeros)
            .await
            .map_err(WalError::io("cut the tail of", file))?;
    }
    disk.sync(file).await.map_err(WalError::io("sync", file))
}

/// Sees to the spare. Without room for one, the log opens all the same: decided work must be able to finish.
async fn reserve<D: Disk>(disk: &D, options: &Options, present: bool) -> Result<bool> {
    if present {
        if spare::is_usable(disk, options.segment_bytes).await? {
            return Ok(true);
        }
        spare::remove_if_present(disk, names::SPARE).await?;
    }
    let made = spare::try_to_make(disk, options.segment_bytes).await? == Try::Made;
    if !made {
        tracing::warn!("no space to reserve the next segment");
    }
    Ok(made)
}

async fn sync_dir<D: Disk>(disk: &D) -> Result<()> {
    disk.sync_dir()
        .await
        .map_err(WalError::io("sync", "the directory"))
}
