//! Ready-made resources, one feature each.
//!
//! - [`files`]: files in a folder, several in one transaction.
//! - [`ledger`]: embedded accounts, on the SDK's journal.
//! - [`postgres`]: PostgreSQL, on its own prepared transactions.
//! - [`tcc`]: a service with three HTTP calls: try, confirm, cancel.

#[cfg(feature = "files")]
pub mod files;
mod finding;
#[cfg(feature = "ledger")]
pub mod ledger;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "tcc")]
pub mod tcc;

pub use finding::{Finding, Verdict};
