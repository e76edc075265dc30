//! The kinds of resource that a `[[resource]]` table can name. One file a kind: what its table may say, what is looked at
//! before it takes part, and how it takes part.
//!
//! A new kind is one file and one line in [`KINDS`].

#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod ledger;
#[cfg(feature = "mariadb")]
pub mod mariadb;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "tcc")]
pub mod tcc;

use std::future::Future;
use std::pin::Pin;

use handfast_participant::Handle;
use handfast_participant::resources::Finding;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use crate::report::{Reporting, Watch};

/// Every kind that this build knows, as a table names it.
pub const KINDS: &[(&str, ReadKind)] = &[
    #[cfg(feature = "files")]
    ("files", read::<files::FilesKind>),
    #[cfg(feature = "kafka")]
    ("kafka", read::<kafka::Settings>),
    ("ledger", read::<ledger::LedgerKind>),
    #[cfg(feature = "mariadb")]
    ("mariadb", read::<mariadb::Settings>),
    #[cfg(feature = "postgres")]
    ("postgres", read::<postgres::PostgresKind>),
    #[cfg(feature = "tcc")]
    ("tcc", read::<tcc::TccKind>),
];

/// What is the same for every kind: who takes part, where, and until when.
pub struct Seat {
    /// The stable name of the resource.
    pub name: String,
    /// Addresses of the coordinator.
    pub coordinators: Vec<String>,
    /// Completes when the agent is asked to stop.
    pub stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What is said of the resource while it takes part.
    pub reporting: Reporting,
}

impl Seat {
    /// Reports on a participant in the log, from its own counters, until the returned value is dropped.
    #[must_use = "reporting ends when this is dropped"]
    pub fn watch(&self, participant: Handle) -> Watch {
        Watch::start(&self.name, participant, self.reporting)
    }
}

/// What makes no sense of a table.
#[derive(Debug)]
pub struct Nonsense {
    /// The key, if it is one.
    pub key: Option<&'static str>,
    /// In words, with what to write.
    pub message: String,
}

impl From<String> for Nonsense {
    fn from(message: String) -> Self {
        Nonsense { key: None, message }
    }
}

/// A `[[resource]]` table of one kind, with `kind`, `name` and `coordinator` taken out. Implemented by serde structs that deny
/// unknown fields, so that a slip of the pen is told with its line.
pub trait Kind {
    /// Connects and looks at every precondition, and changes nothing. What cannot be reached is a broken finding.
    fn check(&self) -> impl Future<Output = Vec<Finding>> + Send;

    /// Looks whether the table makes sense as a whole, which no key by itself tells. Nothing is connected to.
    fn validate(&self) -> Result<(), Nonsense> {
        Ok(())
    }

    /// Takes part until the seat's `stopped` completes. An error is what only a person can mend.
    fn run(self, seat: Seat) -> impl Future<Output = anyhow::Result<()>> + Send;
}

type Running<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Kind`] whose type is not known any more.
pub trait AnyKind: Send + Sync {
    /// [`Kind::check`]
    fn check(&self) -> Running<'_, Vec<Finding>>;

    /// [`Kind::validate`]
    fn validate(&self) -> Result<(), Nonsense>;

    /// [`Kind::run`]
    fn run(self: Box<Self>, seat: Seat) -> Running<'static, anyhow::Result<()>>;
}

impl<K: Kind + Send + Sync + 'static> AnyKind for K {
    fn check(&self) -> Running<'_, Vec<Finding>> {
        Box::pin(Kind::check(self))
    }

    fn validate(&self) -> Result<(), Nonsense> {
        Kind::validate(self)
    }

    fn run(self: Box<Self>, seat: Seat) -> Running<'static, anyhow::Result<()>> {
        Box::pin(Kind::run(*self, seat))
    }
}

/// Reads the table of one kind.
pub type ReadKind = fn(Spanned<DeValue<'static>>) -> Result<Box<dyn AnyKind>, toml::de::Error>;

fn read<K>(table: Spanned<DeValue<'static>>) -> Result<Box<dyn AnyKind>, toml::de::Error>
where
    K: Kind + DeserializeOwned + Send + Sync + 'static,
{
    Ok(Box::new(K::deserialize(ValueDeserializer::from(table))?))
}
