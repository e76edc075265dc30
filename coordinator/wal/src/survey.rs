//! Reading everything in a directory and checking that it fits together. Nothing is changed.
//!
//! Starting, verifying and dumping read the log in this one way, so that what `verify` calls sound does start.

use crate::checkpoint::{CheckpointReport, read_checkpoint};
use crate::identity::{self, FORMAT_VERSION, IDENTITY_BYTES, LogId};
use crate::names::{self, Listing};
use crate::scan::{SegmentReport, Tail, scan_segment};
use crate::{Disk, Fault, Lsn, Problem, Result, WalError, spare};

/// A record, as recovery and dumps hand it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record of the newest checkpoint. These come first, in the order in which they were added.
    Checkpoint {
        /// The checkpoint replaces the log through this record.
        through: Lsn,
        /// Its bytes.
        record: &'a [u8],
    },
    /// A record of the log. These come in ascending order without gaps.
    Record {
        /// Its position.
        lsn: Lsn,
        /// Its bytes.
        record: &'a [u8],
    },
}

/// What a directory holds, and everything in it that does not check out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Who the log is, if its identity file says so.
    pub log_id: Option<LogId>,
    /// The checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointReport>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What stops the start. At most one for each file and one for each gap: behind damage nothing is judged.
    pub problems: Vec<Problem>,
    /// Files whose writing was interrupted, and retired segments. The next start removes them.
    pub leftovers: Vec<String>,
    pub(crate) spare: bool,
}

impl Report {
    /// Whether the log would start.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// The last record.
    pub fn last(&self) -> Lsn {
        self.segments.last().map_or(Lsn::ZERO, |segment| segment.last)
    }

    fn problem(&mut self, file: String, offset: u64, fault: Fault) {
        self.problems.push(Problem { file, offset, fault });
    }
}

/// Checks every byte of a log, without changing anything and without its lock. Of a log that is being written to, the
/// end may look torn or damaged, and so may the beginning, where segments that a checkpoint has just covered are written
/// over; stop its owner for a verdict on that.
///
/// # Errors
/// [`WalError::NotALog`], and those of listing the directory. Damage is no error but part of the report, and so is a file that the disk
/// does not give: the others are read all the same.
pub async fn verify<D: Disk>(disk: &D) -> Result<Report> {
    survey(disk, Replay::Everything, &mut |_| {}).await
}

/// [`verify`], and hands out every record that checks out before the first problem: the newest checkpoint's, then all of
/// the segments', those that the checkpoint covers included.
///
/// # Errors
/// Those of [`verify`].
pub async fn visit<D: Disk>(disk: &D, mut visitor: impl FnMut(Entry<'_>) + Send) -> Result<Report> {
    survey(disk, Replay::Everything, &mut visitor).await
}

/// Which records of the segments the visitor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    Everything,
    BehindCheckpoint,
}

pub(crate) type Visitor<'a> = dyn FnMut(Entry<'_>) + Send + 'a;

pub(crate) async fn survey<D: Disk>(disk: &D, replay: Replay, visitor: &mut Visitor<'_>) -> Result<Report> {
    let listing = list(disk).await?;
    let mut report = Report {
        leftovers: listing.unfinished.clone(),
        spare: listing.spare,
        ..Report::default()
    };
    if !listing.identity {
        if is_unborn(disk, &listing).await? {
            return Err(WalError::NotALog);
        }
        report.problem(names::IDENTITY.to_owned(), 0, Fault::IdentityMissing);
        return Ok(report);
    }
    // One byte more than there should be, to see that there is none.
    let identity = disk.read(names::IDENTITY, 0, IDENTITY_BYTES + 1).await;
    let decoded = match identity.map_err(WalError::io("read", names::IDENTITY)) {
        Ok(bytes) => identity::decode(&bytes),
        Err(error) => Err(Fault::of_reading(error)?),
    };
    let log_id = match decoded {
        Ok(log_id) => log_id,
        Err(fault) => {
            report.problem(names::IDENTITY.to_owned(), 0, fault);
            return Ok(report);
        }
    };
    report.log_id = Some(log_id);
    checkpoints(disk, &log_id, &listing, &mut report, visitor).await?;
    segments(disk, &log_id, &listing, replay, &mut report, visitor).await?;
    checkpoint_within_log(&mut report);
    Ok(report)
}

pub(crate) async fn list<D: Disk>(disk: &D) -> Result<Listing> {
    Ok(Listing::of(
        disk.list().await.map_err(WalError::io("list", "the directory"))?,
    ))
}

