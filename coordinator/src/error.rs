//! Why the program ends, in few kinds. Each has an exit code of its own; every message says what happened and what to do.

use std::fmt;
use std::process::ExitCode;

use handfast_core::StopReason;
use handfast_wal::WalError;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal;)*) => {
        /// What kind of end it is.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $($(#[doc = $doc])* $name = $code,)*
        }

        /// The exit codes, for `--help`.
        pub const EXIT_CODES: &str = concat!(
            "Exit codes:\n  0   all is well\n",
            $("  ", stringify!($code), "  ", $($doc,)* "\n",)*
        );
    };
}

kinds! {
    /// a defect of this program, of the machine, or of the participant that `conformance` has tried
    Internal = 1;
    /// the command line, the configuration or the directory given is not usable
    Usage = 2;
    /// another process has the data directory open
    Locked = 3;
    /// the log is damaged, or was written by another version
    Corrupt = 4;
    /// the disk of the log failed or is full
    LogIo = 5;
    /// the address is in use or cannot be bound
    Address = 6;
    /// the log is older than one that a participant has seen, or another process has taken it over
    Stale = 7;
    /// the coordinator cannot be reached
    Unreachable = 8;
    /// `log verify` has found problems
    ProblemsFound = 9;
    /// the coordinator answered that it cannot or must not do this
    Refused = 10;
}

/// The end of the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Its kind.
    pub kind: Kind,
    /// What happened, and what to do.
    pub message: String,
}

impl Error {
    /// An end of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// The same, with what it is about in front.
    pub fn about(mut self, subject: impl fmt::Display) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// The exit code of the kind.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<WalError> for Error {
    fn from(error: WalError) -> Self {
        let kind = match &error {
            WalError::NotALog
            | WalError::AlreadyALog
            | WalError::InvalidOptions { .. }
            | WalError::NotPermitted { .. }
            | WalError::ReadOnly { .. } => Kind::Usage,
            WalError::Locked => Kind::Locked,
            WalError::UnknownVersion { .. } | WalError::Corrupt(_) => Kind::Corrupt,
            WalError::OutOfSpace { .. } | WalError::Io { .. } => Kind::LogIo,
            WalError::RecordTooLarge { .. } | WalError::Full { .. } => Kind::Internal,
        };
        Error::new(kind, error.to_string())
    }
}

impl From<StopReason> for Error {
    fn from(reason: StopReason) -> Self {
        let message = match reason {
            StopReason::LogIsOld { seen_epoch, seen_lsn } => format!(
                "a participant has seen epoch {seen_epoch} and LSN {} of this log, which is more than it holds: it was \
                 restored from an old copy, or has lost its tail. Nothing was answered. Put the newest copy of the data \
                 directory back; if there is none, compare the participants' prepared branches by hand",
                seen_lsn.0
            ),
            StopReason::Superseded { seen_epoch } => format!(
                "a participant has seen epoch {seen_epoch}, which is later than this process: another coordinator has \
                 taken over this log. This one has stopped and must stay stopped"
            ),
        };
        Error::new(Kind::Stale, message)
    }
}
