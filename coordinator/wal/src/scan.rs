//! Reading one segment from front to back, and judging where it ends.

mod verdict;

use crate::frame::{self, FRAME_HEADER_BYTES, FrameHeader, Kind, Records, SECTOR_BYTES, SECTOR_TAG};
use crate::identity::{Key, LogId};
use crate::reader::Reader;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::{Disk, Fault, Lsn, Problem, Result, names};
use verdict::{Aftermath, Header, Payload, Verdict, judge};

/// What one segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: String,
    /// The LSN of the first record, present or to come.
    pub first: Lsn,
    /// The LSN of the last record; the one before `first` if there is none.
    pub last: Lsn,
    /// Batches, the seal not counted.
    pub frames: u64,
    /// Records.
    pub records: u64,
    /// Bytes in use from the beginning of the file, headers and padding included.
    pub bytes: u64,
    /// The length of the file.
    pub segment_bytes: u64,
    /// How it ends.
    pub tail: Tail,
    /// Where the last frame lies, the seal included. It may be in the page cache only.
    pub(crate) last_frame: Option<(u64, u64)>,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With zeros that wait to be written.
    Open,
    /// With a seal: the next segment exists.
    Sealed,
    /// With the remains of a write that was never acknowledged. The next start cuts them.
    Torn {
        /// Where they begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
    /// With something that stops the start.
    Damaged,
}

/// What is called with each record.
pub(crate) type VisitRecord<'a> = dyn FnMut(Lsn, &[u8]) + Send + 'a;

/// Reads the segment that begins with `first`. A problem found is part of the result, and so is a file that cannot be read.
pub(crate) async fn scan_segment<D: Disk>(
    disk: &D,
    log_id: &LogId,
    first: Lsn,
    visit: &mut VisitRecord<'_>,
) -> Result<(SegmentReport, Option<Problem>)> {
    let file = names::segment(first);
    let mut report = SegmentReport {
        file: file.clone(),
        first,
        last: first.previous(),
        frames: 0,
        records: 0,
        bytes: SEGMENT_HEADER_BYTES,
        segment_bytes: 0,
        tail: Tail::Damaged,
        last_frame: None,
    };
    let problem = match Reader::open(disk, &file).await {
        Ok(reader) => {
            report.segment_bytes = reader.file_bytes();
            let mut scan = Scan {
                reader,
                key: Key::of_file(log_id, first),
                segment_bytes: 0,
                raw: Vec::new(),
            };
            let scanned = scan.whole(log_id, &mut report, visit).await;
            match scanned {
                Ok(problem) => problem,
                Err(error) => {
                    report.tail = Tail::Damaged;
                    Some((scan.reader.asked_at(), Fault::of_reading(error)?))
                }
            }
        }
        Err(error) => Some((0, Fault::of_reading(error)?)),
    };
    let problem = problem.map(|(offset, fault)| Problem { file, offset, fault });
    Ok((report, problem))
}

type Located = (u64, Fault);

struct Scan<'a, D> {
    reader: Reader<'a, D>,
    key: Key,
    segment_bytes: u64,
    raw: Vec<u8>,
}

