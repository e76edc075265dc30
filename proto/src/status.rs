//! The one mapping between an error's stable reason and a gRPC status.
//!
//! A status carries `google.rpc.ErrorInfo` with the reason and the domain `handfast`, and `google.rpc.RetryInfo` where a
//! wait is suggested. The simulated transport drops rich details of some kinds, so the reason also stands in the metadata
//! entry `handfast-reason`, which both transports carry.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::v1;

/// The domain of every [`Reason`] in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "handfast";

const REASON_KEY: &str = "handfast-reason";
const RETRY_KEY: &str = "handfast-retry-after-ms";

/// What the caller should do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Nothing was executed: the same request may be sent again, after the hinted wait.
    Retry,
    /// Nothing was executed, and never will be with this request: change it.
    FixRequest,
    /// Whether it was executed is not known from here: ask by id or key, or retry with the same key.
    Ask,
    /// Somebody has to look at the coordinator or the resource first.
    Operator,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $advice:ident;)*) => {
        /// The stable reason of an error. Names never change; new ones may come.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// As it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// The gRPC code that goes with it.
            pub fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }

            /// What the caller should do.
            pub fn advice(self) -> Advice {
                match self { $(Reason::$name => Advice::$advice,)* }
            }
        }
    };
}

reasons! {
    /// A field is missing, malformed or out of range.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, FixRequest;
    /// A one-shot transaction needs at least one operation.
    NoBranches = "NO_BRANCHES", InvalidArgument, FixRequest;
    /// More branches than a transaction may have.
    TooManyBranches = "TOO_MANY_BRANCHES", InvalidArgument, FixRequest;
    /// An operation, or a request with all of its operations, is longer than the server takes.
    OperationTooLarge = "OPERATION_TOO_LARGE", InvalidArgument, FixRequest;
    /// The key asks to be kept for longer than the server keeps any.
    KeyRetentionTooLong = "KEY_RETENTION_TOO_LONG", InvalidArgument, FixRequest;
    /// The key was used for another request.
    KeyMismatch = "KEY_MISMATCH", AlreadyExists, FixRequest;
    /// The key's time is over.
    KeyExpired = "KEY_EXPIRED", FailedPrecondition, FixRequest;
    /// No participant ever dialed in under this name.
    UnknownResource = "UNKNOWN_RESOURCE", NotFound, FixRequest;
    /// No active transaction of this id, and no effects of it.
    UnknownTransaction = "UNKNOWN_TRANSACTION", NotFound, FixRequest;
    /// The transaction is older than what is kept; its outcome cannot be told.
    Forgotten = "FORGOTTEN", OutOfRange, Operator;
    /// The id was minted by another coordinator.
    NotMine = "NOT_MINE", FailedPrecondition, FixRequest;
    /// The resource has no session now.
    ResourceDown = "RESOURCE_DOWN", Unavailable, Retry;
    /// The resource has as many unfinished branches as it may.
    ResourceBacklog = "RESOURCE_BACKLOG", ResourceExhausted, Retry;
    /// The table of live transactions is full.
    TableFull = "TABLE_FULL", ResourceExhausted, Retry;
    /// As many idempotency keys are held as may be.
    KeysFull = "KEYS_FULL", ResourceExhausted, Retry;
    /// As many callers wait for one transaction as may.
    TooManyWaiters = "TOO_MANY_WAITERS", ResourceExhausted, Ask;
    /// The disk of the log is nearly full.
    LogSpaceLow = "LOG_SPACE_LOW", ResourceExhausted, Operator;
    /// The coordinator is shutting down.
    Draining = "DRAINING", Unavailable, Retry;
    /// The coordinator takes requests as fast as it can; this one was not taken in.
    Busy = "BUSY", ResourceExhausted, Retry;
    /// The coordinator ended before it could answer.
    Stopped = "STOPPED", Unavailable, Ask;
    /// Another store than the one known by this name has dialed in.
    StoreMismatch = "STORE_MISMATCH", FailedPrecondition, Operator;
    /// The store takes part under another name.
    StoreHasAnotherName = "STORE_HAS_ANOTHER_NAME", FailedPrecondition, Operator;
    /// An older life of the store than one that was seen has dialed in.
    GenerationLower = "GENERATION_LOWER", FailedPrecondition, Operator;
    /// As many resource names are known as may be.
    TooManyResources = "TOO_MANY_RESOURCES", ResourceExhausted, Operator;
    /// A newer session took this one's place.
    Superseded = "SUPERSEDED", Aborted, Retry;
    /// The peer speaks another version of the protocol.
    ProtocolVersion = "PROTOCOL_VERSION", FailedPrecondition, Operator;
    /// A frame broke the rules of the session.
    ProtocolViolation = "PROTOCOL_VIOLATION", InvalidArgument, Operator;
    /// A call of operators came without their token.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, FixRequest;
    /// Nothing was heard of the peer for too long.
    SilentPeer = "SILENT_PEER", Unavailable, Retry;
}

impl Reason {
    /// The reason of this name, if this build knows it.
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An error on its way over the wire: a stable reason, words, and perhaps a wait.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// What happened, for programs.
    pub reason: Reason,
    /// What happened and what to do, for people.
    pub message: String,
    /// After which a retry may succeed.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a suggested wait.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Failure {
            reason,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same with a suggested wait.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The failure in a status, if Handfast made it. `None` for what the transport made.
    pub fn from_status(status: &Status) -> Option<Failure> {
        let reason = Reason::from_name(status.metadata().get(REASON_KEY)?.to_str().ok()?)?;
        let retry_after = status
            .metadata()
            .get(RETRY_KEY)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_millis);
        Some(Failure {
            reason,
            message: status.message().to_owned(),
            retry_after,
        })
    }
}

impl From<Failure> for v1::CallFailure {
    fn from(failure: Failure) -> v1::CallFailure {
        let wait = failure.retry_after.unwrap_or_default();
        v1::CallFailure {
            reason: failure.reason.to_string(),
            message: failure.message,
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<v1::CallFailure> for Failure {
    /// A reason that this build does not know reads as [`Reason::Stopped`]: whether anything was executed is not known.
    fn from(failure: v1::CallFailure) -> Failure {
        let retry_after_ms = failure.retry_after_ms;
        let (reason, message) = match Reason::from_name(&failure.reason) {
            Some(reason) => (reason, failure.message),
            None => (
                Reason::Stopped,
                format!("{}: {}", failure.reason, failure.message),
            ),
        };
        Failure {
            reason,
            message,
            retry_after: (retry_after_ms > 0).then(|| Duration::from_millis(retry_after_ms)),
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let mut status = with_details(&failure);
        let metadata = status.metadata_mut();
        if let Ok(value) = failure.reason.as_str().parse() {
            metadata.insert(REASON_KEY, value);
        }
        if let Some(value) = failure
            .retry_after
            .and_then(|wait| wait.as_millis().to_string().parse().ok())
        {
            metadata.insert(RETRY_KEY, value);
        }
        status
    }
}

#[cfg(not(madsim))]
fn with_details(failure: &Failure) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let mut details = ErrorDetails::with_error_info(failure.reason.as_str(), DOMAIN, []);
    if failure.retry_after.is_some() {
        details.set_retry_info(failure.retry_after);
    }
    Status::with_error_details(failure.reason.code(), &failure.message, details)
}

#[cfg(madsim)]
fn with_details(failure: &Failure) -> Status {
    Status::new(failure.reason.code(), &failure.message)
}

#[cfg(test)]
mod tests;
