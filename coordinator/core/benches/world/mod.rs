//! A coordinator between clients and participants that always agree, without a runtime, a log or a wire.

use handfast_core::{
    Ack, AckKind, Call, Coordinator, Decision, Effect, Event, ExecuteRequest, Identity, Limits, Lsn, Message,
    Moment, OperationRequest, Record, Recovery, SessionHello, SessionId, Vote, Wait,
};
use handfast_ids::{
    BranchId, Generation, InstanceId, LogId, Partition, ResourceName, StoreId, TransactionId,
};

const WALL_MS: u64 = 1_800_000_000_000;
const OPERATION: [u8; 128] = [0x5A; 128];

/// The coordinator and what is under way around it.
pub struct World {
    core: Coordinator,
    resources: Vec<ResourceName>,
    effects: Vec<Effect>,
    /// Effects that wait for the log.
    held: Vec<Effect>,
    answers: Vec<Event>,
    appended: Lsn,
    calls: u64,
    now_ms: u64,
    committed: u64,
}

impl World {
    /// A new coordinator to which this many participants have dialed in.
    pub fn new(resources: usize) -> World {
        let identity = Identity {
            log: LogId(1),
            partition: Partition(0),
        };
        let recovery = Recovery::new(identity, Limits::default());
        let mut effects = Vec::new();
        let core = Coordinator::start(recovery, Lsn(1), Moment(0), WALL_MS, &mut effects);
        let name =
            |number| ResourceName::new(&format!("resource-{number}")).expect("it is short and printable");
        let mut world = World {
            core,
            resources: (0..resources).map(name).collect(),
            effects,
            held: Vec::new(),
            answers: Vec::new(),
            appended: Lsn::ZERO,
            calls: 0,
            now_ms: 0,
            committed: 0,
        };
        for (number, resource) in world.resources.clone().into_iter().enumerate() {
            let session = SessionId(number as u64 + 1);
            let hello = SessionHello {
                resource,
                store: StoreId(number as u128 + 1),
                generation: Generation(1),
                instance: InstanceId(1),
                attached: true,
                one_phase: false,
                seen: Vec::new(),
            };
            world.handle(Event::SessionUp { session, hello });
            let complete = Event::InDoubt {
                session,
                lines: Vec::new(),
                complete: true,
            };
            world.handle(complete);
        }
        world.settle(&mut |_| {});
        world
    }

    /// Runs so many transactions at once from request to End, over all resources. `record` gets what is appended.
    ///
    /// # Panics
    /// If one of them does not commit.
    pub fn commit(&mut self, transactions: u64, record: &mut impl FnMut(&Record)) {
        self.now_ms += 1;
        let before = self.committed;
        for _ in 0..transactions {
            self.calls += 1;
            let operation = |resource: &ResourceName| OperationRequest {
                resource: resource.clone(),
                operation: OPERATION.as_slice().into(),
            };
            let request = ExecuteRequest {
                key: None,
                operations: self.resources.iter().map(operation).collect(),
                timeout_ms: None,
                wait: Wait::Decided,
            };
            let call = Call(self.calls);
            self.handle(Event::Execute { call, request });
        }
        self.settle(record);
        assert_eq!(self.committed - before, transactions, "all participants agree");
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(Moment(self.now_ms), event, &mut self.effects);
    }

    /// Performs effects, makes the log durable and hands in the participants' answers until nothing is left to do.
    fn settle(&mut self, record: &mut impl FnMut(&Record)) {
        loop {
            for effect in std::mem::take(&mut self.effects) {
                self.perform(effect, record);
            }
            for answer in std::mem::take(&mut self.answers) {
                self.handle(answer);
            }
            if self.effects.is_empty() {
                if self.held.is_empty() {
                    return;
                }
                self.handle(Event::LogDurable(self.appended));
                let freed = std::mem::take(&mut self.held);
                self.effects.splice(0..0, freed);
                for effect in std::mem::take(&mut self.effects) {
                    self.perform_now(effect, record);
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect, record: &mut impl FnMut(&Record)) {
        let after = match &effect {
            Effect::Send { after, .. } | Effect::Reply { after, .. } | Effect::Finished { after, .. } => {
                *after
            }
            _ => None,
        };
        match after {
            Some(_) => self.held.push(effect),
            None => self.perform_now(effect, record),
        }
    }

    fn perform_now(&mut self, effect: Effect, record: &mut impl FnMut(&Record)) {
        match effect {
            Effect::Append {
                lsn,
                record: appended,
                ..
            } => {
                self.appended = lsn;
                record(&appended);
            }
            Effect::Send { session, message, .. } => self.answers.extend(answer(session, &message)),
            Effect::Reply { .. } => self.committed += 1,
            _ => {}
        }
    }
}

fn answer(session: SessionId, message: &Message) -> Option<Event> {
    let vote = |transaction: TransactionId, branch: BranchId| Event::Vote {
        session,
        transaction,
        branch,
        vote: Vote::Prepared {
            prepared_for_ms: None,
        },
    };
    let ack = |transaction: TransactionId, branch: BranchId| Event::Ack {
        session,
        transaction,
        branch,
        ack: Ack {
            decision: Decision::Commit,
            kind: AckKind::Done,
        },
    };
    match message {
        Message::Prepare {
            transaction, branch, ..
        } => Some(vote(*transaction, *branch)),
        Message::Decision {
            transaction, branch, ..
        } => Some(ack(*transaction, *branch)),
        _ => None,
    }
}
