use proptest::prelude::*;

use super::*;

const KEY_OF: [u8; 16] = *b"a log id in test";

fn key() -> Key {
    Key::of_file(&KEY_OF, Lsn(9))
}

fn places() -> impl Strategy<Value = u64> {
    (0u64..40).prop_map(|place| 4096 + place * FRAME_HEADER_BYTES)
}

fn batches() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let bytes = prop_oneof![Just(0u8), any::<u8>()];
    prop::collection::vec(prop::collection::vec(bytes, 0..1500), 1..6)
}

fn raw_of(records: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = Vec::new();
    records.iter().for_each(|record| push_record(&mut raw, record));
    raw
}

proptest! {
    #[test]
    fn a_batch_round_trips_at_every_place(offset in places(), records in batches(), previous in 0u64..u64::MAX - 10) {
        let mut frame = Vec::new();
        encode_batch(&mut frame, key(), offset, Lsn(previous), records.len() as u32, &raw_of(&records));

        let header = FrameHeader::decode(&frame, key(), offset).unwrap();
        prop_assert_eq!(header.kind, Kind::Batch);
        prop_assert_eq!((header.first, header.previous_durable), (Lsn(previous + 1), Lsn(previous)));
        prop_assert_eq!(header.end(), offset + frame.len() as u64);
        prop_assert_eq!(header.records as usize, records.len());

        let payload = &frame[64..64 + header.payload_bytes as usize];
        prop_assert_eq!(key().crc(payload), header.payload_crc);
        let mut raw = Vec::new();
        strip_tags(header.payload_at(), payload, &mut raw);
        let read: Vec<Vec<u8>> = Records::new(&raw).map(|record| record.unwrap().to_vec()).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn no_sector_of_a_frame_is_all_zero(offset in places(), lengths in prop::collection::vec(0usize..3000, 1..5)) {
        let records: Vec<Vec<u8>> = lengths.into_iter().map(|length| vec![0; length]).collect();
        let mut frame = Vec::new();
        encode_batch(&mut frame, key(), offset, Lsn(0), records.len() as u32, &raw_of(&records));
        let mut at = offset;
        let end = offset + frame.len() as u64;
        while at < end {
            let next = (at + 1).next_multiple_of(SECTOR_BYTES).min(end);
            let sector = &frame[(at - offset) as usize..(next - offset) as usize];
            prop_assert!(sector.iter().any(|byte| *byte != 0), "sector at {}", at);
            at = next;
        }
    }

    #[test]
    fn what_fits_is_exactly_what_fits(place in places(), room in 0u64..5000) {
        let payload_at = place + FRAME_HEADER_BYTES;
        let raw = raw_bytes_that_fit(payload_at, room) as u64;
        prop_assert!(stored_bytes(payload_at, raw) <= room);
        prop_assert!(stored_bytes(payload_at, raw + 1) > room);
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(FrameHeader::decode(&bytes, key(), 4096), None);
        let _ = Records::new(&bytes).count();
        let mut raw = Vec::new();
        strip_tags(4096 + 64, &bytes, &mut raw);
    }

    #[test]
    fn whole_records_stop_at_the_limit(records in batches(), limit in 0usize..8000) {
        let raw = raw_of(&records);
        let (bytes, count) = whole_records_within(&raw, limit);
        prop_assert!(bytes <= limit);
        let next = records.get(count as usize);
        prop_assert!(next.is_none_or(|record| bytes + RECORD_LENGTH_BYTES + record.len() > limit));
        prop_assert_eq!(Records::new(&raw[..bytes]).flatten().count(), count as usize);
    }
}

#[test]
fn a_header_is_bound_to_its_log_segment_and_place() {
    let seal = encode_seal(key(), 4096, Lsn(12));
    assert!(FrameHeader::decode(&seal, key(), 4096).is_some_and(|header| header.kind == Kind::Seal));
    assert_eq!(FrameHeader::decode(&seal, key(), 4160), None);
    assert_eq!(
        FrameHeader::decode(&seal, Key::of_file(&KEY_OF, Lsn(10)), 4096),
        None
    );
    assert_eq!(
        FrameHeader::decode(&seal, Key::of_file(b"another log id..", Lsn(9)), 4096),
        None
    );
}

/// The layout is a promise to logs that exist: a change of it is a new format version.
#[test]
fn the_bytes_of_a_small_frame() {
    let mut frame = Vec::new();
    encode_batch(
        &mut frame,
        key(),
        4096,
        Lsn(8),
        2,
        &raw_of(&[b"ab".to_vec(), b"".to_vec()]),
    );
    assert_eq!(frame.len(), 128);
    assert_eq!(&frame[0..8], b"HFFR\x01\0\0\0");
    assert_eq!(&frame[8..16], [10, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(
        &frame[16..40],
        [
            [9, 0, 0, 0, 0, 0, 0, 0],
            [8, 0, 0, 0, 0, 0, 0, 0],
            [0, 16, 0, 0, 0, 0, 0, 0]
        ]
        .concat()
    );
    assert_eq!(&frame[44..60], [0; 16]);
    assert_eq!(&frame[64..74], [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
    assert_eq!(&frame[74..], [0; 54]);
}
