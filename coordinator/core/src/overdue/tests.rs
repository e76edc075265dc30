use handfast_ids::{BranchId, Epoch, LogId, Partition, StoreId};

use super::*;
use crate::{BranchRecord, DecisionRecord, Identity, Lsn, Record, Recovery};

const MINUTE_MS: u64 = 60 * 1000;
/// When the log was begun, by the wall clock.
const BEGAN_MS: u64 = 1_000_000;

fn id(number: u64, ms: u64) -> TransactionId {
    TransactionId::new(BEGAN_MS + ms, Partition(0), Epoch(1), 2 * number as u32)
}

/// A coordinator that starts ten minutes after its log was begun, with commits of two branches that nobody has acknowledged: so many
/// are as old as the log, and so many have just begun.
fn started(old: u64, young: u64) -> Coordinator {
    let identity = Identity {
        log: LogId(1),
        partition: Partition(0),
    };
    let mut recovery = Recovery::new(identity, Limits::default());
    let mut records = vec![Record::EpochStarted {
        log: LogId(1),
        epoch: Epoch(1),
        predecessor_end: Lsn::ZERO,
        wall_ms: BEGAN_MS,
        key_ms: BEGAN_MS,
    }];
    let branch = |branch: u32, resource: &str| BranchRecord {
        branch: BranchId(branch),
        resource: ResourceName::new(resource).unwrap(),
        store: StoreId(u128::from(branch)),
    };
    let ids = (0..old)
        .map(|number| id(number, 0))
        .chain((0..young).map(|number| id(number, 9 * MINUTE_MS)));
    records.extend(ids.map(|transaction| Record::Decided {
        transaction,
        decision: DecisionRecord::Commit,
        branches: vec![branch(0, "orders-db"), branch(1, "ledger")],
        key: None,
    }));
    let mut next = Lsn(1);
    for record in records {
        recovery.apply(next, record).unwrap();
        next = next.next();
    }
    let mut effects = Vec::new();
    Coordinator::start(recovery, next, Moment(0), BEGAN_MS + 10 * MINUTE_MS, &mut effects)
}

/// Looks as a driver does, until somebody is alarmed: after how many looks, and of what.
fn look_until_alarmed(watch: &mut OverdueWatch, from: Moment, core: &Coordinator) -> (usize, Vec<Alarm>) {
    for looks in 1..1000 {
        let alarms = watch.look(from, core);
        if !alarms.is_empty() {
            return (looks, alarms);
        }
    }
    panic!("no alarm was raised");
}

#[test]
fn a_survey_goes_in_steps_and_counts_those_that_are_old_enough() {
    let core = started(10_000, 3);
    let mut watch = OverdueWatch::new(Moment(0), &core.limits);
    assert_eq!(
        watch.look(Moment(0), &core),
        [],
        "participants have not dialed in yet"
    );
    let now = Moment(SURVEY_PERIOD_MAX_MS);
    let (looks, alarms) = look_until_alarmed(&mut watch, now, &core);
    assert_eq!(looks, (2 * 10_000_usize).div_ceil(BRANCHES_PER_STEP));
    let raised = |resource: &str| Alarm::Raised {
        resource: ResourceName::new(resource).unwrap(),
        connected: false,
        overdue: Overdue {
            transactions: 10_000,
            oldest: id(0, 0),
            oldest_ms: 10 * MINUTE_MS + now.0,
        },
        repeats: 0,
    };
    assert_eq!(alarms, [raised("orders-db"), raised("ledger")]);
    let later = Moment(now.0 + 7);
    let told: Vec<_> = watch
        .overdue(later)
        .map(|(_, overdue)| overdue.oldest_ms)
        .collect();
    assert_eq!(told, [10 * MINUTE_MS + later.0; 2]);
}

#[test]
fn what_is_young_costs_nothing() {
    let core = started(0, 10_000);
    let mut survey = Survey::default();
    assert!(survey.step(Moment(0), &core));
    assert_eq!((survey.after, survey.found.len()), (None, 0));
}

#[test]
fn while_it_lasts_it_is_told_at_growing_distances() {
    let core = started(1, 0);
    let mut watch = OverdueWatch::new(Moment(0), &core.limits);
    let mut told = Vec::new();
    for ms in (0..3 * 24 * 60 * MINUTE_MS).step_by(5_000) {
        let alarms = watch.look(Moment(ms), &core);
        assert!(alarms.is_empty() || alarms.len() == 2);
        told.extend((!alarms.is_empty()).then_some(ms));
    }
    let distances: Vec<_> = told
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / MINUTE_MS)
        .collect();
    assert_eq!(
        distances,
        [
            5, 10, 20, 40, 80, 160, 320, 360, 360, 360, 360, 360, 360, 360, 360, 360, 360
        ]
    );
}

#[test]
fn the_moment_since_when_is_owed_is_rounded_in_favour_of_who_owes() {
    use crate::transaction::OwedSince;
    let since = OwedSince::at(Moment(1_234));
    assert_eq!(since.ms_until(Moment(1_234)), Some(0));
    assert_eq!(since.ms_until(Moment(2_300)), Some(1_000));
    assert_eq!(OwedSince::at(Moment(0)).ms_until(Moment(100)), Some(0));
    assert_eq!(OwedSince::default().ms_until(Moment(5)), None);
}
