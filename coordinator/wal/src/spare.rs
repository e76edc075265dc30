//! The reserve: the next segment, already on the disk, so that a full disk still lets decided work finish.

use crate::identity::LogId;
use crate::reader::Reader;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::{Disk, Lsn, Result, WalError, names, retired};

/// Zeros are written and synced in pieces, because commits wait for the disk meanwhile, each for one piece. A piece of this
/// size takes little longer than a commit; one of 4 MiB takes some thirty times as long.
const CHUNK_BYTES: u64 = 256 << 10;

/// Of a segment's bytes, one in so many is left to others when room for the next one is taken: a checkpoint needs some, and so do
/// those who share the disk.
const MARGIN_PART: u64 = 8;

/// What became of a spare that can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// It is there.
    Made,
    /// The disk has too little room, and said so before anything was written.
    TooLittleRoom,
    /// The disk has too little room, which showed when it was full.
    Filled,
}

/// [`make`], while the open segment still takes records: a disk that can tell that it has too little room is not filled for nothing.
pub(crate) async fn try_to_make<D: Disk>(disk: &D, segment_bytes: u64) -> Result<Try> {
    let wanted = segment_bytes + segment_bytes / MARGIN_PART;
    let unfinished = begin(disk, segment_bytes).await?;
    if unfinished == Unfinished::Absent && disk.available().await.is_some_and(|room| room < wanted) {
        // Those of another length are of no use here, and their space may be.
        retired::free_unfit(disk, segment_bytes).await?;
        return Ok(Try::TooLittleRoom);
    }
    match fill(disk, segment_bytes).await {
        Ok(()) => Ok(Try::Made),
        Err(WalError::OutOfSpace { .. }) => Ok(Try::Filled),
        Err(error) => Err(error),
    }
}

/// Makes the spare, of a retired segment if there is one. Writing zeros reserves the blocks, and later writes change no
/// metadata that a sync must flush. Without room nothing stays behind, and [`WalError::OutOfSpace`] says so.
pub(crate) async fn make<D: Disk>(disk: &D, segment_bytes: u64) -> Result<()> {
    begin(disk, segment_bytes).await?;
    fill(disk, segment_bytes).await
}

#[derive(PartialEq, Eq)]
enum Unfinished {
    /// It has its blocks already.
    Reused,
    Absent,
}

async fn begin<D: Disk>(disk: &D, segment_bytes: u64) -> Result<Unfinished> {
    let unfinished = names::SPARE_UNFINISHED;
    remove_if_present(disk, unfinished).await?;
    Ok(match retired::reuse(disk, segment_bytes, unfinished).await? {
        true => Unfinished::Reused,
        false => Unfinished::Absent,
    })
}

async fn fill<D: Disk>(disk: &D, segment_bytes: u64) -> Result<()> {
    let unfinished = names::SPARE_UNFINISHED;
    let mut zeros = vec![0; CHUNK_BYTES.min(segment_bytes) as usize];
    let mut at = 0;
    while at < segment_bytes {
        zeros.resize(CHUNK_BYTES.min(segment_bytes - at) as usize, 0);
        match disk.write_sync(unfinished, at, zeros).await {
            Ok(buffer) => zeros = buffer,
            Err(error) => {
                let error = WalError::io("reserve", names::SPARE)(error);
                if matches!(error, WalError::OutOfSpace { .. }) {
                    remove_if_present(disk, unfinished).await?;
                    // Those of another length are of no use here, and their space may be.
                    retired::free_unfit(disk, segment_bytes).await?;
                }
                return Err(error);
            }
        }
        at += zeros.len() as u64;
    }
    disk.rename(unfinished, names::SPARE)
        .await
        .map_err(WalError::io("rename", unfinished))?;
    disk.sync_dir()
        .await
        .map_err(WalError::io("sync the directory of", names::SPARE))
}

/// Turns the spare into the segment that begins with `first`. The header is durable before the name is, so that a
/// segment never lacks its header.
pub(crate) async fn become_segment<D: Disk>(disk: &D, log_id: &LogId, header: SegmentHeader) -> Result<()> {
    let segment = names::segment(header.first);
    let block = header.encode(log_id);
    disk.write_sync(names::SPARE, 0, block)
        .await
        .map_err(WalError::io("write", names::SPARE))?;
    disk.rename(names::SPARE, &segment)
        .await
        .map_err(WalError::io("rename", names::SPARE))?;
    disk.sync_dir()
        .await
        .map_err(WalError::io("sync the directory of", &segment))
}

/// Whether a spare left by an earlier process can be used. Its header block does not matter: an interrupted rotation may
/// have written one, and the next rotation writes it whole. That spare must serve, because the disk may be full.
pub(crate) async fn is_usable<D: Disk>(disk: &D, segment_bytes: u64) -> Result<bool> {
    let mut reader = Reader::open(disk, names::SPARE).await?;
    Ok(reader.file_bytes() == segment_bytes && is_zero_behind_header(&mut reader).await?)
}

/// Whether the segment was made and nothing was ever written behind its header.
pub(crate) async fn is_empty_segment<D: Disk>(disk: &D, first: Lsn) -> Result<bool> {
    let name = names::segment(first);
    is_zero_behind_header(&mut Reader::open(disk, &name).await?).await
}

async fn is_zero_behind_header<D: Disk>(reader: &mut Reader<'_, D>) -> Result<bool> {
    const PIECE_BYTES: usize = 64 << 10;
    let mut at = SEGMENT_HEADER_BYTES;
    while at < reader.file_bytes() {
        let piece = reader.slice(at, PIECE_BYTES).await?;
        if piece.is_empty() || piece.iter().fold(0, |seen, byte| seen | byte) != 0 {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

pub(crate) async fn remove_if_present<D: Disk>(disk: &D, name: &str) -> Result<()> {
    match disk.remove(name).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(WalError::io("remove", name)(error))
        }
        _ => Ok(()),
    }
}
