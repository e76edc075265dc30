use proptest::prelude::*;

use super::*;
use crate::identity;

proptest! {
    #[test]
    fn headers_round_trip(log_id: LogId, first in 1u64.., segment_bytes: u64) {
        let header = SegmentHeader { first: Lsn(first), segment_bytes };
        let block = header.encode(&log_id);
        prop_assert_eq!(SegmentHeader::decode(&block, &log_id, Lsn(first)), Ok(header));
        prop_assert!(SegmentHeader::decode(&block, &log_id, Lsn(first ^ 1)).is_err());
        let mut other = log_id;
        other[3] ^= 1;
        prop_assert!(SegmentHeader::decode(&block, &other, Lsn(first)).is_err());
        prop_assert_eq!(identity::decode(&identity::encode(&log_id)), Ok(log_id));
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(SegmentHeader::decode(&bytes, &[0; 16], Lsn(1)).is_err());
        prop_assert!(identity::decode(&bytes).is_err());
    }
}
