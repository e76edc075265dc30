use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, InstanceId, LogId, Partition, ResourceName, StoreId,
    TransactionId,
};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Identity, Recovery, RecoveryError, references};
use crate::{
    AbortReason, BranchRecord, BranchRef, Coordinator, Decision, DecisionRecord, Deviation, DeviationKind,
    Effect, Event, FinishedTransaction, KeyRecord, Limits, Lsn, Moment, Outcome, Record, ReplayedRecord,
    RequestDigest, Seen, SessionHello, SessionId,
};

fn id(sequence: u32) -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), sequence)
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

fn branch(number: u32, resource: &str) -> BranchRecord {
    BranchRecord {
        branch: BranchId(number),
        resource: name(resource),
        store: StoreId(u128::from(number) + 1),
    }
}

fn recovery(history: usize) -> Recovery {
    let identity = Identity {
        log: LogId(1),
        partition: Partition(0),
    };
    let limits = Limits {
        history,
        ..Limits::default()
    };
    let mut recovery = Recovery::new(identity, limits);
    let epoch = Record::EpochStarted {
        log: LogId(1),
        epoch: Epoch(1),
        predecessor_end: Lsn::ZERO,
        wall_ms: 1,
        key_ms: 1,
    };
    recovery.apply(Lsn(1), epoch).unwrap();
    recovery
}

fn decided(
    sequence: u32,
    decision: DecisionRecord,
    branches: Vec<BranchRecord>,
    key: Option<&str>,
) -> Record {
    let key = key.map(|key| {
        Box::new(KeyRecord {
            key: IdempotencyKey::new(key).unwrap(),
            expires_at_ms: 9,
            digest: RequestDigest([0; 32]),
        })
    });
    Record::Decided {
        transaction: id(sequence),
        decision,
        branches,
        key,
    }
}

fn committed(sequence: u32, branches: Vec<BranchRecord>) -> Record {
    decided(sequence, DecisionRecord::Commit, branches, None)
}

fn ended(sequence: u32) -> Record {
    Record::Ended {
        transaction: id(sequence),
    }
}

fn apply(recovery: &mut Recovery, records: impl IntoIterator<Item = Record>) {
    for record in records {
        let lsn = recovery.last_lsn.next();
        recovery.apply(lsn, record).unwrap();
    }
}

#[test]
fn what_ended_in_the_log_is_handed_to_the_index() {
    let both = vec![branch(0, "orders-db"), branch(1, "ledger")];
    let deviation = Deviation {
        branch: BranchId(0),
        resource: name("orders-db"),
        kind: DeviationKind::Hazard,
        evidence: "gone".to_owned(),
    };
    let mut recovery = recovery(100);
    apply(
        &mut recovery,
        [
            decided(1, DecisionRecord::Commit, both.clone(), Some("one")),
            committed(2, both.clone()),
            ended(1),
            committed(3, Vec::new()),
            committed(4, both.clone()),
            Record::Deviated {
                transaction: id(4),
                deviation: deviation.clone(),
            },
            ended(4),
            decided(5, DecisionRecord::Abort(AbortReason::Deadline), Vec::new(), None),
            // What was only registered leaves nothing.
            Record::Registered {
                transaction: id(6),
                branches: both.clone(),
            },
            ended(6),
        ],
    );
    let finished = |sequence, outcome, key: Option<&str>, branches| FinishedTransaction {
        transaction: id(sequence),
        outcome,
        key: key.map(|key| IdempotencyKey::new(key).unwrap()),
        branches,
    };
    let heuristic = Outcome::Heuristic {
        decision: Decision::Commit,
        evidence: vec![deviation],
    };
    let aborted = Outcome::Aborted {
        reason: AbortReason::Deadline,
    };
    assert_eq!(
        recovery.take_finished(),
        [
            finished(1, Outcome::Committed, Some("one"), both.clone()),
            finished(3, Outcome::Committed, None, Vec::new()),
            finished(4, heuristic, None, both),
            finished(5, aborted, None, Vec::new()),
        ]
    );
}

#[test]
fn the_index_gets_the_newest_that_the_history_keeps() {
    let mut recovery = recovery(2);
    apply(
        &mut recovery,
        (1..=5).map(|sequence| committed(sequence, Vec::new())),
    );
    let found = recovery.take_finished();
    let ids: Vec<_> = found.iter().map(|finished| finished.transaction).collect();
    assert_eq!(ids, [id(4), id(5)]);
    assert_eq!(recovery.history.horizon(), id(3));
}

