//! Ready-made resources, one feature each.
//!
//! - [`ledger`]: embedded accounts, on the SDK's journal.
//! - [`postgres`]: PostgreSQL, on its own prepared transactions.

mod finding;
#[cfg(feature = "ledger")]
pub mod ledger;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "postgres")]
pub mod sql;

pub use finding::{Finding, Verdict};
