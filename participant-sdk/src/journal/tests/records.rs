use handfast_proto::ids::{Generation, StoreId};
use proptest::prelude::*;

use super::*;
use crate::journal::record::{Deviation, Record};

fn branches() -> impl Strategy<Value = BranchKey> + Clone {
    (any::<u128>(), any::<u32>(), any::<u32>()).prop_map(|(log, sequence, ordinal)| BranchKey {
        log: LogId(log),
        transaction: TransactionId::new(42, Partition(1), Epoch(3), sequence),
        branch: BranchId(ordinal),
    })
}

fn deviations() -> impl Strategy<Value = Deviation> + Clone {
    prop_oneof![
        Just(Deviation::UnknownCommit),
        Just(Deviation::RefusedCommit),
        Just(Deviation::RefusedAbort),
    ]
}

fn records() -> impl Strategy<Value = Record> {
    let seen = (branches(), any::<u32>(), any::<u64>()).prop_map(|(branch, epoch, lsn)| {
        (
            branch,
            SeenLog {
                log: branch.log,
                epoch: Epoch(epoch),
                lsn,
            },
        )
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
    prop_oneof![
        (any::<u128>(), any::<u64>()).prop_map(|(store, life)| Record::Store {
            store: StoreId(store),
            generation: Generation(life)
        }),
        (seen.clone(), bytes.clone()).prop_map(|((branch, seen), operation)| Record::Prepared {
            branch,
            seen,
            operation
        }),
        (seen.clone(), bytes.clone()).prop_map(|((branch, seen), operation)| Record::CommittedAtOnce {
            branch,
            seen,
            operation
        }),
        seen.clone()
            .prop_map(|(branch, seen)| Record::Committed { branch, seen }),
        seen.clone()
            .prop_map(|(branch, seen)| Record::Aborted { branch, seen }),
        (seen.clone(), deviations(), any::<String>()).prop_map(|((branch, seen), deviation, evidence)| {
            Record::Deviated {
                branch,
                seen,
                deviation,
                evidence,
            }
        }),
        branches().prop_map(|branch| Record::Forgotten { branch }),
        seen.prop_map(|(_, seen)| Record::Seen(seen)),
        bytes.prop_map(Record::State),
    ]
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was(record in records()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }
}

#[test]
fn tags_never_change() {
    let (branch, seen) = (branch(1), seen(2));
    let tags = [
        Record::Store {
            store: StoreId(1),
            generation: Generation(1),
        },
        Record::Prepared {
            branch,
            seen,
            operation: Bytes::new(),
        },
        Record::Committed { branch, seen },
        Record::Aborted { branch, seen },
        Record::Forgotten { branch },
        Record::Seen(seen),
        Record::State(Bytes::new()),
        Record::CommittedAtOnce {
            branch,
            seen,
            operation: Bytes::new(),
        },
        Record::Deviated {
            branch,
            seen,
            deviation: Deviation::UnknownCommit,
            evidence: String::new(),
        },
    ]
    .map(|record| record.encode()[0]);
    assert_eq!(tags, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let numbers = [
        Deviation::UnknownCommit,
        Deviation::RefusedCommit,
        Deviation::RefusedAbort,
    ];
    assert_eq!(numbers.map(|deviation| deviation as u8), [1, 2, 3]);
}
