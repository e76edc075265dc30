//! The transaction id: a UUIDv8 that sorts by time, names its owner and is never minted twice.
//!
//! ```text
//!   127          80 79  76 75        64 63 62 61           32 31            0
//!  ┌───────────────┬──────┬────────────┬─────┬───────────────┬───────────────┐
//!  │ milliseconds  │ 1000 │ partition  │ 10  │ epoch         │ sequence      │
//!  │ 48 bits       │ ver. │ 12 bits    │ var.│ 30 bits       │ 32 bits       │
//!  └───────────────┴──────┴────────────┴─────┴───────────────┴───────────────┘
//! ```
//!
//! An odd sequence marks a transaction that its coordinator may have left to its only participant without a durable
//! record: no record of such an id proves nothing.
//!
//! Source of the frame: RFC 9562, section 5.8.

use std::fmt;
use std::str::FromStr;

use crate::{Epoch, Partition};

/// Names one transaction for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u128);

/// A text or byte string that is not a transaction id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a transaction id: expected a version-8 UUID such as 019aaf00-1c00-8000-8000-000100000001"
)]
pub struct InvalidTransactionId(pub String);

/// Of a text that is no id, an error shows as many characters.
const MOST_SHOWN: usize = 64;

const VERSION: u128 = 0x8 << 76;
const VARIANT: u128 = 0b10 << 62;
const FRAME: u128 = (0xF << 76) | (0b11 << 62);

impl TransactionId {
    /// Sorts before every id that was ever minted: the forget-horizon of a new log.
    pub const ZERO: TransactionId = TransactionId(VERSION | VARIANT);

    /// Puts an id together. `milliseconds` is Unix time and must fit into 48 bits (it does until the year 10889).
    pub fn new(milliseconds: u64, partition: Partition, epoch: Epoch, sequence: u32) -> Self {
        assert!(milliseconds < 1 << 48 && partition.0 < 1 << 12 && epoch <= Epoch::MAX);
        TransactionId(
            u128::from(milliseconds) << 80
                | VERSION
                | u128::from(partition.0) << 64
                | VARIANT
                | u128::from(epoch.0) << 32
                | u128::from(sequence),
        )
    }

    /// Unix time in milliseconds, as the coordinator counted it: never back, perhaps ahead of a clock set back.
    pub fn milliseconds(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The log partition that minted the id.
    pub fn partition(self) -> Partition {
        Partition((self.0 >> 64) as u16 & 0xFFF)
    }

    /// The epoch of the coordinator that minted the id.
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32 & Epoch::MAX.0)
    }

    /// Whether the transaction may have been left to its only participant without a durable record. Then nobody but that
    /// participant can tell how it came out, and "there is no record" is no answer.
    pub fn is_unrecorded(self) -> bool {
        self.0 & 1 == 1
    }

    /// Grows within the millisecond.
    pub fn sequence(self) -> u32 {
        self.0 as u32
    }

    /// The id as a number; sorts like the id.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id as 16 bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from its number.
    pub fn from_u128(number: u128) -> Result<Self, InvalidTransactionId> {
        if number & FRAME == VERSION | VARIANT {
            Ok(TransactionId(number))
        } else {
            Err(InvalidTransactionId(uuid::Uuid::from_u128(number).to_string()))
        }
    }

    /// The id from 16 bytes, most significant first.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidTransactionId> {
        match bytes.try_into() {
            Ok(bytes) => Self::from_u128(u128::from_be_bytes(bytes)),
            Err(_) => Err(InvalidTransactionId(format!("{} bytes", bytes.len()))),
        }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({self})")
    }
}

impl FromStr for TransactionId {
    type Err = InvalidTransactionId;

    fn from_str(text: &str) -> Result<Self, InvalidTransactionId> {
        let invalid = || InvalidTransactionId(text.chars().take(MOST_SHOWN).collect());
        let uuid = uuid::Uuid::parse_str(text).map_err(|_| invalid())?;
        Self::from_u128(uuid.as_u128()).map_err(|_| invalid())
    }
}
