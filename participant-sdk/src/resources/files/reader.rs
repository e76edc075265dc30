//! Reading files so that a transaction is seen as a whole, while it comes into place and after a crash in the middle of it.

use std::io;
use std::path::{Path, PathBuf};

use super::layout::{self, CURRENT, Current, STAGED};
use super::storage::{RealStorage, Storage};

/// How often a read is begun again because a commit came in between.
const MAX_TRIES: u32 = 1_000;

/// Reads what transactions have written below a root. Needs no coordinator, no agent, and no right to write.
///
/// The convention, for readers in other languages:
///
/// 1. Read `.handfast/CURRENT`, which is replaced as a whole: a `sequence`, and `files` with `path` and `staged`.
/// 2. Read each path that it lists from `.handfast/staged/<staged>`; if that is not there (any more), from the path itself.
///    Read every other path from itself.
/// 3. Read `.handfast/CURRENT` again. If its `sequence` has changed, begin anew.
///
/// Whoever reads a path without the convention sees the file before or after a transaction, never half of it, but may see one
/// file of a transaction before another.
#[derive(Clone, Debug)]
pub struct FilesReader {
    root: PathBuf,
}

impl FilesReader {
    /// A reader of this root.
    pub fn new(root: impl AsRef<Path>) -> Self {
        FilesReader {
            root: root.as_ref().to_owned(),
        }
    }

    /// The contents of these files at one moment; `None` for a file that does not exist then.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::InvalidInput`] for a path that leads out of the root;
    /// [`io::ErrorKind::WouldBlock`] if commits come faster than the files can be read.
    pub fn read(&self, paths: &[&str]) -> io::Result<Vec<Option<Vec<u8>>>> {
        for path in paths {
            layout::check_path(path)
                .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal.message))?;
        }
        read(&RealStorage::new(&self.root), paths)
    }
}

pub(super) fn read(storage: &impl Storage, paths: &[&str]) -> io::Result<Vec<Option<Vec<u8>>>> {
    for _ in 0..MAX_TRIES {
        let before = current(storage)?;
        let contents = paths
            .iter()
            .map(
                |path| match before.files.iter().find(|file| file.path == **path) {
                    Some(file) => match storage.read(&format!("{STAGED}/{}", file.staged))? {
                        Some(contents) => Ok(Some(contents)),
                        None => storage.read(path),
                    },
                    None => storage.read(path),
                },
            )
            .collect::<io::Result<_>>()?;
        if current(storage)?.sequence == before.sequence {
            return Ok(contents);
        }
    }
    let message = format!("commits came in between {MAX_TRIES} times; read fewer files at once");
    Err(io::Error::new(io::ErrorKind::WouldBlock, message))
}

/// The last commit; the beginning, if there was none.
pub(super) fn current(storage: &impl Storage) -> io::Result<Current> {
    match storage.read(CURRENT)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        None => Ok(Current::default()),
    }
}
