//! Ready-made resources, one feature each.
//!
//! - [`files`]: files in a folder, several in one transaction.
//! - [`kafka`]: Apache Kafka, on its own transactions and a journal that is a topic of the same cluster.
//! - [`ledger`]: embedded accounts, on the SDK's journal.
//! - [`mariadb`]: MariaDB, and MySQL 8, on their XA transactions.
//! - [`postgres`]: PostgreSQL, on its own prepared transactions.
//! - [`tcc`]: a service with three calls over HTTP or gRPC: try, confirm, cancel.

#[cfg(feature = "files")]
pub mod files;
mod finding;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "ledger")]
pub mod ledger;
#[cfg(feature = "mariadb")]
pub mod mariadb;
#[cfg(any(feature = "kafka", feature = "mariadb", feature = "postgres"))]
mod old_markers;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "mariadb", feature = "postgres"))]
pub mod sql;
#[cfg(feature = "tcc")]
pub mod tcc;

pub use finding::{Finding, Verdict};
