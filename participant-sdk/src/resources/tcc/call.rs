//! One call of the service, over the transport that it speaks: bounded in time and size, never redirected.
//!
//! This is the seam between what is done with an answer and how it was got. A transport sends one call, and turns whatever comes
//! back into an [`Answer`]; what it cannot tell for sure is [`Answer::Unknown`].

mod connection;
mod grpc;
mod http;

use std::time::Duration;

use hyper::Uri;

pub use http::CALL_VERSION;

use super::options::{TccOptions, Transport, Urls};
use crate::resource::{BranchKey, Refusal, ResourceError};
use grpc::GrpcCalls;
use http::HttpCalls;

/// Connections that are kept open between calls, and for how long.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are shown to people.
const SHOWN_BYTES: usize = 300;

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Try,
    Confirm,
    Cancel,
}

impl Step {
    pub const ALL: [Step; 3] = [Step::Try, Step::Confirm, Step::Cancel];

    pub fn word(self) -> &'static str {
        match self {
            Step::Try => "try",
            Step::Confirm => "confirm",
            Step::Cancel => "cancel",
        }
    }
}

impl Urls {
    fn of(&self, step: Step) -> &Uri {
        match step {
            Step::Try => &self.attempt,
            Step::Confirm => &self.confirm,
            Step::Cancel => &self.cancel,
        }
    }
}

/// What the service said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// No, in its own words.
    Refused(Refusal),
    /// It knows of no such transaction.
    Absent(String),
    /// Anything else, or nothing in time: it may have happened or not.
    Unknown(String),
}

/// What looking at an address without a call came to.
pub(super) enum Reached {
    /// Somebody is there, as far as can be seen without a call.
    Fit(String),
    /// Somebody is there, and something is better looked at.
    Doubtful { found: String, todo: &'static str },
    /// Nobody is there, or nobody who could be called.
    Unfit { found: String, todo: &'static str },
}

/// Calls one service.
pub(super) struct Caller {
    wire: Wire,
    urls: Urls,
    timeout: Duration,
}

enum Wire {
    Http(HttpCalls),
    Grpc(GrpcCalls),
}

impl Caller {
    pub fn new(options: &TccOptions) -> Result<Self, ResourceError> {
        Ok(Caller {
            urls: options.urls().map_err(ResourceError::permanent)?,
            wire: match options.transport {
                Transport::Http => Wire::Http(HttpCalls::new(options)?),
                Transport::Grpc => Wire::Grpc(GrpcCalls::new(options)?),
            },
            timeout: options.timeout,
        })
    }

    /// Calls, once, within the smaller of both limits.
    pub async fn call(&self, step: Step, branch: BranchKey, operation: &[u8], limit: Duration) -> Answer {
        let limit = limit.min(self.timeout);
        let url = self.urls.of(step);
        let exchange = async {
            match &self.wire {
                Wire::Http(calls) => calls.call(url, step, branch, operation).await,
                Wire::Grpc(calls) => calls.call(url, step, branch, operation, limit).await,
            }
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Answer::Unknown(format!("no answer within {} ms", limit.as_millis())))
    }

    /// Looks, within a limit, who is at the address of a step, by the connection that its calls would take. Nothing is called that
    /// has an effect.
    pub async fn reach(&self, step: Step, limit: Duration) -> Reached {
        let url = self.urls.of(step);
        let looking = async {
            match &self.wire {
                Wire::Http(calls) => calls.reach(url).await,
                Wire::Grpc(calls) => calls.reach(url).await,
            }
        };
        tokio::time::timeout(limit, looking)
            .await
            .unwrap_or_else(|_| Reached::nobody(url, &format!("no answer within {limit:?}")))
    }
}

impl Reached {
    fn nobody(url: &Uri, why: &str) -> Self {
        Reached::Unfit {
            found: format!("{url}: {why}"),
            todo: "start the service there, or correct the address",
        }
    }
}

/// Names the branch and the step; a repeated call carries the same.
fn idempotency_key(step: Step, branch: BranchKey) -> String {
    format!(
        "{:032x}-{}-{}-{}",
        branch.log.0,
        branch.transaction,
        branch.branch.0,
        step.word()
    )
}

/// The beginning of what the service said.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}
