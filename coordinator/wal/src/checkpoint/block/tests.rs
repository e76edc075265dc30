use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn block_headers_round_trip(
        log_id: LogId, footer: bool, index: u32, bytes in 0..MAX_BLOCK_BYTES as u32, records: u32, crc: u32,
    ) {
        let key = Key::of_file(&log_id, Lsn(3));
        let kind = if footer { Kind::Footer } else { Kind::Chunk };
        let header = BlockHeader { kind, index, bytes, records, crc };
        let encoded = header.encode(key);
        prop_assert_eq!(BlockHeader::decode(&encoded, key, index), Some(header));
        prop_assert_eq!(BlockHeader::decode(&encoded, key, index ^ 1), None);
        prop_assert_eq!(BlockHeader::decode(&encoded, Key::of_file(&log_id, Lsn(4)), index), None);
    }

    #[test]
    fn file_headers_round_trip(log_id: LogId, through: u64) {
        let encoded = encode_file_header(&log_id, Lsn(through));
        prop_assert_eq!(check_file_header(&encoded, &log_id, Lsn(through)), Ok(()));
        prop_assert!(check_file_header(&encoded, &log_id, Lsn(through ^ 1)).is_err());
    }
}
