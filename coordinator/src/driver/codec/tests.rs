use handfast_core::{
    AbortReason, BranchRecord, Decision, DecisionRecord, Deviation, DeviationKind, FinishedTransaction,
    Identity, KeyRecord, KnownRecord, Limits, Lsn, Outcome, Record, Recovery, Refusal, ReplayedRecord,
    RequestDigest,
};
use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, LogId, Partition, ResourceName, StoreId, TransactionId,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{
    Branches, Lists, decode, decode_finished, decode_replayed, encode, encode_finished, recognize, tag,
};

fn id() -> impl Strategy<Value = TransactionId> {
    (0u64..1 << 48, 0u16..1 << 12, 0..=Epoch::MAX.0, any::<u32>()).prop_map(
        |(ms, partition, epoch, sequence)| {
            TransactionId::new(ms, Partition(partition), Epoch(epoch), sequence)
        },
    )
}

fn resource() -> impl Strategy<Value = ResourceName> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|name| ResourceName::new(&name).unwrap())
}

fn key() -> impl Strategy<Value = IdempotencyKey> {
    "[a-zä-ü0-9 -]{1,60}".prop_map(|key| IdempotencyKey::new(&key).unwrap())
}

fn key_record() -> impl Strategy<Value = KeyRecord> {
    (key(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(key, expires_at_ms, digest)| KeyRecord {
        key,
        expires_at_ms,
        digest: RequestDigest(digest),
    })
}

fn branch() -> impl Strategy<Value = BranchRecord> {
    (any::<u32>(), resource(), any::<u128>()).prop_map(|(branch, resource, store)| BranchRecord {
        branch: BranchId(branch),
        resource,
        store: StoreId(store),
    })
}

fn deviation() -> impl Strategy<Value = Deviation> {
    (any::<u32>(), resource(), any::<bool>(), any::<String>()).prop_map(
        |(branch, resource, mixed, evidence)| Deviation {
            branch: BranchId(branch),
            resource,
            kind: if mixed {
                DeviationKind::Mixed
            } else {
                DeviationKind::Hazard
            },
            evidence,
        },
    )
}

fn abort() -> impl Strategy<Value = AbortReason> {
    prop_oneof![
        Just(AbortReason::Requested),
        Just(AbortReason::Deadline),
        Just(AbortReason::Presumed),
        (resource(), any::<String>(), any::<String>(), any::<bool>()).prop_map(
            |(resource, reason, message, retryable)| AbortReason::Refused(Box::new(Refusal {
                resource,
                reason,
                message,
                retryable,
            }))
        ),
        resource().prop_map(|resource| AbortReason::SessionLost { resource }),
        resource().prop_map(|resource| AbortReason::PromiseExpired { resource }),
        any::<String>().prop_map(|message| AbortReason::BranchMismatch { message }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Committed),
        abort().prop_map(|reason| Outcome::Aborted { reason }),
        (any::<bool>(), vec(deviation(), 0..3)).prop_map(|(commit, evidence)| Outcome::Heuristic {
            decision: if commit { Decision::Commit } else { Decision::Abort },
            evidence,
        }),
    ]
}

fn decision() -> impl Strategy<Value = DecisionRecord> {
    prop_oneof![
        Just(DecisionRecord::Commit),
        abort().prop_map(DecisionRecord::Abort)
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let epoch = (
        any::<u128>(),
        0..=Epoch::MAX.0,
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    );
    prop_oneof![
        epoch.prop_map(|(log, epoch, end, wall_ms, key_ms)| Record::EpochStarted {
            log: LogId(log),
            epoch: Epoch(epoch),
            predecessor_end: Lsn(end),
            wall_ms,
            key_ms,
        }),
        (resource(), any::<u128>(), any::<u64>()).prop_map(|(name, store, generation)| Record::Resource {
            name,
            store: StoreId(store),
            generation: Generation(generation),
        }),
        (id(), vec(branch(), 0..4)).prop_map(|(transaction, branches)| Record::Registered {
            transaction,
            branches
        }),
        (id(), branch(), option::of(key_record())).prop_map(|(transaction, branch, key)| Record::Delegated {
            transaction,
            branch,
            key: key.map(Box::new),
        }),
        (id(), decision(), vec(branch(), 0..4), option::of(key_record())).prop_map(
            |(transaction, decision, branches, key)| Record::Decided {
                transaction,
                decision,
                branches,
                key: key.map(Box::new),
            }
        ),
        (id(), deviation()).prop_map(|(transaction, deviation)| Record::Deviated {
            transaction,
            deviation
        }),
        id().prop_map(|transaction| Record::Ended { transaction }),
        (id(), any::<u64>()).prop_map(|(transaction, key_ms)| Record::Horizon { transaction, key_ms }),
        (key_record(), id(), outcome()).prop_map(|(key, transaction, outcome)| Record::KeyHeld {
            key,
            transaction,
            outcome,
        }),
        vec(id(), 0..5).prop_map(|transactions| Record::EndedCommits { transactions }),
    ]
}

/// What is replayed, as the record that it stands for.
fn taken_up(record: ReplayedRecord<Branches<'_>>) -> Record {
    let list = |branches: Branches<'_>| {
        let expected = branches.size_hint();
        let list: Vec<BranchRecord> = branches
            .map(|branch| BranchRecord {
                branch: branch.branch,
                resource: ResourceName::new(std::str::from_utf8(branch.resource).unwrap()).unwrap(),
                store: branch.store,
            })
            .collect();
        assert_eq!(expected, (list.len(), Some(list.len())));
        list
    };
    match record {
        ReplayedRecord::Registered {
            transaction,
            branches,
        } => Record::Registered {
            transaction,
            branches: list(branches),
        },
        ReplayedRecord::Committed {
            transaction,
            branches,
        } => Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: list(branches),
            key: None,
        },
        ReplayedRecord::Other(record) => record,
    }
}

