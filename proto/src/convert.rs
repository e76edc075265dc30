//! Wire to ids. Every error names the field and says what was expected.

use bytes::Bytes;
use handfast_ids::{IdempotencyKey, InstanceId, LogId, ResourceName, StoreId, TransactionId};

use crate::status::{Failure, Reason};

/// A transaction id from its text.
pub fn transaction_id_from_text(text: &str) -> Result<TransactionId, Failure> {
    text.parse()
        .map_err(|error| Failure::new(Reason::InvalidArgument, format!("transaction_id: {error}")))
}

/// A transaction id from its 16 bytes.
pub fn transaction_id(bytes: &[u8]) -> Result<TransactionId, Failure> {
    TransactionId::from_slice(bytes)
        .map_err(|error| Failure::new(Reason::InvalidArgument, format!("transaction_id: {error}")))
}

/// The 16 bytes of a transaction id.
pub fn transaction_id_bytes(id: TransactionId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// A log id from its 16 bytes.
pub fn log_id(bytes: &[u8]) -> Result<LogId, Failure> {
    LogId::from_slice(bytes).ok_or_else(|| not_16("log_id", bytes))
}

/// A store id from its 16 bytes.
pub fn store_id(bytes: &[u8]) -> Result<StoreId, Failure> {
    StoreId::from_slice(bytes).ok_or_else(|| not_16("store_id", bytes))
}

/// An instance id from its 16 bytes.
pub fn instance_id(bytes: &[u8]) -> Result<InstanceId, Failure> {
    InstanceId::from_slice(bytes).ok_or_else(|| not_16("instance_id", bytes))
}

/// A resource name.
pub fn resource_name(name: &str) -> Result<ResourceName, Failure> {
    ResourceName::new(name).map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()))
}

/// An idempotency key.
pub fn idempotency_key(key: &str) -> Result<IdempotencyKey, Failure> {
    IdempotencyKey::new(key).map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()))
}

fn not_16(field: &str, bytes: &[u8]) -> Failure {
    Failure::new(
        Reason::InvalidArgument,
        format!("{field}: expected 16 bytes, found {}", bytes.len()),
    )
}
