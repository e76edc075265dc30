//! Which store a root is, and how a copy of it is told from the original.

use std::path::Path;

use handfast_proto::ids::{Generation, StoreId};
use serde::{Deserialize, Serialize};

use super::first_failure::FirstFailure;
use super::layout::{BRANCHES, LAYOUT, LOCK, OWN, STAGED, STORE, UNFINISHED};
use super::storage::{Found, Storage};
use super::tree::trouble;
use crate::resource::{ResourceError, StoreIdentity};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    layout: u32,
    store: String,
    generation: u64,
    /// The number of the root in its file system. A copy of its files has another one; a copy of its blocks has not, and mount
    /// points all have the same.
    inode: u64,
}

/// Takes the root, makes what is missing, and reads who it is; also the number of its file system.
pub(super) fn establish(
    storage: &mut impl Storage,
    root: &Path,
    new_store: StoreId,
    failure: &FirstFailure,
) -> Result<(StoreIdentity, u64), ResourceError> {
    let failed = |error| trouble(&format!("opening {}", root.display()), &error);
    let Found::Folder { device, inode } = storage.look("").map_err(failed)? else {
        return Err(ResourceError::permanent(format!(
            "{} is no folder; make it, or correct the path",
            root.display()
        )));
    };
    let denied = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ResourceError::permanent(format!(
                "{} cannot be written to: {error}; give this user the right to",
                root.display()
            ))
        }
        _ => failed(error),
    };
    storage.make_folder(OWN).map_err(denied)?;
    own_folders_are_sound(storage, root, device)?;
    failure.sync(storage, "")?;
    storage.lock(LOCK).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => ResourceError::permanent(format!(
            "another process has {} open; stop it first",
            root.display()
        )),
        _ => denied(error),
    })?;
    for folder in [BRANCHES, STAGED] {
        storage.make_folder(folder).map_err(denied)?;
    }
    own_folders_are_sound(storage, root, device)?;
    failure.sync(storage, OWN)?;
    let stored = match look_up(storage, root)? {
        Some(stored) => stored,
        None => {
            let stored = Stored {
                layout: LAYOUT,
                store: format!("{:032x}", new_store.0),
                generation: 1,
                inode,
            };
            let bytes = serde_json::to_vec(&stored).expect("texts and numbers can be written as JSON");
            let unfinished = format!("{STORE}{UNFINISHED}");
            failure
                .write(storage, &unfinished, &bytes)?
                .and_then(|()| storage.rename(&unfinished, STORE))
                .map_err(denied)?;
            failure.sync(storage, OWN)?;
            stored
        }
    };
    let store = u128::from_str_radix(&stored.store, 16).map_err(|error| {
        ResourceError::permanent(format!("the store id in {STORE} cannot be read: {error}"))
    })?;
    let identity = StoreIdentity {
        store: StoreId(store),
        generation: Generation(stored.generation),
        attached: true,
    };
    Ok((identity, device))
}

/// Whether the resource's own folders, as far as they are there, are folders on the file system of the root. A promise in
/// another one could not be kept: nothing is renamed from one file system into another.
pub(super) fn own_folders_are_sound(
    storage: &impl Storage,
    root: &Path,
    device: u64,
) -> Result<(), ResourceError> {
    for folder in [OWN, BRANCHES, STAGED] {
        let found = storage
            .look(folder)
            .map_err(|error| trouble(&format!("looking at {folder}"), &error))?;
        let what = match found {
            Found::Nothing => continue,
            Found::Folder { device: there, .. } if there == device => continue,
            Found::Folder { .. } => "is on another file system than the root",
            Found::File { .. } | Found::Other => "is no folder, or a link",
        };
        return Err(ResourceError::permanent(format!(
            "{} {what}, and files that are promised there could never be renamed into place; stop what made it so, and let it \
             be a folder of the root's own file system, with the files that were in it",
            root.join(folder).display()
        )));
    }
    Ok(())
}

/// What the identity says, in words; `None` before the first opening. Nothing is changed.
pub(super) fn describe(storage: &impl Storage, root: &Path) -> Result<Option<String>, ResourceError> {
    let stored = look_up(storage, root)?;
    Ok(stored.map(|stored| format!("{}, generation {}", stored.store, stored.generation)))
}

fn look_up(storage: &impl Storage, root: &Path) -> Result<Option<Stored>, ResourceError> {
    let failed = |error| trouble(&format!("reading {STORE}"), &error);
    let Some(bytes) = storage.read(STORE).map_err(failed)? else {
        return Ok(None);
    };
    let stored: Stored = serde_json::from_slice(&bytes)
        .map_err(|error| ResourceError::permanent(format!("{STORE} cannot be read: {error}")))?;
    if stored.layout != LAYOUT {
        return Err(ResourceError::permanent(format!(
            "{STORE} has layout {}, and this build reads layout {LAYOUT}; use the build that made it, or a later one",
            stored.layout
        )));
    }
    if let Found::Folder { inode, .. } = storage.look("").map_err(failed)?
        && inode != stored.inode
    {
        return Err(ResourceError::permanent(format!(
            "{} is a copy: its identity {} was made in a folder with number {}, and this one has {inode}. If the original \
             still exists, remove {OWN} here and use another resource name. If the original is gone for good and this takes \
             its place, write \"generation\":{} and \"inode\":{inode} into {STORE}",
            root.display(),
            stored.store,
            stored.inode,
            stored.generation + 1
        )));
    }
    Ok(Some(stored))
}