fn bytes_of(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn every_record_comes_back(record in record()) {
        let bytes = bytes_of(&record);
        prop_assert_eq!(decode_replayed(&bytes).map(taken_up), Ok(record.clone()));
        prop_assert_eq!(decode(&bytes), Ok(record));
    }

    #[test]
    fn every_ended_transaction_comes_back(
        transaction in id(),
        outcome in outcome(),
        key in option::of(key()),
        branches in vec(branch(), 0..4),
    ) {
        let finished = FinishedTransaction { transaction, outcome, key, branches };
        let mut bytes = Vec::new();
        encode_finished(&finished, &mut bytes);
        prop_assert_eq!(decode_finished(&bytes), Ok(finished));
    }

    #[test]
    fn a_record_that_is_cut_or_prolonged_is_refused(record in record(), at in any::<prop::sample::Index>()) {
        let mut bytes = bytes_of(&record);
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(decode(cut).is_err());
        prop_assert!(decode_replayed(cut).is_err());
        bytes.push(0);
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode_replayed(&bytes).is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        if let Ok(ReplayedRecord::Committed { branches, .. }) = decode_replayed(&bytes) {
            branches.for_each(drop);
        }
        let _ = decode_finished(&bytes);
    }
}

/// The layout on disk, byte by byte: a change here is a change of the format.
#[test]
fn the_bytes_of_a_decision() {
    let record = Record::Decided {
        transaction: TransactionId::new(1, Partition(0), Epoch(2), 3),
        decision: DecisionRecord::Commit,
        branches: vec![BranchRecord {
            branch: BranchId(300),
            resource: ResourceName::new("a").unwrap(),
            store: StoreId(5),
        }],
        key: None,
    };
    let id = [0, 0, 0, 0, 0, 1, 0x80, 0, 0x80, 0, 0, 2, 0, 0, 0, 3];
    let store = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let expected = [&[1, 4][..], &id, &[1], &[1, 0xAC, 2, 1, b'a'], &store, &[0]].concat();
    assert_eq!(bytes_of(&record), expected);
}

