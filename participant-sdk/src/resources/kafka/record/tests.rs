use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn branch() -> BranchKey {
    BranchKey {
        log: LogId(7),
        transaction: TransactionId::new(1_000, handfast_proto::ids::Partition(0), Epoch(2), 9),
        branch: BranchId(3),
    }
}

fn transaction() -> KafkaTransaction {
    KafkaTransaction {
        transactional_id: "handfast-x-1".to_owned(),
        producer: i64::MAX,
        epoch: -2,
    }
}

fn seen() -> SeenLog {
    SeenLog {
        log: LogId(7),
        epoch: Epoch(u32::MAX),
        lsn: u64::MAX,
    }
}

fn all() -> Vec<Record> {
    let promise = Promise {
        seen: seen(),
        transaction: transaction(),
        places: "orders-0, group billing".to_owned(),
    };
    let end = |end| Record::End {
        branch: branch(),
        end,
    };
    vec![
        Record::Store {
            store: StoreId(5),
            layout: LAYOUT,
            cluster: "cluster".to_owned(),
        },
        Record::Promise {
            branch: branch(),
            promise,
        },
        Record::Fence {
            branch: branch(),
            nonce: u128::MAX,
        },
        end(End::Committed),
        end(End::Aborted),
        end(End::Lost("why".to_owned())),
        Record::Seen(seen()),
        Record::Reap {
            nonce: 1,
            transaction: transaction(),
        },
    ]
}

#[test]
fn every_record_comes_back_as_it_was_written() {
    for record in all() {
        let (key, value) = (record.key().encode(), record.value(b"the operation"));
        assert_eq!(Record::decode(&key, value.as_deref()), Some(record.clone()));
        let gone = Record::Gone(record.key());
        assert_eq!(gone.value(b""), None);
        assert_eq!(Record::decode(&gone.key().encode(), None), Some(gone));
    }
}

#[test]
fn keys_differ_unless_one_record_replaces_the_other() {
    let mut keys: Vec<Bytes> = all().iter().map(|record| record.key().encode()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all().len() - 2, "the three ends share a key");
    let fence = |nonce| Key::Fence(branch(), nonce).encode();
    assert_ne!(fence(1), fence(2), "compaction keeps the first fence where it is");
}

#[test]
fn what_is_cut_short_or_foreign_is_not_read() {
    for record in all() {
        let (key, value) = (record.key().encode(), record.value(b"").unwrap());
        for length in 0..key.len() {
            assert_eq!(Record::decode(&key[..length], Some(&value)), None);
        }
        assert_eq!(Record::decode(&[&key[..], b"x"].concat(), Some(&value)), None);
        let is_text_to_the_end = matches!(
            record,
            Record::Store { .. } | Record::End { .. } | Record::Fence { .. }
        );
        for length in 0..value.len() {
            let cut = Record::decode(&key, Some(&value[..length]));
            assert!(is_text_to_the_end || cut.is_none(), "{cut:?}");
        }
    }
    assert_eq!(Record::decode(b"\x09somebody", Some(b"else")), None);
    assert_eq!(Record::decode(b"", None), None);
}

fn branches() -> impl Strategy<Value = BranchKey> {
    (any::<u128>(), any::<u32>(), any::<u32>()).prop_map(|(log, sequence, ordinal)| BranchKey {
        log: LogId(log),
        transaction: TransactionId::new(42, handfast_proto::ids::Partition(1), Epoch(3), sequence),
        branch: BranchId(ordinal),
    })
}

fn transactions() -> impl Strategy<Value = KafkaTransaction> {
    let parts = (any::<String>(), any::<i64>(), any::<i16>());
    parts.prop_map(|(transactional_id, producer, epoch)| KafkaTransaction {
        transactional_id,
        producer,
        epoch,
    })
}

fn records() -> impl Strategy<Value = Record> {
    let position = (any::<u32>(), any::<u64>());
    let end = prop_oneof![
        Just(End::Committed),
        Just(End::Aborted),
        any::<String>().prop_map(End::Lost),
    ];
    prop_oneof![
        (any::<u128>(), any::<u8>(), any::<String>()).prop_map(|(store, layout, cluster)| Record::Store {
            store: StoreId(store),
            layout,
            cluster,
        }),
        (branches(), position, transactions(), any::<String>()).prop_map(
            |(branch, (epoch, lsn), transaction, places)| {
                let seen = SeenLog {
                    log: branch.log,
                    epoch: Epoch(epoch),
                    lsn,
                };
                let promise = Promise {
                    seen,
                    transaction,
                    places,
                };
                Record::Promise { branch, promise }
            }
        ),
        (branches(), any::<u128>()).prop_map(|(branch, nonce)| Record::Fence { branch, nonce }),
        (branches(), end).prop_map(|(branch, end)| Record::End { branch, end }),
        (any::<u128>(), any::<u32>(), any::<u64>()).prop_map(|(log, epoch, lsn)| Record::Seen(SeenLog {
            log: LogId(log),
            epoch: Epoch(epoch),
            lsn,
        })),
        (any::<u128>(), transactions()).prop_map(|(nonce, transaction)| Record::Reap { nonce, transaction }),
    ]
}

proptest! {
    #[test]
    fn any_record_comes_back_as_it_was_written(record in records(), operation in vec(any::<u8>(), 0..60)) {
        let (key, value) = (record.key().encode(), record.value(&operation));
        prop_assert_eq!(Record::decode(&key, value.as_deref()), Some(record));
    }

    #[test]
    fn no_input_is_fatal(key in vec(any::<u8>(), 0..80), value in vec(any::<u8>(), 0..80)) {
        let _ = Record::decode(&key, Some(&value));
        let _ = Record::decode(&key, None);
    }

    #[test]
    fn no_damage_is_fatal(
        record in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>(),
    ) {
        let key = record.key().encode();
        let mut value = record.value(b"the operation").unwrap().to_vec();
        let position = at.index(value.len());
        value[position] = byte;
        value.truncate(length.index(2 * value.len()).max(position));
        let _ = Record::decode(&key, Some(&value));
    }
}
