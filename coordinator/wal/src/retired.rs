//! Segments that the log needs no more, kept for the next spares.
//!
//! A file system takes its time to give the blocks of a removed file back, and to find new ones for the next: where it passes
//! discards on to the device, commits were seen to wait a fifth of the time for removals alone. What is written over has
//! its blocks already.

use std::io::ErrorKind;

use crate::names::{self, Listing};
use crate::spare::remove_if_present;
use crate::{Disk, Lsn, Result, WalError};

/// How many are kept. More than the log fills between two checkpoints are of no use.
pub(crate) const KEPT: usize = 4;

/// Takes a segment out of the log, for good once the directory is synced. It is removed if enough are `kept` already, if it
/// has another length than the next ones, and if it cannot be renamed.
pub(crate) async fn retire<D: Disk>(disk: &D, first: Lsn, segment_bytes: u64, kept: usize) -> Result<()> {
    let segment = names::segment(first);
    let fits = kept < KEPT && disk.len(&segment).await.is_ok_and(|bytes| bytes == segment_bytes);
    if fits && disk.rename(&segment, &names::retired(first)).await.is_ok() {
        return Ok(());
    }
    remove_if_present(disk, &segment).await
}

/// Gives a retired segment of this length the name `to`; false if there is none. It still holds what it held.
pub(crate) async fn reuse<D: Disk>(disk: &D, segment_bytes: u64, to: &str) -> Result<bool> {
    for name in list(disk).await?.retired() {
        let renamed = match disk.len(name).await {
            Ok(bytes) if bytes != segment_bytes => continue,
            Ok(_) => disk.rename(name, to).await,
            Err(error) => Err(error),
        };
        match renamed {
            Ok(()) => {}
            // A checkpoint that found the disk full has removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(WalError::io("rename", name)(error)),
        }
        // Before anything is written over it: a crash must not bring back the segment that it was.
        disk.sync_dir()
            .await
            .map_err(WalError::io("sync the directory of", to))?;
        return Ok(true);
    }
    Ok(false)
}

/// Gives the space of those back that have another length. One that fits may have been retired just now.
pub(crate) async fn free_unfit<D: Disk>(disk: &D, segment_bytes: u64) -> Result<()> {
    for name in list(disk).await?.retired() {
        if disk.len(name).await.is_ok_and(|bytes| bytes != segment_bytes) {
            remove_if_present(disk, name).await?;
        }
    }
    Ok(())
}

/// Gives the space of all of them back.
pub(crate) async fn free<D: Disk>(disk: &D) -> Result<()> {
    for name in list(disk).await?.retired() {
        remove_if_present(disk, name).await?;
    }
    Ok(())
}

async fn list<D: Disk>(disk: &D) -> Result<Listing> {
    let names = disk.list().await;
    Ok(Listing::of(names.map_err(WalError::io("list", "the directory"))?))
}
