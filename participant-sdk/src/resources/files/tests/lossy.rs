//! A file system that loses whatever may be lost.
//!
//! Its faults: power off before any of its operations; after it, of the names, renames and removals that were not synced any
//! selection is kept, in their order; a folder that somebody takes away; a sync that fails, of names or of contents; another file
//! system mounted at a folder. The resource survives, because it says nothing that is not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::resources::files::layout::folder_of;
use crate::resources::files::storage::{Found, Storage, SyncError, WriteError};

type Names = BTreeMap<String, Vec<u8>>;

/// A change of names that is not synced yet. Contents are, before they get a name.
#[derive(Clone, Debug)]
enum Change {
    Write(String, Vec<u8>),
    Rename(String, String),
    Remove(String),
}

impl Change {
    /// Whether a sync of this folder makes it durable.
    fn is_of(&self, folder: &str) -> bool {
        match self {
            Change::Write(path, _) | Change::Remove(path) | Change::Rename(_, path) => {
                folder_of(path) == folder
            }
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Change::Write(path, contents) => {
                names.insert(path.clone(), contents.clone());
            }
            Change::Rename(from, to) => {
                if let Some(contents) = names.remove(from) {
                    names.insert(to.clone(), contents);
                }
            }
            Change::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Medium {
    durable: Names,
    volatile: Names,
    changes: Vec<Change>,
    folders: Vec<String>,
    /// A sync of this folder fails.
    failing_sync: Option<String>,
    /// Contents of files in this folder fail to be synced.
    failing_contents: Option<String>,
    /// Folders where another file system is mounted.
    mounted: Vec<String>,
    /// Operations that are still done; the rest finds the power off.
    left: Option<u32>,
    operations: u32,
}

/// Clones are handles on one medium.
#[derive(Clone, Debug, Default)]
pub struct Lossy(Arc<Mutex<Medium>>);

impl Lossy {
    pub fn new(folders: &[&str]) -> Self {
        let lossy = Lossy::default();
        lossy.medium().folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        lossy
    }

    /// From now on, contents of files in this folder fail to be synced.
    pub fn fail_contents(&self, folder: Option<&str>) {
        self.medium().failing_contents = folder.map(str::to_owned);
    }

    /// Another file system is mounted at this folder.
    pub fn mount(&self, folder: &str) {
        self.medium().mounted.push(folder.to_owned());
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }

    /// The power goes off after so many more operations.
    pub fn power_off_after(&self, operations: u32) {
        self.medium().left = Some(operations);
    }

    /// Somebody takes this folder away, with what is in it.
    pub fn take_away(&self, folder: &str) {
        let mut medium = self.medium();
        medium.folders.retain(|known| known != folder);
        medium.volatile.retain(|path, _| folder_of(path) != folder);
        medium.durable.retain(|path, _| folder_of(path) != folder);
    }

    /// The disk fails to sync this folder from now on, or again does not fail.
    pub fn fail_sync(&self, folder: Option<&str>) {
        self.medium().failing_sync = folder.map(str::to_owned);
    }

    /// Operations so far.
    pub fn operations(&self) -> u32 {
        self.medium().operations
    }

    /// Changes that a power loss may take.
    pub fn unsynced(&self) -> usize {
        self.medium().changes.len()
    }

    /// What is there after the power came back; bit `n` of `kept` says whether unsynced change `n` was kept.
    pub fn after_power_loss(&self, kept: u32) -> Lossy {
        let medium = self.medium();
        let mut names = medium.durable.clone();
        for (n, change) in medium.changes.iter().enumerate() {
            if kept & (1 << (n % 32)) != 0 {
                change.apply(&mut names);
            }
        }
        Lossy(Arc::new(Mutex::new(Medium {
            durable: names.clone(),
            volatile: names,
            folders: medium.folders.clone(),
            ..Medium::default()
        })))
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.step()?;
        let mut medium = self.medium();
        change.apply(&mut medium.volatile);
        medium.changes.push(change);
        Ok(())
    }

    fn step(&self) -> io::Result<()> {
        let mut medium = self.medium();
        match &mut medium.left {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        medium.operations += 1;
        Ok(())
    }
}

impl Storage for Lossy {
    fn look(&self, path: &str) -> io::Result<Found> {
        let medium = self.medium();
        Ok(if let Some(contents) = medium.volatile.get(path) {
            Found::File {
                bytes: contents.len() as u64,
            }
        } else if path.is_empty() || medium.folders.iter().any(|folder| folder == path) {
            let device = if medium.mounted.iter().any(|mounted| mounted == path) {
                2
            } else {
                1
            };
            Found::Folder { device, inode: 1 }
        } else {
            Found::Nothing
        })
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.medium().volatile.get(path).cloned())
    }

    fn write_synced(&mut self, path: &str, contents: &[u8]) -> Result<(), WriteError> {
        let fails = self.medium().failing_contents.as_deref() == Some(folder_of(path));
        // As a kernel does: the name is there, what was not written is dropped, and the next sync finds nothing to do.
        let kept = if fails { &[] } else { contents };
        self.change(Change::Write(path.to_owned(), kept.to_vec()))
            .map_err(WriteError::NotWritten)?;
        match fails {
            false => Ok(()),
            true => Err(WriteError::NotSynced(io::Error::other("the disk failed"))),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if !self.medium().volatile.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let folder = folder_of(to);
        if !folder.is_empty() && !self.medium().folders.iter().any(|known| known == folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.change(Change::Remove(path.to_owned()))
    }

    fn make_folder(&mut self, path: &str) -> io::Result<()> {
        let mut medium = self.medium();
        if !medium.folders.iter().any(|folder| folder == path) {
            medium.folders.push(path.to_owned());
        }
        Ok(())
    }

    fn sync_folder(&mut self, path: &str) -> Result<(), SyncError> {
        self.step().map_err(SyncError::Failed)?;
        let mut medium = self.medium();
        if !path.is_empty() && !medium.folders.iter().any(|folder| folder == path) {
            return Err(SyncError::NotReached(io::ErrorKind::NotFound.into()));
        }
        if medium.failing_sync.as_deref() == Some(path) {
            // As a kernel does: what was not written is dropped, and the next sync finds nothing to do.
            medium.changes.retain(|change| !change.is_of(path));
            return Err(SyncError::Failed(io::Error::other("the disk failed")));
        }
        let changes = std::mem::take(&mut medium.changes);
        let (synced, rest): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| change.is_of(path));
        for change in &synced {
            change.apply(&mut medium.durable);
        }
        medium.changes = rest;
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let medium = self.medium();
        let names = medium
            .volatile
            .keys()
            .filter(|name| folder_of(name) == path && !name.is_empty());
        Ok(names
            .map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
            .collect())
    }

    fn lock(&mut self, _path: &str) -> io::Result<()> {
        Ok(())
    }
}
