//! The largest numbers of the fault list, in the core alone.

use std::collections::BTreeSet;

use handfast_core::{
    Ack, AckKind, BranchRecord, Call, Coordinator, Decision, DecisionRecord, Effect, Event, ExecuteRequest,
    Identity, InDoubtLine, InDoubtPhase, Limits, Lsn, Message, Moment, OperationRequest, Outcome, Record,
    Recovery, Reply, SessionHello, SessionId, Vote, Wait,
};
use handfast_ids::{
    BranchId, Epoch, Generation, InstanceId, LogId, Partition, ResourceName, StoreId, TransactionId,
};

const STORES: [&str; 2] = ["orders-db", "ledger"];

fn name(store: usize) -> ResourceName {
    ResourceName::new(STORES[store]).expect("it is a name")
}

fn session(store: usize) -> SessionId {
    SessionId(1 + store as u64)
}

/// A log of so many transactions that are decided and acknowledged by nobody.
fn in_doubt(transactions: u32) -> Recovery {
    let identity = Identity {
        log: LogId(1),
        partition: Partition(0),
    };
    let mut recovery = Recovery::new(identity, Limits::default());
    let epoch = Record::EpochStarted {
        log: LogId(1),
        epoch: Epoch(1),
        predecessor_end: Lsn::ZERO,
        wall_ms: 1,
        key_ms: 1,
    };
    recovery.apply(Lsn(1), epoch).expect("it is the first record");
    for number in 1..=transactions {
        let branch = |store: usize| BranchRecord {
            branch: BranchId(store as u32),
            resource: name(store),
            store: StoreId(1 + store as u128),
        };
        let decided = Record::Decided {
            transaction: TransactionId::new(1, Partition(0), Epoch(1), 2 * number),
            decision: DecisionRecord::Commit,
            branches: vec![branch(0), branch(1)],
            key: None,
        };
        recovery
            .apply(Lsn(1 + u64::from(number)), decided)
            .expect("it follows the one before");
    }
    recovery
}

/// A coordinator whose log is durable at once.
struct World {
    coordinator: Coordinator,
    now: Moment,
    /// Commits that were sent and not acknowledged yet.
    commits: Vec<(SessionId, TransactionId, BranchId)>,
    prepares: Vec<(SessionId, TransactionId, BranchId)>,
    replies: Vec<(Call, Reply)>,
    ended: u32,
    decided: u32,
    /// The most effects of one event.
    most: usize,
}

impl World {
    fn start(recovery: Recovery, next: Lsn) -> World {
        let mut effects = Vec::new();
        let coordinator = Coordinator::start(recovery, next, Moment(0), 1, &mut effects);
        let mut world = World {
            coordinator,
            now: Moment(0),
            commits: Vec::new(),
            prepares: Vec::new(),
            replies: Vec::new(),
            ended: 0,
            decided: 0,
            most: 0,
        };
        world.handle(Event::LogDurable(next));
        world
    }

    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.coordinator.handle(self.now, event, &mut effects);
        self.most = self.most.max(effects.len());
        let mut appended = None;
        for effect in effects {
            match effect {
                Effect::Append { lsn, record, .. } => {
                    appended = Some(lsn);
                    self.ended += u32::from(matches!(record, Record::Ended { .. }));
                    self.decided += u32::from(matches!(record, Record::Decided { .. }));
                }
                Effect::Send { session, message, .. } => match message {
                    Message::Prepare {
                        transaction, branch, ..
                    } => self.prepares.push((session, transaction, branch)),
                    Message::Decision {
                        transaction,
                        branch,
                        decision: Decision::Commit,
                    } => self.commits.push((session, transaction, branch)),
                    _ => {}
                },
                Effect::Reply { call, reply, .. } => self.replies.push((call, reply)),
                _ => {}
            }
        }
        if let Some(lsn) = appended {
            self.handle(Event::LogDurable(lsn));
        }
    }

    fn dial_in(&mut self, store: usize) {
        let hello = SessionHello {
            resource: name(store),
            store: StoreId(1 + store as u128),
            generation: Generation(1),
            instance: InstanceId(1 + store as u128),
            attached: false,
            one_phase: false,
            seen: Vec::new(),
        };
        self.handle(Event::SessionUp {
            session: session(store),
            hello,
        });
    }

    fn execute(&mut self, call: u64, branches: usize) {
        let operation = |number: usize| OperationRequest {
            resource: name(number % STORES.len()),
            operation: [0_u8].into(),
        };
        self.handle(Event::Execute {
            call: Call(call),
            request: ExecuteRequest {
                key: None,
                operations: (0..branches).map(operation).collect(),
                timeout_ms: None,
                wait: Wait::Decided,
            },
        });
    }

    fn vote_for_all(&mut self) {
        for (session, transaction, branch) in std::mem::take(&mut self.prepares) {
            let vote = Vote::Prepared {
                prepared_for_ms: None,
            };
            self.handle(Event::Vote {
                session,
                transaction,
                branch,
                vote,
            });
        }
    }

    fn acknowledge(&mut self, commits: Vec<(SessionId, TransactionId, BranchId)>) {
        for (session, transaction, branch) in commits {
            let ack = Ack {
                decision: Decision::Commit,
                kind: AckKind::Done,
            };
            self.handle(Event::Ack {
                session,
                transaction,
                branch,
                ack,
            });
        }
    }

    /// The next time that it waits for has come, if it waits for any.
    fn tick(&mut self) {
        if let Some(timeout) = self.coordinator.next_timeout() {
            self.now = timeout.max(self.now);
            self.handle(Event::Tick);
        }
    }

    fn is_told_committed(&self, call: u64) -> bool {
        self.replies.iter().any(|(who, reply)| {
            let is_commit = matches!(
                reply,
                Reply::Outcome {
                    outcome: Outcome::Committed,
                    ..
                }
            );
            *who == Call(call) && is_commit
        })
    }
}

