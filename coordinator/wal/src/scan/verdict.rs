//! What recovery makes of what it finds: one table, so that it can be read and tested whole.
//!
//! Only one frame is ever unsynced, sectors arrive whole or not at all, and no sector of a frame is all zero. So an
//! interrupted write can be told from damage, and whatever is no trace of an interrupted write is damage.

use crate::Lsn;
use crate::error::Fault;
use crate::frame::FrameHeader;

/// The bytes where a frame header belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Zero,
    /// Neither zero nor a header that was written at this place of this segment.
    Damaged,
    Sound(FrameHeader),
}

/// The bytes that a sound header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// There is no sound header to speak of any.
    Absent,
    Damaged,
    /// Sound, but followed by a nonzero byte at this offset, before the next frame could begin.
    PaddingDamaged(u64),
    Sound,
}

/// What stands behind the place of a frame that is not there or not sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Aftermath {
    /// A sector of the frame is all zero: it never arrived, or it was lost.
    pub lost_sector: bool,
    /// A nonzero byte that no interrupted write of this frame leaves.
    pub stray: Option<u64>,
    /// A sound frame that was written when records from here on were durable.
    pub later: Option<u64>,
    /// One past the last nonzero byte; 0 if there is none.
    pub remains_end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Frame(FrameHeader),
    End,
    /// Cut from here to there: never acknowledged.
    Torn {
        to: u64,
    },
    Corrupt(u64, Fault),
}

/// ```text
/// header    payload    evidence behind it            verdict
/// sound     sound      -                             the frame, if it is next in order; else corrupt
/// sound     sound      nonzero padding               corrupt
/// sound     damaged    no sector is all zero         corrupt: bytes changed
/// sound     damaged    a later frame                 corrupt: durable once
/// sound     damaged    a stray byte                  corrupt
/// sound     damaged    a zero sector, nothing else   torn
/// damaged   -          -                             corrupt: a header arrives whole
/// zero      -          a later frame                 corrupt: durable once
/// zero      -          a stray byte                  corrupt
/// zero      -          tagged sectors only           torn
/// zero      -          all zero                      the end
/// ```
pub(super) fn judge(
    offset: u64,
    expected: Lsn,
    header: Header,
    payload: Payload,
    aftermath: Aftermath,
) -> Verdict {
    let remains = match (aftermath.later, aftermath.stray) {
        (Some(later), _) => Verdict::Corrupt(offset, Fault::Hole { later }),
        (None, Some(stray)) => Verdict::Corrupt(stray, Fault::StrayBytes),
        (None, None) => Verdict::Torn {
            to: aftermath.remains_end,
        },
    };
    match (header, payload) {
        (Header::Damaged, _) => Verdict::Corrupt(offset, Fault::FrameHeaderDamaged),
        (Header::Zero, _) if aftermath.remains_end == 0 => Verdict::End,
        (Header::Zero, _) => remains,
        (Header::Sound(header), _) if header.first != expected => Verdict::Corrupt(
            offset,
            Fault::OutOfSequence {
                expected,
                found: header.first,
            },
        ),
        (Header::Sound(header), Payload::Sound) => Verdict::Frame(header),
        (Header::Sound(_), Payload::PaddingDamaged(at)) => Verdict::Corrupt(at, Fault::StrayBytes),
        (Header::Sound(_), Payload::Damaged | Payload::Absent) if !aftermath.lost_sector => {
            Verdict::Corrupt(offset, Fault::PayloadDamaged)
        }
        (Header::Sound(_), Payload::Damaged | Payload::Absent) => remains,
    }
}