/// Whether there never was a log here. A creation that was interrupted leaves an empty first segment at most.
pub(crate) async fn is_unborn<D: Disk>(disk: &D, listing: &Listing) -> Result<bool> {
    match listing.segments.as_slice() {
        _ if !listing.checkpoints.is_empty() => Ok(false),
        [] => Ok(true),
        [only] if *only == Lsn(1) => spare::is_empty_segment(disk, *only).await,
        _ => Ok(false),
    }
}

/// The first problem as the error that stops the start.
pub(crate) fn refusal(report: &Report) -> Option<WalError> {
    let problem = report.problems.first()?.clone();
    Some(match problem.fault {
        Fault::UnknownVersion { found } => WalError::UnknownVersion {
            file: problem.file,
            found,
            supported: FORMAT_VERSION,
        },
        Fault::Unreadable { kind, message } => {
            let offset = problem.offset;
            let source = std::io::Error::new(kind, format!("{message}, at or behind byte {offset}"));
            WalError::io("read", &problem.file)(source)
        }
        _ => WalError::Corrupt(problem),
    })
}

async fn checkpoints<D: Disk>(
    disk: &D,
    log_id: &LogId,
    listing: &Listing,
    report: &mut Report,
    visitor: &mut Visitor<'_>,
) -> Result<()> {
    for through in listing.checkpoints.iter().copied() {
        let newest = listing.checkpoints.last() == Some(&through);
        let mut visit = |record: &[u8]| {
            if newest {
                visitor(Entry::Checkpoint { through, record });
            }
        };
        let (checkpoint, problem) = read_checkpoint(disk, log_id, through, &mut visit).await?;
        report.checkpoints.push(checkpoint);
        report.problems.extend(problem);
    }
    Ok(())
}

async fn segments<D: Disk>(
    disk: &D,
    log_id: &LogId,
    listing: &Listing,
    replay: Replay,
    report: &mut Report,
    visitor: &mut Visitor<'_>,
) -> Result<()> {
    let covered = listing.checkpoints.last().copied().unwrap_or(Lsn::ZERO);
    let needed = listing.checkpoints.first().copied().unwrap_or(Lsn::ZERO).next();
    if listing.segments.first().is_none_or(|first| *first > needed) {
        report.problem(names::segment(needed), 0, Fault::SegmentMissing { first: needed });
    }
    for first in listing.segments.iter().copied() {
        let silent = !report.problems.is_empty();
        let mut visit = |lsn, record: &[u8]| {
            if !silent && (replay == Replay::Everything || lsn > covered) {
                visitor(Entry::Record { lsn, record });
            }
        };
        let (segment, problem) = scan_segment(disk, log_id, first, &mut visit).await?;
        if let Some(previous) = report.segments.last()
            && let Some(problem) = link(previous, &segment, listing.segments.last() == Some(&first))
        {
            report.problems.push(problem);
        }
        report.segments.push(segment);
        report.problems.extend(problem);
    }
    if let Some(last) = report.segments.last()
        && last.tail == Tail::Sealed
    {
        let first = last.last.next();
        report.problem(names::segment(first), 0, Fault::SegmentMissing { first });
    }
    Ok(())
}

/// Whether `next` may follow `previous`. Only the last segment can be unfinished, with one exception: a crash between the
/// naming of the next segment and the seal leaves an empty segment behind an unsealed one.
fn link(previous: &SegmentReport, next: &SegmentReport, next_is_last: bool) -> Option<Problem> {
    let expected = previous.last.next();
    let rotation_interrupted = next_is_last && next.tail == Tail::Open && next.last < next.first;
    match previous.tail {
        Tail::Damaged => None,
        Tail::Sealed | Tail::Open if next.first > expected => {
            let fault = Fault::SegmentMissing { first: expected };
            Some(Problem {
                file: names::segment(expected),
                offset: 0,
                fault,
            })
        }
        Tail::Sealed | Tail::Open if next.first < expected => {
            let fault = Fault::OutOfSequence {
                expected,
                found: next.first,
            };
            Some(Problem {
                file: next.file.clone(),
                offset: 0,
                fault,
            })
        }
        Tail::Sealed => None,
        Tail::Open if rotation_interrupted => None,
        Tail::Open | Tail::Torn { .. } => Some(Problem {
            file: previous.file.clone(),
            offset: previous.bytes,
            fault: Fault::NotSealed,
        }),
    }
}

fn checkpoint_within_log(report: &mut Report) {
    let last = report.last();
    if report.problems.is_empty()
        && let Some(newest) = report.checkpoints.last()
        && newest.through > last
    {
        let (file, through) = (newest.file.clone(), newest.through);
        report.problem(file, 0, Fault::CheckpointAhead { through, last });
    }
}
