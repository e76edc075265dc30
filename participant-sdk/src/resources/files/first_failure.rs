//! The first failed sync is final for the process: what the disk dropped, a later sync would neither bring back nor tell of.

use std::sync::{Arc, OnceLock};

use super::storage::{Storage, SyncError, WriteError};
use super::tree::trouble;
use crate::resource::ResourceError;

/// Kept for as long as the resource, and over every opening of its root. Clones are handles on one of them.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstFailure(Arc<OnceLock<String>>);

impl FirstFailure {
    /// What failed, if something has.
    pub fn told(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Makes the names in a folder durable. Final is only what the disk has said: a folder that cannot be opened may be mended,
    /// and is then synced.
    pub fn sync(&self, storage: &mut impl Storage, folder: &str) -> Result<(), ResourceError> {
        storage.sync_folder(folder).map_err(|error| match error {
            SyncError::NotReached(error) => {
                trouble(&format!("opening the folder {folder:?} to sync it"), &error)
            }
            SyncError::Failed(error) => self.note_folder(folder, &error),
        })
    }

    /// The same, after a name among the resource's own files was changed. Not to reach the folder is final then, too: it
    /// already shows what this process does not know of, and only reading it anew brings both together.
    pub fn sync_change(&self, storage: &mut impl Storage, folder: &str) -> Result<(), ResourceError> {
        storage.sync_folder(folder).map_err(|error| match error {
            SyncError::NotReached(error) | SyncError::Failed(error) => self.note_folder(folder, &error),
        })
    }

    /// Makes or replaces a file with durable contents. A failed sync is the outer error, and final; what could not be written
    /// in the first place is the inner one, and may pass.
    pub fn write(
        &self,
        storage: &mut impl Storage,
        path: &str,
        contents: &[u8],
    ) -> Result<std::io::Result<()>, ResourceError> {
        match storage.write_synced(path, contents) {
            Ok(()) => Ok(Ok(())),
            Err(WriteError::NotWritten(error)) => Ok(Err(error)),
            Err(WriteError::NotSynced(error)) => Err(self.note(&format!("the contents of {path:?}"), &error)),
        }
    }

    fn note_folder(&self, folder: &str, error: &std::io::Error) -> ResourceError {
        self.note(&format!("the folder {folder:?}"), error)
    }

    fn note(&self, what: &str, error: &std::io::Error) -> ResourceError {
        let failure = || {
            format!(
                "syncing {what} failed: {error}; what the disk says from here on is not believed. Look at the disk, \
                 then start again"
            )
        };
        ResourceError::transient(self.0.get_or_init(failure).clone())
    }
}
