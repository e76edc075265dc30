//! The verdict table, row by row and then whole.

use super::*;
use crate::frame;
use crate::scan::verdict::{Aftermath, Header, Payload, Verdict, judge};

const OFFSET: u64 = 4096;
const EXPECTED: Lsn = Lsn(5);

fn sound() -> FrameHeader {
    let seal = frame::encode_seal(Key::of_file(&[7; 16], Lsn(1)), OFFSET, EXPECTED.previous());
    FrameHeader::decode(&seal, Key::of_file(&[7; 16], Lsn(1)), OFFSET).unwrap()
}

fn nothing() -> Aftermath {
    Aftermath::default()
}

fn remains() -> Aftermath {
    Aftermath {
        remains_end: 6000,
        ..nothing()
    }
}

#[test]
fn each_row_of_the_table() {
    let header = Header::Sound(sound());
    let lost = Aftermath {
        lost_sector: true,
        ..remains()
    };
    let (later, stray) = (Some(7040), Some(7050));
    let rows = [
        (
            "sound",
            header,
            Payload::Sound,
            nothing(),
            Verdict::Frame(sound()),
        ),
        (
            "padding",
            header,
            Payload::PaddingDamaged(4200),
            nothing(),
            Verdict::Corrupt(4200, Fault::StrayBytes),
        ),
        (
            "changed bytes",
            header,
            Payload::Damaged,
            remains(),
            Verdict::Corrupt(OFFSET, Fault::PayloadDamaged),
        ),
        (
            "durable once",
            header,
            Payload::Damaged,
            Aftermath { later, ..lost },
            Verdict::Corrupt(OFFSET, Fault::Hole { later: 7040 }),
        ),
        (
            "no trace of a write",
            header,
            Payload::Damaged,
            Aftermath { stray, ..lost },
            Verdict::Corrupt(7050, Fault::StrayBytes),
        ),
        ("torn", header, Payload::Damaged, lost, Verdict::Torn { to: 6000 }),
        (
            "no header",
            Header::Damaged,
            Payload::Absent,
            nothing(),
            Verdict::Corrupt(OFFSET, Fault::FrameHeaderDamaged),
        ),
        (
            "hole",
            Header::Zero,
            Payload::Absent,
            Aftermath { later, ..remains() },
            Verdict::Corrupt(OFFSET, Fault::Hole { later: 7040 }),
        ),
        (
            "stray",
            Header::Zero,
            Payload::Absent,
            Aftermath { stray, ..remains() },
            Verdict::Corrupt(7050, Fault::StrayBytes),
        ),
        (
            "torn without header",
            Header::Zero,
            Payload::Absent,
            remains(),
            Verdict::Torn { to: 6000 },
        ),
        ("end", Header::Zero, Payload::Absent, nothing(), Verdict::End),
    ];
    for (name, header, payload, aftermath, verdict) in rows {
        assert_eq!(
            judge(OFFSET, EXPECTED, header, payload, aftermath),
            verdict,
            "{name}"
        );
    }
}

#[test]
fn a_frame_out_of_order_is_never_taken_nor_cut() {
    for payload in [Payload::Sound, Payload::Damaged, Payload::PaddingDamaged(4200)] {
        let aftermath = Aftermath {
            lost_sector: true,
            ..remains()
        };
        let verdict = judge(OFFSET, Lsn(4), Header::Sound(sound()), payload, aftermath);
        assert_eq!(
            verdict,
            Verdict::Corrupt(
                OFFSET,
                Fault::OutOfSequence {
                    expected: Lsn(4),
                    found: Lsn(5)
                }
            )
        );
    }
}

/// Over every combination of evidence: what is taken is sound, and what is cut has lost a sector or its header, shows
/// nothing that an interrupted write cannot leave, and was never durable.
#[test]
fn every_combination_of_evidence_is_judged_safely() {
    let headers = [Header::Zero, Header::Damaged, Header::Sound(sound())];
    let payloads = [
        Payload::Absent,
        Payload::Damaged,
        Payload::PaddingDamaged(4200),
        Payload::Sound,
    ];
    let mut judged = 0;
    for header in headers {
        for payload in payloads {
            for bits in 0..16u32 {
                for expected in [EXPECTED, EXPECTED.next()] {
                    let bit = |index: u32| bits >> index & 1 == 1;
                    let aftermath = Aftermath {
                        lost_sector: bit(0),
                        stray: bit(1).then_some(7050),
                        later: bit(2).then_some(7040),
                        remains_end: if bit(3) || bit(1) || bit(2) { 7100 } else { 0 },
                    };
                    judged += 1;
                    match judge(OFFSET, expected, header, payload, aftermath) {
                        Verdict::Frame(_) => {
                            assert!(matches!(header, Header::Sound(header) if header.first == expected));
                            assert_eq!(payload, Payload::Sound);
                        }
                        Verdict::End => assert!(header == Header::Zero && aftermath.remains_end == 0),
                        Verdict::Torn { to } => {
                            assert!(aftermath.stray.is_none() && aftermath.later.is_none());
                            assert!(header == Header::Zero || aftermath.lost_sector);
                            assert!(
                                header != Header::Damaged && payload != Payload::Sound
                                    || header == Header::Zero
                            );
                            assert_eq!(to, aftermath.remains_end);
                        }
                        Verdict::Corrupt(at, _) => assert!(at >= OFFSET),
                    }
                }
            }
        }
    }
    assert_eq!(judged, 3 * 4 * 16 * 2);
}
