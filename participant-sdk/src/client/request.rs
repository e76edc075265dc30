//! A one-shot transaction as an application writes it down.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use handfast_proto::status::Reason;
use handfast_proto::v1;
use prost::Message;

use super::{ClientError, millis};

/// A promise that all requests under this key and expiry are one transaction with one answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    key: String,
    expires_at_ms: u64,
}

impl Key {
    /// The key of one intent: 1 to 128 bytes of printable text. `expires_at` is part of the key, so fix it with the
    /// intent (an order's creation time plus a day), not with the try. After it, a retry is refused and never executed.
    pub fn new(key: impl Into<String>, expires_at: SystemTime) -> Self {
        let since_epoch = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Key {
            key: key.into(),
            expires_at_ms: millis(since_epoch),
        }
    }

    /// [`Key::new`] with the expiry in milliseconds since the Unix epoch.
    pub fn expiring_at_ms(key: impl Into<String>, expires_at_ms: u64) -> Self {
        Key {
            key: key.into(),
            expires_at_ms,
        }
    }
}

/// When a commit is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// Once the decision is durable. Effects follow for certain; a read right after may not see them yet.
    #[default]
    Decided,
    /// Once every participant has acknowledged a durable effect.
    Applied,
}

impl Wait {
    pub(super) fn into_wire(self) -> i32 {
        match self {
            Wait::Decided => v1::Wait::Decided.into(),
            Wait::Applied => v1::Wait::Applied.into(),
        }
    }
}

/// A one-shot transaction: what to do at which resources.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    operations: Vec<(String, Bytes)>,
    pub(super) key: Option<Key>,
    pub(super) timeout: Option<Duration>,
    wait: Wait,
}

impl Transaction {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Transaction::default()
    }

    /// Adds a branch: what to do at the resource of this stable name, in that resource's own encoding.
    #[must_use]
    pub fn operation(mut self, resource: impl Into<String>, operation: impl Into<Bytes>) -> Self {
        self.operations.push((resource.into(), operation.into()));
        self
    }

    /// Makes retries safe: all requests under this key are one transaction.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// After this time an undecided transaction aborts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When to answer a commit.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// As a message of at most so many bytes.
    pub(super) fn into_wire(
        self,
        timeout_ms: u64,
        request_bytes: usize,
    ) -> Result<v1::ExecuteRequest, ClientError> {
        if self.operations.is_empty() {
            return Err(ClientError::fix("a transaction needs at least one operation"));
        }
        let operation = |(resource, operation)| v1::Operation { resource, operation };
        let key = |key: Key| v1::IdempotencyKey {
            key: key.key,
            expires_at_ms: key.expires_at_ms,
        };
        let request = v1::ExecuteRequest {
            key: self.key.map(key),
            operations: self.operations.into_iter().map(operation).collect(),
            timeout_ms,
            wait: self.wait.into_wire(),
        };
        let found = request.encoded_len();
        if found > request_bytes {
            return Err(ClientError::FixRequest {
                reason: Some(Reason::OperationTooLarge),
                message: format!(
                    "the transaction has {found} bytes and may have {request_bytes} (ClientOptions::request_bytes, and the \
                     coordinator's server.frame_bytes); nothing was sent. Send references to the data instead, or several \
                     transactions"
                ),
            });
        }
        Ok(request)
    }
}