impl<D: Disk> Scan<'_, D> {
    async fn whole(
        &mut self,
        log_id: &LogId,
        report: &mut SegmentReport,
        visit: &mut VisitRecord<'_>,
    ) -> Result<Option<Located>> {
        match self.header(log_id, report.first).await? {
            Ok(()) => self.frames(report, visit).await,
            Err(problem) => Ok(Some(problem)),
        }
    }

    async fn header(&mut self, log_id: &LogId, first: Lsn) -> Result<std::result::Result<(), Located>> {
        let found = self.reader.file_bytes();
        let block = self.reader.slice(0, SEGMENT_HEADER_BYTES as usize).await?;
        Ok(SegmentHeader::decode(block, log_id, first).and_then(|header| {
            self.segment_bytes = header.segment_bytes;
            if found == header.segment_bytes {
                Ok(())
            } else {
                Err((
                    found,
                    Fault::SegmentLength {
                        expected: header.segment_bytes,
                        found,
                    },
                ))
            }
        }))
    }

    /// Reads frame after frame until the segment ends in one way or another.
    async fn frames(
        &mut self,
        report: &mut SegmentReport,
        visit: &mut VisitRecord<'_>,
    ) -> Result<Option<Located>> {
        loop {
            let expected = report.last.next();
            match self.at(report.bytes, expected).await? {
                Verdict::Frame(header) => {
                    report.last_frame = Some((header.offset, header.end()));
                    report.bytes = header.end();
                    if header.kind == Kind::Seal {
                        report.tail = Tail::Sealed;
                        return self.nothing_follows(report).await;
                    }
                    if let Err(fault) = self.records(&header, visit) {
                        return Ok(Some((header.offset, fault)));
                    }
                    report.frames += 1;
                    report.records += u64::from(header.records);
                    report.last = report.last.advance(u64::from(header.records));
                }
                Verdict::End => {
                    report.tail = Tail::Open;
                    return Ok(None);
                }
                Verdict::Torn { to } => {
                    report.tail = Tail::Torn {
                        from: report.bytes,
                        to,
                    };
                    return Ok(None);
                }
                Verdict::Corrupt(offset, fault) => return Ok(Some((offset, fault))),
            }
        }
    }

    /// Gathers the evidence about what stands at `offset`, and judges it.
    async fn at(&mut self, offset: u64, expected: Lsn) -> Result<Verdict> {
        if offset + FRAME_HEADER_BYTES > self.segment_bytes {
            return Ok(Verdict::End);
        }
        let (key, segment_bytes) = (self.key, self.segment_bytes);
        let bytes = self.reader.slice(offset, FRAME_HEADER_BYTES as usize).await?;
        let header = match FrameHeader::decode(bytes, key, offset) {
            None if bytes.iter().all(|byte| *byte == 0) => Header::Zero,
            Some(header) if header.end() <= segment_bytes => Header::Sound(header),
            _ => Header::Damaged,
        };
        let payload = match &header {
            Header::Sound(header) => self.payload(header).await?,
            Header::Zero | Header::Damaged => Payload::Absent,
        };
        let aftermath = match (&header, payload) {
            (Header::Sound(_), Payload::Sound) | (Header::Damaged, _) => Aftermath::default(),
            (Header::Sound(header), _) => self.aftermath(offset, Some(header), expected).await?,
            (Header::Zero, _) => self.aftermath(offset, None, expected).await?,
        };
        Ok(judge(offset, expected, header, payload, aftermath))
    }

    async fn payload(&mut self, header: &FrameHeader) -> Result<Payload> {
        let key = self.key;
        let stored = (header.end() - header.payload_at()) as usize;
        let bytes = self.reader.slice(header.payload_at(), stored).await?;
        let (payload, padding) = bytes.split_at((header.payload_bytes as usize).min(bytes.len()));
        if key.crc(payload) != header.payload_crc {
            return Ok(Payload::Damaged);
        }
        let stray = padding.iter().position(|byte| *byte != 0);
        frame::strip_tags(header.payload_at(), payload, &mut self.raw);
        Ok(match stray {
            None => Payload::Sound,
            Some(at) => Payload::PaddingDamaged(header.payload_at() + (payload.len() + at) as u64),
        })
    }

    /// Hands the records of a sound frame to the visitor, once it is sure that there are as many as the header says.
    fn records(&self, header: &FrameHeader, visit: &mut VisitRecord<'_>) -> std::result::Result<(), Fault> {
        let mut found = 0;
        for record in Records::new(&self.raw) {
            record?;
            found += 1;
        }
        if found != header.records || found == 0 {
            return Err(Fault::PayloadDamaged);
        }
        let mut lsn = header.first;
        for record in Records::new(&self.raw) {
            visit(lsn, record?);
            lsn = lsn.next();
        }
        Ok(())
    }

    /// Looks at everything behind a place where no sound frame stands: what an interrupted write of `frame` (of any
    /// frame, if its header never arrived) could have left there, and what it could not.
    async fn aftermath(
        &mut self,
        offset: u64,
        frame: Option<&FrameHeader>,
        expected: Lsn,
    ) -> Result<Aftermath> {
        let (key, segment_bytes) = (self.key, self.segment_bytes);
        let payload_end = frame.map_or(segment_bytes, |frame| {
            frame.payload_at() + u64::from(frame.payload_bytes)
        });
        let frame_end = frame.map_or(offset, FrameHeader::end);
        let first_sector_end = (offset + 1).next_multiple_of(SECTOR_BYTES);
        let mut aftermath = Aftermath::default();
        let mut at = offset;
        while at < segment_bytes {
            let end = (at + 1).next_multiple_of(SECTOR_BYTES).min(segment_bytes);
            let sector = self.reader.slice(at, (end - at) as usize).await?;
            if is_zero(sector) {
                aftermath.lost_sector |= at >= first_sector_end && at < payload_end;
                at = end;
                continue;
            }
            let last = sector.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            aftermath.remains_end = at + last as u64 + 1;

            // The sector of the header arrives with the header or not at all; every other one begins with a tag.
            let stray = if at < first_sector_end {
                frame
                    .is_none()
                    .then(|| sector.iter().position(|byte| *byte != 0).unwrap_or(0))
            } else if at >= payload_end || sector[0] != SECTOR_TAG {
                Some(0)
            } else {
                None
            };
            let beyond = payload_end.saturating_sub(at) as usize;
            let stray = stray
                .or_else(|| (last >= beyond).then_some(last))
                .map(|position| at + position as u64);
            aftermath.stray = aftermath.stray.or(stray);

            let boundaries = (at..end)
                .step_by(FRAME_HEADER_BYTES as usize)
                .filter(|boundary| *boundary >= frame_end);
            for boundary in boundaries {
                let header = FrameHeader::decode(&sector[(boundary - at) as usize..], key, boundary);
                if aftermath.later.is_none()
                    && header.is_some_and(|header| header.previous_durable >= expected)
                {
                    aftermath.later = Some(boundary);
                }
            }
            at = end;
        }
        Ok(aftermath)
    }

    async fn nothing_follows(&mut self, report: &mut SegmentReport) -> Result<Option<Located>> {
        let aftermath = self.aftermath(report.bytes, None, report.last.next()).await?;
        if aftermath.remains_end == 0 {
            return Ok(None);
        }
        report.tail = Tail::Damaged;
        Ok(Some((
            aftermath.stray.unwrap_or(aftermath.remains_end - 1),
            Fault::StrayBytes,
        )))
    }
}

fn is_zero(sector: &[u8]) -> bool {
    const ZERO: [u8; SECTOR_BYTES as usize] = [0; SECTOR_BYTES as usize];
    sector == &ZERO[..sector.len()]
}

#[cfg(test)]
mod tests;