#[test]
fn what_is_unknown_is_named() {
    let unknown_tag = decode(&[1, 200]).unwrap_err();
    assert_eq!(
        unknown_tag.to_string(),
        "byte 1 of the record: tag 200 is unknown; a newer program wrote it"
    );
    let unknown_version = decode(&[9, 1]).unwrap_err();
    assert_eq!(
        unknown_version.to_string(),
        "byte 0 of the record: version 9 is unknown; a newer program wrote it"
    );
}

#[test]
fn a_length_that_lies_asks_for_no_memory() {
    let mut bytes = vec![1, 9];
    bytes.extend([0xFF; 8]);
    bytes.push(0x7F);
    let error = decode(&bytes).unwrap_err();
    assert!(error.message.contains("does not fit"), "{error}");
}

/// A list is known by its bytes, in whichever record of its kind they stand, and no other is taken for it.
#[test]
fn a_list_that_was_met_is_recognized() {
    let of = |sequence, store| Record::Decided {
        transaction: TransactionId::new(1, Partition(0), Epoch(2), sequence),
        decision: DecisionRecord::Commit,
        branches: vec![BranchRecord {
            branch: BranchId(0),
            resource: ResourceName::new("ledger").unwrap(),
            store: StoreId(store),
        }],
        key: None,
    };
    let identity = Identity {
        log: LogId(1),
        partition: Partition(0),
    };
    let mut recovery = Recovery::new(identity, Limits::default());
    let mut lists = Lists::default();
    let (first, same, another) = (bytes_of(&of(1, 7)), bytes_of(&of(2, 7)), bytes_of(&of(3, 8)));
    assert_eq!(recognize(&first, &mut lists), None);
    let Ok(ReplayedRecord::Committed { branches, .. }) = decode_replayed(&first) else {
        panic!("it is a commit");
    };
    let list = recovery.learn_branches(Lsn(1), branches.clone()).unwrap();
    lists.enter(branches.bytes(), list);
    let committed = |sequence| KnownRecord::Committed {
        transaction: TransactionId::new(1, Partition(0), Epoch(2), sequence),
        list: list.unwrap(),
    };
    assert_eq!(recognize(&first, &mut lists), Some(committed(1)));
    assert_eq!(recognize(&same, &mut lists), Some(committed(2)));
    assert_eq!(recognize(&another, &mut lists), None);
    // A byte more or less is another list.
    assert_eq!(recognize(&[&same[..], &[0]].concat(), &mut lists), None);
    assert_eq!(recognize(&same[..same.len() - 1], &mut lists), None);
    let transaction = TransactionId::new(1, Partition(0), Epoch(2), 9);
    let ended = bytes_of(&Record::Ended { transaction });
    assert_eq!(
        recognize(&ended, &mut lists),
        Some(KnownRecord::Ended { transaction })
    );
    assert_eq!(recognize(&[&ended[..], &[0]].concat(), &mut lists), None);
    let newer = [&[2], &ended[1..]].concat();
    assert_eq!(recognize(&newer, &mut lists), None);
}

#[test]
fn lists_that_find_no_place_are_not_entered() {
    let mut lists = Lists::default();
    assert!(!lists.takes(&[0; 5000]));
    assert!(lists.takes(&[1]));
    lists.enter(&[1], None);
    assert!(!lists.takes(&[2]));
    assert_eq!(lists.find(&[1]), None);
}

/// Builds before the time of keys was kept wrote one number less.
#[test]
fn an_epoch_without_the_time_of_keys_has_that_of_its_clock() {
    let record = |key_ms| Record::EpochStarted {
        log: LogId(7),
        epoch: Epoch(2),
        predecessor_end: Lsn(9),
        wall_ms: 1_000,
        key_ms,
    };
    let mut bytes = Vec::new();
    encode(&record(1_000), &mut bytes);
    // The last number: 1,000 takes two bytes. The tag stands behind the version.
    bytes.truncate(bytes.len() - 2);
    bytes[1] = tag::EPOCH_STARTED_BY_CLOCK;
    assert_eq!(decode(&bytes).unwrap(), record(1_000));
}
