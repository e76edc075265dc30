//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Lsn;

/// The result of an operation on a log.
pub type Result<T> = std::result::Result<T, WalError>;

/// An error of the log. `Full` and `RecordTooLarge` concern one call; every other error of a writing log is final:
/// it latches, and every later call returns it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The directory holds no log. Correct the path, or create one if there never was one.
    #[error(
        "this directory holds no log; correct the path or mount its file system, and create a log only if there never was one"
    )]
    NotALog,
    /// The directory holds a log already; it is never overwritten.
    #[error("this directory holds a log already; open it, or choose another directory")]
    AlreadyALog,
    /// A file was written by another version of this program.
    #[error(
        "{file} has format version {found}, and this program knows {supported}; run the program that wrote it"
    )]
    UnknownVersion {
        /// The file.
        file: String,
        /// The version that it states.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The log does not check out. Nothing was changed; ask an operator.
    #[error("{0}")]
    Corrupt(Problem),
    /// Another process has the log open.
    #[error(
        "the log is locked: another process has it open; stop that one first, and never delete LOCK instead"
    )]
    Locked,
    /// The disk is full and the reserve is used up.
    #[error("no space left on the disk for {file}; free some, then start again")]
    OutOfSpace {
        /// The file that could not be written.
        file: String,
    },
    /// The record can never be appended. Nothing was appended.
    #[error(
        "a record of {bytes} bytes does not fit: the limit is {limit}; split it, or use larger segments and buffers"
    )]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that this log takes.
        limit: usize,
    },
    /// The buffer is full for now. Nothing was appended; try again when a batch has completed.
    #[error(
        "{pending} bytes wait for the disk and the limit is {limit}; append again when a batch has completed"
    )]
    Full {
        /// Bytes that wait.
        pending: usize,
        /// The bound, `Options::buffer_bytes`.
        limit: usize,
    },
    /// The options make no sense.
    #[error("the log's options are invalid: {reason}")]
    InvalidOptions {
        /// Which one and why.
        reason: &'static str,
    },
    /// This user may not do to a file what a log must do. Its owner can change that.
    #[error(
        "cannot {operation} {file}: {source}; this user may not: give the files of the log to the user that runs this program \
         (chown), or run it as their owner"
    )]
    NotPermitted {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The file system takes no writes.
    #[error(
        "cannot {operation} {file}: the file system is mounted read-only; mount it for writing, then start again"
    )]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
    },
    /// The operating system failed an operation. After a failed write or sync nobody knows what the disk holds: stop
    /// the process; the next start finds out.
    #[error("cannot {operation} {file}: {source}; check the disk, then start again")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}

impl WalError {
    /// Wraps what the disk said. What an operator can do something about is told apart: a full disk, and files that belong to
    /// somebody else.
    pub(crate) fn io(operation: &'static str, file: &str) -> impl FnOnce(io::Error) -> WalError {
        let file = file.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WalError::OutOfSpace { file },
            io::ErrorKind::PermissionDenied => WalError::NotPermitted {
                operation,
                file,
                source: Arc::new(source),
            },
            io::ErrorKind::ReadOnlyFilesystem => WalError::ReadOnly { operation, file },
            _ => WalError::Io {
                operation,
                file,
                source: Arc::new(source),
            },
        }
    }
}

/// One thing in a log that does not check out: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}: {}; {}",
            self.file,
            self.offset,
            self.fault,
            self.fault.advice()
        )
    }
}