/// More resources than there are places for names that were met lately.
#[test]
fn a_name_is_never_taken_for_another() {
    let resource = |number: u32| format!("resource-{:04}-of-many", number % 3000);
    let mut recovery = recovery(10_000);
    for number in 0..3000 {
        let resource = Record::Resource {
            name: name(&resource(number)),
            store: StoreId(u128::from(number) + 1),
            generation: Generation(1),
        };
        apply(&mut recovery, [resource]);
    }
    let branches = |number: u32| {
        let of = |other: u32| BranchRecord {
            branch: BranchId(other),
            resource: name(&resource(number + other)),
            store: StoreId(u128::from((number + other) % 3000) + 1),
        };
        vec![of(0), of(1), of(7)]
    };
    for number in 0..9000 {
        apply(
            &mut recovery,
            [committed(number, branches(number)), ended(number)],
        );
    }
    for (number, finished) in recovery.take_finished().into_iter().enumerate() {
        assert_eq!(finished.branches, branches(number as u32));
    }
    assert_eq!(recovery.resources.indexes().count(), 3000);
}

#[test]
fn bytes_that_are_no_name_are_refused() {
    for bytes in [&b"Orders DB"[..], b"", b"\xff\xfe"] {
        let branch = BranchRef {
            branch: BranchId(0),
            resource: bytes,
            store: StoreId(1),
        };
        let record = ReplayedRecord::Committed {
            transaction: id(1),
            branches: [branch].into_iter(),
        };
        let refused = recovery(1).replay(Lsn(2), record);
        assert!(refused.is_err(), "{bytes:?}");
    }
}

/// Records about three transactions over four resources, in any order: what a log may say, and what it may not.
fn any_record() -> impl Strategy<Value = Record> {
    let branches = || vec((0..3u32, 0..4usize), 0..3);
    let listed = |branches: Vec<(u32, usize)>| {
        let resources = ["a", "b", "c", "d"];
        let branches = branches.into_iter();
        branches
            .map(|(number, resource)| branch(number, resources[resource]))
            .collect::<Vec<_>>()
    };
    let reason = || AbortReason::Deadline;
    prop_oneof![
        4 => (1..4u32, branches()).prop_map(move |(sequence, branches)| Record::Registered {
            transaction: id(sequence),
            branches: listed(branches),
        }),
        8 => (1..4u32, branches()).prop_map(move |(sequence, branches)| committed(sequence, listed(branches))),
        1 => (1..4u32, branches()).prop_map(move |(sequence, branches)| {
            decided(sequence, DecisionRecord::Abort(reason()), listed(branches), None)
        }),
        1 => (1..4u32, branches()).prop_map(move |(sequence, branches)| {
            decided(sequence, DecisionRecord::Commit, listed(branches), Some("key"))
        }),
        1 => (1..4u32, 0..3u32).prop_map(move |(sequence, number)| Record::Delegated {
            transaction: id(sequence),
            branch: branch(number, "a"),
            key: None,
        }),
        1 => (1..4u32, 0..3u32).prop_map(|(sequence, number)| Record::Deviated {
            transaction: id(sequence),
            deviation: Deviation {
                branch: BranchId(number),
                resource: name("a"),
                kind: DeviationKind::Mixed,
                evidence: "committed by hand".to_owned(),
            },
        }),
        8 => (1..4u32).prop_map(ended),
    ]
}

/// The record with its branches one by one, whether their list was met before or not.
fn replay_listed(recovery: &mut Recovery, lsn: Lsn, record: &Record) -> Result<(), RecoveryError> {
    let record = match record {
        Record::Registered {
            transaction,
            branches,
        } => ReplayedRecord::Registered {
            transaction: *transaction,
            branches: references(branches),
        },
        Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches,
            key: None,
        } => ReplayedRecord::Committed {
            transaction: *transaction,
            branches: references(branches),
        },
        _ => return recovery.apply(lsn, record.clone()),
    };
    recovery.replay(lsn, record)
}

