//! Few kinds of errors, each of which says what to do.

use std::time::Duration;

use handfast_proto::status::{Advice, Failure, Reason};

use super::call::CallError;

/// Nothing was executed, or nothing was asked to be; and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The same request may succeed later.
    #[error("{message}; try again later")]
    Retry {
        /// The coordinator's reason; `None` if it could not be reached.
        reason: Option<Reason>,
        /// What happened.
        message: String,
        /// The wait that the coordinator suggests.
        retry_after: Option<Duration>,
    },
    /// The same request will fail again: change it.
    #[error("{message}; change the request")]
    FixRequest {
        /// The coordinator's reason, or the one that it would give; `None` if the request makes no sense by itself.
        reason: Option<Reason>,
        /// What is wrong with it.
        message: String,
    },
    /// A read was not answered. It may be asked again.
    #[error("{message}; ask again")]
    Ask {
        /// What happened.
        message: String,
    },
    /// Somebody has to look at the coordinator or a resource first.
    #[error("{message}; ask an operator")]
    Operator {
        /// The coordinator's reason.
        reason: Reason,
        /// What happened.
        message: String,
    },
}

impl ClientError {
    /// The coordinator's stable reason, if it gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            ClientError::Retry { reason, .. } | ClientError::FixRequest { reason, .. } => *reason,
            ClientError::Operator { reason, .. } => Some(*reason),
            ClientError::Ask { .. } => None,
        }
    }

    pub(super) fn fix(message: impl Into<String>) -> Self {
        ClientError::FixRequest {
            reason: None,
            message: message.into(),
        }
    }

    pub(super) fn ask(message: impl Into<String>) -> Self {
        ClientError::Ask {
            message: message.into(),
        }
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        let Failure {
            reason,
            message,
            retry_after,
        } = failure;
        match reason.advice() {
            Advice::Retry => ClientError::Retry {
                reason: Some(reason),
                message,
                retry_after,
            },
            Advice::FixRequest => ClientError::FixRequest {
                reason: Some(reason),
                message,
            },
            Advice::Ask => ClientError::Ask { message },
            Advice::Operator => ClientError::Operator { reason, message },
        }
    }
}

/// For requests that execute nothing, so that not knowing whether one arrived does no harm.
impl From<CallError> for ClientError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(failure) => failure.into(),
            CallError::NotSent(message) => ClientError::Retry {
                reason: None,
                message,
                retry_after: None,
            },
            CallError::Ambiguous(message) => ClientError::Ask { message },
        }
    }
}
