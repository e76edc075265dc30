//! Reading a checkpoint, every byte of which must check out.

use super::block::{self, BLOCK_HEADER_BYTES, BlockHeader, FILE_HEADER_BYTES, Kind, Totals};
use crate::frame::Records;
use crate::identity::{Key, LogId};
use crate::reader::Reader;
use crate::{Disk, Fault, Lsn, Problem, Result, names};

/// What one checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The file.
    pub file: String,
    /// It replaces the log through this record.
    pub through: Lsn,
    /// Its records that check out.
    pub records: u64,
    /// The length of the file.
    pub bytes: u64,
    /// Whether all of it checks out.
    pub sound: bool,
}

/// Reads the checkpoint named `through`. A problem found is part of the result, and so is a file that cannot be read.
pub(crate) async fn read_checkpoint<D: Disk>(
    disk: &D,
    log_id: &LogId,
    through: Lsn,
    visit: &mut (dyn FnMut(&[u8]) + Send + '_),
) -> Result<(CheckpointReport, Option<Problem>)> {
    let file = names::checkpoint(through);
    let mut report = CheckpointReport {
        file: file.clone(),
        through,
        records: 0,
        bytes: 0,
        sound: false,
    };
    let problem = match Reader::open(disk, &file).await {
        Ok(mut reader) => {
            report.bytes = reader.file_bytes();
            match read_whole(&mut reader, log_id, &mut report, visit).await {
                Ok(problem) => problem,
                Err(error) => Some((reader.asked_at(), Fault::of_reading(error)?)),
            }
        }
        Err(error) => Some((0, Fault::of_reading(error)?)),
    };
    report.sound = problem.is_none();
    Ok((
        report,
        problem.map(|(offset, fault)| Problem { file, offset, fault }),
    ))
}

async fn read_whole<D: Disk>(
    reader: &mut Reader<'_, D>,
    log_id: &LogId,
    report: &mut CheckpointReport,
    visit: &mut (dyn FnMut(&[u8]) + Send + '_),
) -> Result<Option<(u64, Fault)>> {
    let header = reader.slice(0, FILE_HEADER_BYTES).await?;
    match block::check_file_header(header, log_id, report.through) {
        Ok(()) => read_blocks(reader, Key::of_file(log_id, report.through), report, visit).await,
        Err(fault) => Ok(Some((0, fault))),
    }
}

async fn read_blocks<D: Disk>(
    reader: &mut Reader<'_, D>,
    key: Key,
    report: &mut CheckpointReport,
    visit: &mut (dyn FnMut(&[u8]) + Send + '_),
) -> Result<Option<(u64, Fault)>> {
    let mut at = FILE_HEADER_BYTES as u64;
    let mut totals = Totals::default();
    for index in 0.. {
        let damaged = Ok(Some((at, Fault::CheckpointDamaged)));
        let bytes = reader.slice(at, BLOCK_HEADER_BYTES).await?;
        let Some(header) = BlockHeader::decode(bytes, key, index) else {
            return damaged;
        };
        let payload = reader
            .slice(at + BLOCK_HEADER_BYTES as u64, header.bytes as usize)
            .await?;
        if payload.len() != header.bytes as usize || key.crc(payload) != header.crc {
            return damaged;
        }
        at += BLOCK_HEADER_BYTES as u64 + u64::from(header.bytes);
        if header.kind == Kind::Footer {
            if payload != totals.encode() {
                return damaged;
            }
            break;
        }
        if Records::new(payload).filter(|record| record.is_ok()).count() != header.records as usize {
            return damaged;
        }
        Records::new(payload).flatten().for_each(&mut *visit);
        totals.records += u64::from(header.records);
        totals.bytes += u64::from(header.bytes);
        report.records = totals.records;
    }
    // A checkpoint ends with its footer.
    Ok((at != reader.file_bytes()).then_some((at, Fault::CheckpointDamaged)))
}