// FAULTS 60: every step is bounded, new work is served between the steps, and all of it is drained.
#[test]
fn a_hundred_thousand_in_doubt_are_drained_in_steps_and_new_work_is_served_between_them() {
    const IN_DOUBT: u32 = 100_000;
    let mut world = World::start(in_doubt(IN_DOUBT), Lsn(2 + u64::from(IN_DOUBT)));
    world.most = 0;
    (0..STORES.len()).for_each(|store| world.dial_in(store));
    let step = Limits::default().redelivery_step;
    let at_once = world.commits.len();
    assert!(at_once <= STORES.len() * step, "{at_once} at once");
    // Who has acknowledged nothing is sent nothing more, and what it scans is no reason to send it twice.
    world.handle(Event::Tick);
    let lines = (1..=IN_DOUBT).map(|number| InDoubtLine {
        log: LogId(1),
        transaction: TransactionId::new(1, Partition(0), Epoch(1), 2 * number),
        branch: BranchId(0),
        phase: InDoubtPhase::Prepared,
    });
    world.handle(Event::InDoubt {
        session: session(0),
        lines: lines.collect(),
        complete: true,
    });
    let under_way = world.commits.len();
    assert!(under_way <= at_once + step, "{under_way} under way");

    world.execute(7, 2);
    assert_eq!(world.prepares.len(), 2, "new work waits for nobody");
    let drained = std::mem::take(&mut world.commits);
    world.vote_for_all();
    assert!(world.is_told_committed(7));
    let new = std::mem::replace(&mut world.commits, drained);
    world.acknowledge(new);
    assert_eq!(world.ended, 1);

    let (mut steps, mut told) = (0, BTreeSet::new());
    while world.ended < IN_DOUBT + 1 {
        let commits = std::mem::take(&mut world.commits);
        told.extend(
            commits
                .iter()
                .map(|(_, transaction, branch)| (*transaction, *branch)),
        );
        world.acknowledge(commits);
        world.tick();
        steps += 1;
        assert!(
            steps <= 200,
            "{} of {IN_DOUBT} have ended after {steps} steps",
            world.ended
        );
    }
    assert_eq!(told.len(), 2 * IN_DOUBT as usize);
    // A welcome or the like may come with a step of each resource.
    assert!(world.most <= 2 * step + 10, "an event had {} effects", world.most);
}

// FAULTS 61: as many branches as there may be.
#[test]
fn a_transaction_of_thousands_of_branches_waits_for_every_vote_and_ends_with_the_last_acknowledgement() {
    let branches = Limits::default().branches_per_transaction;
    assert!(branches >= 4096);
    let mut world = World::start(in_doubt(0), Lsn(2));
    (0..STORES.len()).for_each(|store| world.dial_in(store));

    world.execute(1, branches + 1);
    assert!(world.prepares.is_empty() && !world.is_told_committed(1));
    world.execute(2, branches);
    assert_eq!(world.prepares.len(), branches);
    let last = world.prepares.split_off(branches - 1);
    world.vote_for_all();
    assert!(
        world.decided == 0 && world.commits.is_empty(),
        "one vote is missing"
    );
    world.prepares = last;
    world.vote_for_all();
    assert!(world.decided == 1 && world.is_told_committed(2));

    let mut commits = std::mem::take(&mut world.commits);
    assert_eq!(commits.len(), branches);
    let last = commits.split_off(branches - 1);
    world.acknowledge(commits);
    assert_eq!(world.ended, 0, "one acknowledgement is missing");
    world.acknowledge(last);
    assert_eq!(world.ended, 1);
}
