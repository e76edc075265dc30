use handfast_ids::{
    BranchId, Epoch, Generation, InstanceId, LogId, Partition, ResourceName, StoreId, TransactionId,
};

use crate::{
    BranchRecord, Coordinator, Decision, DecisionRecord, Effect, Event, Identity, InDoubtLine, InDoubtPhase,
    Limits, Lsn, Message, Moment, Record, Recovery, SessionHello, SessionId,
};

const LOG: LogId = LogId(1);
const STORE: StoreId = StoreId(7);
const PARTITION: Partition = Partition(0);

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

/// A log that knows one store by two names, and has a commit for a branch under the first.
fn started(transaction: TransactionId) -> Coordinator {
    let identity = Identity {
        log: LOG,
        partition: PARTITION,
    };
    let resource = |text| Record::Resource {
        name: name(text),
        store: STORE,
        generation: Generation(1),
    };
    let records = [
        Record::EpochStarted {
            log: LOG,
            epoch: Epoch(1),
            predecessor_end: Lsn::ZERO,
            wall_ms: 1,
            key_ms: 1,
        },
        resource("orders"),
        resource("billing"),
        Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: vec![BranchRecord {
                branch: BranchId(0),
                resource: name("orders"),
                store: STORE,
            }],
            key: None,
        },
    ];
    let mut recovery = Recovery::new(identity, Limits::default());
    for (lsn, record) in (1..).map(Lsn).zip(records) {
        recovery.apply(lsn, record).unwrap();
    }
    let mut effects = Vec::new();
    let mut coordinator = Coordinator::start(recovery, Lsn(5), Moment(0), 1, &mut effects);
    coordinator.handle(Moment(0), Event::LogDurable(Lsn(5)), &mut effects);
    coordinator
}

#[test]
fn a_store_of_two_names_is_never_told_to_abort_what_the_other_name_has_promised() {
    let transaction = TransactionId::new(1, PARTITION, Epoch(1), 0);
    for (dials_in, told) in [("orders", true), ("billing", false)] {
        let mut coordinator = started(transaction);
        let session = SessionId(1);
        let hello = SessionHello {
            resource: name(dials_in),
            store: STORE,
            generation: Generation(1),
            instance: InstanceId(1),
            attached: false,
            one_phase: false,
            seen: Vec::new(),
        };
        let mut effects = Vec::new();
        coordinator.handle(Moment(0), Event::SessionUp { session, hello }, &mut effects);
        let lines = vec![InDoubtLine {
            transaction,
            branch: BranchId(0),
            log: LOG,
            phase: InDoubtPhase::Prepared,
        }];
        let scan = Event::InDoubt {
            session,
            lines,
            complete: true,
        };
        coordinator.handle(Moment(0), scan, &mut effects);
        let mut decisions: Vec<Decision> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send {
                    message: Message::Decision { decision, .. },
                    ..
                } => Some(*decision),
                _ => None,
            })
            .collect();
        decisions.dedup();
        let expected = if told { vec![Decision::Commit] } else { Vec::new() };
        assert_eq!(decisions, expected, "as {dials_in}: {effects:?}");
    }
}