/// The ways in which a log can fail to check out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Segments or checkpoints without the file that says whose they are.
    #[error("the identity file is missing although segments or checkpoints are here")]
    IdentityMissing,
    /// The identity file does not check out.
    #[error("the identity file is damaged")]
    IdentityDamaged,
    /// Written in another format.
    #[error("format version {found} is unknown")]
    UnknownVersion {
        /// The version stated.
        found: u32,
    },
    /// A segment that must exist does not. The file named is the one that would begin with that LSN.
    #[error("the segment that holds lsn {first} is missing")]
    SegmentMissing {
        /// The first LSN that is missing.
        first: Lsn,
    },
    /// A segment's header does not check out for this log and this name.
    #[error("the segment header is damaged, or the file is of another log or has another name")]
    SegmentHeaderDamaged,
    /// A segment is shorter or longer than its header says.
    #[error("the file has {found} bytes and its header says {expected}")]
    SegmentLength {
        /// What the header says.
        expected: u64,
        /// What the file has.
        found: u64,
    },
    /// Something nonzero that is no frame header where one belongs.
    #[error("the frame header is damaged")]
    FrameHeaderDamaged,
    /// A frame whose header is sound holds other bytes than were written.
    #[error("the frame's payload is damaged")]
    PayloadDamaged,
    /// A frame of another place in the order of records.
    #[error("the frame begins with lsn {found} where lsn {expected} follows")]
    OutOfSequence {
        /// The LSN that comes next.
        expected: Lsn,
        /// The LSN found.
        found: Lsn,
    },
    /// A hole: what follows it was written only after it had been durable.
    #[error("records that were durable are gone: a later frame stands at byte {later}")]
    Hole {
        /// Where the later frame stands.
        later: u64,
    },
    /// Nonzero bytes where nothing was ever written, of a shape that no interrupted write leaves.
    #[error("there are bytes where nothing was written")]
    StrayBytes,
    /// A segment with a successor must be sealed unless the successor is empty.
    #[error("the segment does not end with a seal although a later segment holds records")]
    NotSealed,
    /// A checkpoint does not check out.
    #[error("the checkpoint is damaged")]
    CheckpointDamaged,
    /// The operating system does not give the bytes from here on.
    #[error("it cannot be read from here on: {message}")]
    Unreadable {
        /// In which way.
        kind: io::ErrorKind,
        /// What the operating system said.
        message: String,
    },
    /// A checkpoint covers records that the log does not have: segments are lost or were replaced by an old copy.
    #[error("the checkpoint covers lsn {through} and the log ends at lsn {last}")]
    CheckpointAhead {
        /// What the checkpoint covers.
        through: Lsn,
        /// Where the log ends.
        last: Lsn,
    },
}

impl Fault {
    /// What reading a file came to, if it was the disk's fault.
    pub(crate) fn of_reading(error: WalError) -> Result<Fault> {
        match error {
            WalError::Io { source, .. } | WalError::NotPermitted { source, .. } => Ok(Fault::Unreadable {
                kind: source.kind(),
                message: source.to_string(),
            }),
            other => Err(other),
        }
    }

    /// What an operator should do.
    pub fn advice(&self) -> &'static str {
        match self {
            Fault::IdentityMissing => {
                "restore LOG from a backup of this same directory; do not create a new log over it"
            }
            Fault::IdentityDamaged => "restore LOG from a backup of this same directory",
            Fault::UnknownVersion { .. } => "run the version of the program that wrote it",
            Fault::SegmentMissing { .. } => "put the file back; without it, acknowledged records are lost",
            Fault::CheckpointDamaged => {
                "restore the file from a copy; if it is the newest and an earlier checkpoint is present, moving it \
                 away is safe too: the earlier one and the segments hold the same records"
            }
            Fault::Unreadable {
                kind: io::ErrorKind::PermissionDenied,
                ..
            } => "give the file to the user that runs this program (chown), or run it as the owner",
            Fault::Unreadable { .. } => {
                "check the disk; copy what can be read of the directory elsewhere before anything else"
            }
            Fault::CheckpointAhead { .. } => "put the newest segments back; those present are an old copy",
            Fault::SegmentHeaderDamaged
            | Fault::SegmentLength { .. }
            | Fault::FrameHeaderDamaged
            | Fault::PayloadDamaged
            | Fault::OutOfSequence { .. }
            | Fault::Hole { .. }
            | Fault::StrayBytes
            | Fault::NotSealed => {
                "the medium changed what was written: copy the directory, check the disk, and restore this file from a \
                 copy; do not edit it"
            }
        }
    }
}
