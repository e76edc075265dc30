//! Putting a participant together.

use std::path::Path;

use handfast_proto::ids::ResourceName;
use handfast_wal::{Disk, RealDisk};

use super::{Participant, ParticipantError, SessionOptions};
use crate::journal::{Journal, JournalError, JournalOptions};
use crate::resource::{Resource, Staged};
use crate::session::{Concurrency, Native};

/// Calls of `prepare` that run at once, if nothing else is said.
const DEFAULT_PREPARES: usize = 32;
/// Calls of `finish` that run at once, if nothing else is said.
const DEFAULT_DECISIONS: usize = 32;

/// Options of a participant; ends with what takes part.
#[derive(Clone, Debug)]
pub struct Builder {
    resource: ResourceName,
    addresses: Vec<String>,
    session: SessionOptions,
    journal: JournalOptions,
    concurrency: Concurrency,
}

impl Builder {
    pub(super) fn new(resource: ResourceName, addresses: Vec<String>) -> Self {
        Builder {
            resource,
            addresses,
            session: SessionOptions::default(),
            journal: JournalOptions::default(),
            concurrency: Concurrency {
                prepares: DEFAULT_PREPARES,
                decisions: DEFAULT_DECISIONS,
            },
        }
    }

    /// How it behaves on the wire.
    #[must_use]
    pub fn session_options(mut self, options: SessionOptions) -> Self {
        self.session = options;
        self
    }

    /// How a staged service's journal is laid out.
    #[must_use]
    pub fn journal_options(mut self, options: JournalOptions) -> Self {
        self.journal = options;
        self
    }

    /// How many calls of a [`Resource`] run at once: prepares, and apart from them decisions. At least one each.
    #[must_use]
    pub fn concurrency(mut self, prepares: usize, decisions: usize) -> Self {
        self.concurrency = Concurrency {
            prepares: prepares.max(1),
            decisions: decisions.max(1),
        };
        self
    }

    /// A system with prepared transactions of its own takes part.
    pub fn resource<R: Resource>(self, resource: R) -> Participant<Native<R>> {
        let engine = Native::new(resource, self.concurrency);
        Participant::new(engine, self.resource, self.addresses, self.session)
    }

    /// A staged service takes part; its journal is in `directory`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`ParticipantError::Journal`] if the directory is held by another process, or does not check out.
    pub async fn staged<S: Staged>(
        self,
        staged: S,
        directory: impl AsRef<Path>,
    ) -> Result<Participant<Journal<S, RealDisk>>, ParticipantError> {
        let disk = std::fs::create_dir_all(&directory).and_then(|()| RealDisk::open(&directory));
        let disk = disk.map_err(|error| JournalError::Directory {
            directory: directory.as_ref().display().to_string(),
            message: error.to_string(),
        })?;
        self.staged_on(staged, disk).await
    }

    /// A staged service takes part, with its journal on this disk.
    ///
    /// # Errors
    /// Those of [`Builder::staged`].
    pub async fn staged_on<S: Staged, D: Disk>(
        self,
        staged: S,
        disk: D,
    ) -> Result<Participant<Journal<S, D>>, ParticipantError> {
        let journal = Journal::open(staged, disk, self.journal).await?;
        Ok(Participant::new(
            journal,
            self.resource,
            self.addresses,
            self.session,
        ))
    }
}
