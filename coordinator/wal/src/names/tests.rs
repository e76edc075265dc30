use super::*;

#[test]
fn names_round_trip_and_others_are_left_alone() {
    let names = [
        segment(Lsn(300)),
        segment(Lsn(1)),
        checkpoint(Lsn(u64::MAX)),
        checkpoint_unfinished(Lsn(7)),
        "LOG".to_owned(),
        "spare.log".to_owned(),
        "spare.tmp".to_owned(),
        retired(Lsn(9)),
        "LOG.tmp".to_owned(),
        "LOCK".to_owned(),
        "index".to_owned(),
        "segment-1.log".to_owned(),
        "segment-00000000000000AB.log".to_owned(),
        "segment-0000000000000001.log.bak".to_owned(),
        "checkpoint-+000000000000001.ckp".to_owned(),
    ];
    let listing = Listing::of(names.to_vec());
    assert!(listing.identity && listing.spare);
    assert_eq!(listing.segments, [Lsn(1), Lsn(300)]);
    assert_eq!(listing.checkpoints, [Lsn(u64::MAX)]);
    assert!(listing.retired().eq(["retired-0000000000000009.tmp"]));
    assert_eq!(
        listing.unfinished,
        [
            "LOG.tmp",
            "checkpoint-0000000000000007.tmp",
            "retired-0000000000000009.tmp",
            "spare.tmp"
        ]
    );
}
