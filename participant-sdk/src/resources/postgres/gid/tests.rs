use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use proptest::prelude::*;

use super::{decode, encode};
use crate::resource::BranchKey;

fn key(log: u128, milliseconds: u64, sequence: u32, branch: u32) -> BranchKey {
    BranchKey {
        log: LogId(log),
        transaction: TransactionId::new(milliseconds, Partition(0), Epoch(3), sequence),
        branch: BranchId(branch),
    }
}

proptest! {
    #[test]
    fn a_name_gives_back_its_branch(log: u128, milliseconds in 0..1u64 << 48, sequence: u32, branch: u32) {
        let key = key(log, milliseconds, sequence, branch);
        let gid = encode(key);
        prop_assert!(gid.len() < 200);
        prop_assert_eq!(decode(&gid), Some(key));
    }

    #[test]
    fn whatever_is_read_is_spelled_the_one_way(gid in "hf1_[0-9a-fA-F_+]{60,80}") {
        if let Some(key) = decode(&gid) {
            prop_assert_eq!(encode(key), gid);
        }
    }
}

#[test]
fn names_of_others_are_not_ours() {
    let ours = encode(key(7, 1, 2, 0));
    for foreign in [
        "",
        "hf1_",
        "backup",
        &ours[1..],
        &format!("{ours}_1"),
        &format!("{ours} "),
        &format!("{}00", ours),
        &ours.to_uppercase(),
        &ours.replacen("hf1_", "hf2_", 1),
        &format!("{}+0", &ours[..ours.len() - 1]),
    ] {
        assert_eq!(decode(foreign), None, "{foreign:?}");
    }
}
