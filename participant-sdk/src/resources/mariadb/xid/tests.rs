use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, StoreId, TransactionId};
use proptest::prelude::*;

use super::{FORMAT_ID, bqual, decode, encode, gtrid, key, of_key};
use crate::resource::BranchKey;

fn branch_key(log: u128, milliseconds: u64, sequence: u32, branch: u32) -> BranchKey {
    BranchKey {
        log: LogId(log),
        transaction: TransactionId::new(milliseconds, Partition(0), Epoch(3), sequence),
        branch: BranchId(branch),
    }
}

proptest! {
    #[test]
    fn a_name_gives_back_its_branch_and_store(
        log: u128, milliseconds in 0..1u64 << 48, sequence: u32, branch: u32, store: u128
    ) {
        let branch = branch_key(log, milliseconds, sequence, branch);
        let (gtrid, bqual) = (gtrid(branch), bqual(StoreId(store), branch));
        prop_assert!(gtrid.len() <= 64 && bqual.len() <= 64);
        prop_assert_eq!(encode(StoreId(store), branch), format!("'{gtrid}','{bqual}',{FORMAT_ID}"));
        prop_assert_eq!(decode(FORMAT_ID, gtrid.as_bytes(), bqual.as_bytes()), Some((StoreId(store), branch)));
        prop_assert_eq!(of_key(&key(branch)), Some(branch));
    }

    #[test]
    fn whatever_is_read_is_spelled_the_one_way(ours in "[0-9a-fA-F+]{64}", theirs in "[0-9a-fA-F+]{40}") {
        if let Some((store, branch)) = decode(FORMAT_ID, ours.as_bytes(), theirs.as_bytes()) {
            prop_assert_eq!((gtrid(branch), bqual(store, branch)), (ours, theirs));
        }
    }
}

#[test]
fn names_of_others_are_not_ours() {
    let branch = branch_key(7, 1, 2, 0);
    let (ours, theirs) = (gtrid(branch), bqual(StoreId(9), branch));
    for (format_id, gtrid, bqual) in [
        (FORMAT_ID + 1, ours.as_str(), theirs.as_str()),
        (FORMAT_ID, "", ""),
        (FORMAT_ID, "g", "b"),
        (FORMAT_ID, &ours[1..], &theirs),
        (FORMAT_ID, &ours, &theirs[1..]),
        (FORMAT_ID, &format!("{ours}{}", &theirs[..1]), &theirs[1..]),
        (FORMAT_ID, &ours.replace('7', "G"), &theirs),
        (FORMAT_ID, &ours, &theirs.replacen('0', "é", 1)),
        (FORMAT_ID, &ours, &format!("+{}", &theirs[1..])),
    ] {
        assert_eq!(
            decode(format_id, gtrid.as_bytes(), bqual.as_bytes()),
            None,
            "{gtrid:?} {bqual:?}"
        );
    }
    assert_eq!(decode(FORMAT_ID, &[0xff; 64], theirs.as_bytes()), None);
}
