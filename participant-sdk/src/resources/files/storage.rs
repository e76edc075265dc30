//! What the resource asks of a file system: few operations, each with what a power loss may leave of it. Tests bring a file
//! system that loses everything that may be lost.
//!
//! What may be lost: of contents, everything that was not written by [`Storage::write_synced`]; of new names, renames and
//! removals, each by itself, until [`Storage::sync_folder`] of the folder of the new name (or of the name that went) has
//! returned. A rename is whole or has not happened, also between two folders of one file system, as journaling file systems
//! (ext4, XFS, Btrfs) promise.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is found under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Nothing,
    File {
        bytes: u64,
    },
    Folder {
        device: u64,
        inode: u64,
    },
    /// A link, a device, a socket.
    Other,
}

/// Why the names in a folder are not durable.
#[derive(Debug)]
pub(super) enum SyncError {
    /// The folder could not be opened. The disk was asked for nothing, so it dropped nothing.
    NotReached(io::Error),
    /// The disk was asked, and failed.
    Failed(io::Error),
}

/// Why a file is not there with durable contents.
#[derive(Debug)]
pub(super) enum WriteError {
    /// It could not be opened or written: what is there is a piece at best, and writing it anew may succeed.
    NotWritten(io::Error),
    /// It was written, the disk was asked to keep it, and failed.
    NotSynced(io::Error),
}

/// Paths are relative to the root; the root itself is the empty text.
pub(super) trait Storage: Send + 'static {
    /// What is there. Links are not followed.
    fn look(&self, path: &str) -> io::Result<Found>;

    /// All of a file; `None` if there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes or replaces a file. Its contents are durable when this returns; its name is not.
    fn write_synced(&mut self, path: &str, contents: &[u8]) -> Result<(), WriteError>;

    /// Gives a file another name, and replaces what is there.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; it is no error if there is none.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Makes a folder if there is none.
    fn make_folder(&mut self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&mut self, path: &str) -> Result<(), SyncError>;

    /// The names in a folder, in any order.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Keeps every other process away, for as long as the storage lives.
    fn lock(&mut self, path: &str) -> io::Result<()>;
}

/// A folder of a real file system.
#[derive(Debug)]
pub(super) struct RealStorage {
    root: PathBuf,
    lock: Option<File>,
}

impl RealStorage {
    pub fn new(root: &Path) -> Self {
        RealStorage {
            root: root.to_owned(),
            lock: None,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Storage for RealStorage {
    fn look(&self, path: &str) -> io::Result<Found> {
        let metadata = match std::fs::symlink_metadata(self.path(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            found => found?,
        };
        Ok(match () {
            () if metadata.is_file() => Found::File {
                bytes: metadata.len(),
            },
            () if metadata.is_dir() => Found::Folder {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
            () => Found::Other,
        })
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path(path)) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_synced(&mut self, path: &str, contents: &[u8]) -> Result<(), WriteError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(self.path(path))
            .and_then(|mut file| file.write_all(contents).map(|()| file))
            .map_err(WriteError::NotWritten)?;
        file.sync_all().map_err(WriteError::NotSynced)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn make_folder(&mut self, path: &str) -> io::Result<()> {
        match std::fs::create_dir(self.path(path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn sync_folder(&mut self, path: &str) -> Result<(), SyncError> {
        let folder = File::open(self.path(path)).map_err(SyncError::NotReached)?;
        folder.sync_all().map_err(SyncError::Failed)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path(path))?;
        let name =
            |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect()
    }

    fn lock(&mut self, path: &str) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(path))?;
        file.try_lock()?;
        self.lock = Some(file);
        Ok(())
    }
}
