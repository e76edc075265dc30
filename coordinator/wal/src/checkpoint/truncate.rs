//! Taking segments out of the log that checkpoints have made superfluous.

use super::KEPT_CHECKPOINTS;
use crate::latch::Latch;
use crate::names::Listing;
use crate::{Disk, Lsn, Result, WalError, retired};

/// What a truncation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// How many segments it took out of the log.
    pub segments: u64,
    /// The first record that is still in a segment, present or to come.
    pub first: Lsn,
}

/// Takes out of the log, oldest first, the segments that hold only records before `retain_from` which every kept checkpoint covers.
/// With fewer than two checkpoints nothing goes: should the only one turn out damaged, the log still holds everything.
pub(crate) async fn truncate<D: Disk>(
    disk: D,
    latch: Latch,
    segment_bytes: u64,
    retain_from: Lsn,
) -> Result<Truncated> {
    latch.check()?;
    remove_covered(&disk, segment_bytes, retain_from)
        .await
        .map_err(|error| latch.set(error))
}

async fn remove_covered<D: Disk>(disk: &D, segment_bytes: u64, retain_from: Lsn) -> Result<Truncated> {
    let sync_dir = || async {
        disk.sync_dir()
            .await
            .map_err(WalError::io("sync", "the directory"))
    };
    // A checkpoint whose name might not survive covers nothing.
    sync_dir().await?;
    let listing = Listing::of(disk.list().await.map_err(WalError::io("list", "the directory"))?);
    let covered = match listing.checkpoints.as_slice() {
        [oldest, ..] if listing.checkpoints.len() >= KEPT_CHECKPOINTS => *oldest,
        _ => Lsn::ZERO,
    };
    let mut truncated = Truncated {
        segments: 0,
        first: listing.segments.first().copied().unwrap_or(Lsn(1)),
    };
    let retired = listing.retired().count();
    for pair in listing.segments.windows(2) {
        let (first, next) = (pair[0], pair[1]);
        let last = next.previous();
        if last > covered || last >= retain_from {
            break;
        }
        let kept = retired + truncated.segments as usize;
        retired::retire(disk, first, segment_bytes, kept).await?;
        // One at a time, so that no crash can bring back a segment without its successor.
        sync_dir().await?;
        truncated = Truncated {
            segments: truncated.segments + 1,
            first: next,
        };
    }
    Ok(truncated)
}
