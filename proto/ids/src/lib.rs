//! The words that everyone shares: who a transaction, a branch, a log, a store is.
//!
//! This crate knows no wire, no clock and no randomness, so that the protocol core can use it and stay pure.
//! What mints an id passes in the time and the random bits.
#![deny(missing_docs)]

mod names;
mod transaction;

pub use names::{IdempotencyKey, InvalidName, MAX_KEY_BYTES, MAX_RESOURCE_NAME_BYTES, ResourceName};
pub use transaction::{InvalidTransactionId, TransactionId};

use std::fmt;

/// The identity of one coordinator log, made once by `handfast init` from random bits.
///
/// A restored or copied directory has the same log id; an empty directory never has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u128);

/// The identity of one participant's store, made once inside the store itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

/// One process of a participant, made anew at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u128);

/// Which life of its store a participant serves; grows when the store fails over or is restored on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// Which life of its log a coordinator lives; grows by one, durably, at each start. At most [`Epoch::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The highest epoch that fits into a [`TransactionId`]: 2^30 - 1 starts of one log.
    pub const MAX: Epoch = Epoch((1 << 30) - 1);

    /// The epoch of the next start.
    pub fn next(self) -> Epoch {
        assert!(self < Epoch::MAX, "a log is started at most 2^30 - 1 times");
        Epoch(self.0 + 1)
    }
}

/// A branch's ordinal within its transaction, from 0, in the order of joining.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BranchId(pub u32);

/// The shard of a coordinator's log that minted an id. There is one today: partition 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(pub u16);

macro_rules! plain_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    )*};
}
plain_display!(Generation, Epoch, BranchId, Partition);

macro_rules! uuid_display {
    ($($name:ident),*) => {$(
        impl $name {
            /// The id as 16 bytes, most significant first.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id from 16 bytes, most significant first; `None` if there are not 16 of them.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(|bytes| Self(u128::from_be_bytes(bytes)))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                uuid::Uuid::from_u128(self.0).fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), uuid::Uuid::from_u128(self.0))
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                uuid::Uuid::parse_str(text).map(|uuid| Self(uuid.as_u128()))
            }
        }
    )*};
}
uuid_display!(LogId, StoreId, InstanceId);

#[cfg(test)]
mod tests;