proptest! {
    #[test]
    fn a_list_that_was_met_says_the_same_as_its_branches(records in vec(any_record(), 1..30)) {
        let (mut by_place, mut one_by_one) = (recovery(2), recovery(2));
        for record in records {
            let lsn = by_place.last_lsn.next();
            let expected = replay_listed(&mut one_by_one, lsn, &record);
            prop_assert_eq!(by_place.apply(lsn, record), expected.clone());
            if expected.is_err() {
                return Ok(());
            }
        }
        by_place.settle_all();
        one_by_one.settle_all();
        prop_assert_eq!(&by_place.table, &one_by_one.table);
        prop_assert_eq!(&by_place.history, &one_by_one.history);
        prop_assert_eq!(&by_place.keys, &one_by_one.keys);
        prop_assert_eq!(&by_place.resources, &one_by_one.resources);
        prop_assert_eq!(by_place.take_finished(), one_by_one.take_finished());
    }
}

/// More lists than are kept: the rest is read branch by branch.
#[test]
fn lists_beyond_the_last_place_are_read_all_the_same() {
    let mut recovery = recovery(10_000);
    let branches = |number: u32| vec![branch(number, "orders-db"), branch(number + 1, "ledger")];
    for number in 0..3000 {
        apply(&mut recovery, [committed(number, branches(number))]);
    }
    for number in (0..3000).step_by(2) {
        apply(&mut recovery, [ended(number)]);
    }
    recovery.settle_all();
    let live: Vec<_> = recovery.table.iter().map(|(id, _)| id).collect();
    let expected: Vec<_> = (1..3000).step_by(2).map(id).collect();
    assert_eq!(live, expected);
    for (place, finished) in recovery.take_finished().into_iter().enumerate() {
        assert_eq!(finished.branches, branches(2 * place as u32));
    }
}

/// Starts on what is recovered, and lets a participant dial in that has seen this of the log: whether it is refused.
fn refuses(recovery: Recovery, epoch: u32, lsn: u64) -> bool {
    let next = recovery.last_lsn.next();
    let mut effects = Vec::new();
    let mut coordinator = Coordinator::start(recovery, next, Moment(0), 1, &mut effects);
    coordinator.handle(Moment(0), Event::LogDurable(next), &mut effects);
    effects.clear();
    let hello = SessionHello {
        resource: name("orders-db"),
        store: StoreId(1),
        generation: Generation(1),
        instance: InstanceId(1),
        attached: false,
        one_phase: false,
        seen: vec![Seen {
            log: LogId(1),
            epoch: Epoch(epoch),
            lsn: Lsn(lsn),
        }],
    };
    let session = SessionId(1);
    coordinator.handle(Moment(0), Event::SessionUp { session, hello }, &mut effects);
    let stops = effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    let welcomes = effects.iter().any(|effect| matches!(effect, Effect::Send { .. }));
    assert_ne!(stops, welcomes, "{effects:?}");
    stops
}

/// The log up to LSN 1, and so many starts on it since.
fn copy_started(times: u32) -> Recovery {
    let mut recovery = recovery(100);
    for epoch in 2..2 + times {
        let lsn = recovery.last_lsn;
        apply(
            &mut recovery,
            [Record::EpochStarted {
                log: LogId(1),
                epoch: Epoch(epoch),
                predecessor_end: lsn,
                wall_ms: 1,
                key_ms: 1,
            }],
        );
    }
    recovery
}

#[test]
fn an_old_copy_is_refused_however_often_it_was_started_since() {
    for times in 0..8 {
        // The copy ends at 1. What epoch 1 had behind that is lost, and what begins on the copy is as long soon.
        for lsn in [2, 3, 5, 100] {
            assert!(
                refuses(copy_started(times), 1, lsn),
                "{times} starts, seen 1:{lsn}"
            );
        }
        assert!(!refuses(copy_started(times), 1, 1), "{times} starts");
    }
}

#[test]
fn an_old_copy_is_refused_also_if_a_checkpoint_has_replaced_its_records() {
    for times in 0..4 {
        let recovered = copy_started(times);
        let next = recovered.last_lsn.next();
        let coordinator = Coordinator::start(recovered, next, Moment(0), 1, &mut Vec::new());
        let snapshot = coordinator.snapshot();
        let again = || {
            let empty = recovery(100);
            let mut recovery = Recovery::new(empty.identity, empty.limits);
            for record in snapshot.records.clone() {
                recovery.apply(snapshot.through, record).unwrap();
            }
            recovery
        };
        assert!(refuses(again(), 1, 2), "{times} starts");
        assert!(!refuses(again(), 1, 1), "{times} starts");
    }
}
