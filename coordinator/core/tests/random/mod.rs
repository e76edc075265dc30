//! Plays random actions to a world with honest participants behind a bad network, then lets the faults stop.

mod checks;
mod participant;
mod requests;

use std::collections::BTreeMap;

use handfast_core::{
    Ack, AckKind, Call, Decision, Effect, EnlistmentId, Event, ExpectedBranch, InDoubtLine, InDoubtPhase,
    Limits, Lsn, Message, Outcome, Record, Reply, SessionId, Vote, Wait,
};
use handfast_ids::{BranchId, Epoch, Partition, TransactionId};

use crate::world::{Happened, IDENTITY, WALL_MS, World};
use participant::Participant;
use requests::{hello, keyed_request, request};

/// Resources of a world.
const RESOURCES: usize = 3;
/// Within so many seconds after the faults have stopped, everything is decided and nothing is prepared.
const BOUND_S: usize = 180;

/// One thing that happens. Numbers choose among what is there, wrapping around.
#[derive(Clone, Debug)]
pub enum Action {
    Execute {
        resources: Vec<u8>,
        key: Option<u8>,
        applied: bool,
    },
    Begin,
    Enlist(u8, u8),
    Commit {
        transaction: u8,
        honest: bool,
    },
    Abort(u8),
    Watch(u8),
    SessionUp {
        resource: u8,
        attached: bool,
    },
    SessionDown(u8),
    Deliver(u8),
    DeliverInOrder(u8),
    Duplicate(u8),
    Lose(u8),
    Scan(u8),
    Durable(u8),
    Time(u16),
    Crash {
        keep: u8,
    },
    Checkpoint,
    Lie {
        session: u8,
        transaction: u8,
        branch: u8,
        lie: u8,
    },
}

#[derive(Clone, Debug)]
enum Packet {
    Down(SessionId, Message),
    Up(Event),
}

#[derive(Debug)]
pub struct Play {
    world: World,
    participants: Vec<Participant>,
    sessions: BTreeMap<SessionId, usize>,
    network: Vec<Packet>,
    transactions: Vec<TransactionId>,
    joined: BTreeMap<TransactionId, Vec<BranchId>>,
    told: BTreeMap<TransactionId, Outcome>,
    calls: u64,
    next_session: u64,
}

fn pick<T: Copy>(from: &[T], number: u8) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(number) % from.len()])
}

impl Play {
    pub fn new(history: usize) -> Self {
        let limits = Limits {
            history,
            ..Limits::default()
        };
        let mut play = Play {
            world: World::new(limits),
            participants: (0..RESOURCES).map(|_| Participant::default()).collect(),
            sessions: BTreeMap::new(),
            network: Vec::new(),
            transactions: Vec::new(),
            joined: BTreeMap::new(),
            told: BTreeMap::new(),
            calls: 0,
            next_session: 0,
        };
        for resource in 0..RESOURCES {
            play.session_up(resource, false);
        }
        play
    }

    pub fn act(&mut self, action: &Action) {
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        match action {
            Action::Execute {
                resources,
                key,
                applied,
            } => self.execute(resources, *key, *applied),
            Action::Begin => {
                let call = self.call();
                self.event(Event::Begin {
                    call,
                    timeout_ms: None,
                });
            }
            Action::Enlist(session, transaction) => {
                if let (Some(session), Some(transaction)) =
                    (pick(&sessions, *session), pick(&self.transactions, *transaction))
                {
                    let enlistment = EnlistmentId(u64::from(transaction.sequence()));
                    self.network.push(Packet::Up(Event::Enlist {
                        session,
                        transaction,
                        enlistment,
                    }));
                }
            }
            Action::Commit { transaction, honest } => self.commit(*transaction, *honest),
            Action::Abort(transaction) => {
                if let Some(transaction) = pick(&self.transactions, *transaction) {
                    let call = self.call();
                    self.event(Event::Abort { call, transaction });
                }
            }
            Action::Watch(transaction) => {
                if let Some(transaction) = pick(&self.transactions, *transaction) {
                    let call = self.call();
                    self.event(Event::Watch { call, transaction });
                }
            }
            Action::SessionUp { resource, attached } => {
                self.session_up(usize::from(*resource) % RESOURCES, *attached);
            }
            Action::SessionDown(session) => {
                if let Some(session) = pick(&sessions, *session) {
                    self.session_lost(session);
                    self.event(Event::SessionDown { session });
                }
            }
            Action::Deliver(packet) => self.deliver(*packet, true),
            Action::DeliverInOrder(packets) => {
                for _ in 0..*packets {
                    self.deliver(0, true);
                }
            }
            Action::Duplicate(packet) => self.deliver(*packet, false),
            Action::Lose(packet) => {
                if !self.network.is_empty() {
                    self.network.remove(usize::from(*packet) % self.network.len());
                }
            }
            Action::Scan(session) => {
                if let Some(session) = pick(&sessions, *session) {
                    self.scan(session);
                }
            }
            Action::Durable(part) => {
                let (from, to) = (self.world.durable().0, self.world.accepted().0);
                let lsn = Lsn(from + (to - from) * u64::from(*part) / 255);
                let happened = self.world.make_durable(Some(lsn));
                self.after(happened);
            }
            Action::Time(ms) => {
                let happened = self.world.advance(u64::from(*ms));
                self.after(happened);
            }
            Action::Crash { keep } => self.crash(*keep),
            Action::Lie {
                session,
                transaction,
                branch,
                lie,
            } => self.lie(*session, *transaction, *branch, *lie),
            Action::Checkpoint => {
                self.world
                    .make_durable(None)
                    .into_iter()
                    .for_each(|one| self.hear(one));
                self.world.checkpoint();
            }
        }
    }

    /// The faults stop: everybody dials in again, everything arrives, the disk works.
    pub fn settle(&mut self) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.session_lost(session);
            self.event(Event::SessionDown { session });
        }
        for resource in 0..RESOURCES {
            self.session_up(resource, true);
        }
        for _ in 0..BOUND_S {
            while !self.network.is_empty() {
                self.deliver(0, true);
            }
            let durable = self.world.make_durable(None);
            self.after(durable);
            for session in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.scan(session);
            }
            let happened = self.world.advance(1000);
            self.after(happened);
            if self.left().is_empty() {
                return;
            }
        }
    }

    fn execute(&mut self, resources: &[u8], key: Option<u8>, applied: bool) {
        let mut request = match key {
            Some(key) => keyed_request(key % 3),
            None => request(
                resources
                    .iter()
                    .map(|&resource| usize::from(resource) % RESOURCES),
            ),
        };
        if applied {
            request.wait = Wait::Applied;
        }
        let call = self.call();
        self.event(Event::Execute { call, request });
    }

    fn commit(&mut self, transaction: u8, honest: bool) {
        let Some(transaction) = pick(&self.transactions, transaction) else {
            return;
        };
        let mut branches = self.joined.get(&transaction).cloned().unwrap_or_default();
        if !honest {
            branches.pop();
        }
        let expected = branches.into_iter().map(|branch| ExpectedBranch {
            branch,
            operations: 1,
        });
        let (call, expected) = (self.call(), expected.collect());
        let wait = Wait::Decided;
        self.event(Event::Commit {
            call,
            transaction,
            expected,
            wait,
        });
    }

    /// A participant says what is not so: any vote, acknowledgement or scan, for any branch, at any time.
    fn lie(&mut self, session: u8, transaction: u8, branch: u8, lie: u8) {
        let session = SessionId(u64::from(session) % (self.next_session + 2));
        let unminted = TransactionId::new(WALL_MS + u64::from(transaction), Partition(0), Epoch(1), 9);
        let known = pick(&self.transactions, transaction).filter(|_| branch < 200);
        let transaction = known.unwrap_or(unminted);
        let branch = BranchId(u32::from(branch % 4));
        let evidence = String::new();
        let decision = if lie & 8 == 0 {
            Decision::Commit
        } else {
            Decision::Abort
        };
        let prepared_for_ms = (lie & 8 == 0).then_some(u64::MAX - u64::from(lie));
        let phases = [
            InDoubtPhase::Prepared,
            InDoubtPhase::Preparing,
            InDoubtPhase::Marker,
            InDoubtPhase::Committed,
        ];
        let vote = |vote| Event::Vote {
            session,
            transaction,
            branch,
            vote,
        };
        let ack = |kind| Event::Ack {
            session,
            transaction,
            branch,
            ack: Ack { decision, kind },
        };
        self.event(match lie % 8 {
            0 => vote(Vote::Prepared { prepared_for_ms }),
            1 if lie & 16 == 0 => vote(Vote::ReadOnly),
            1 => vote(Vote::Committed),
            2 => vote(Vote::Refused {
                reason: String::new(),
                message: evidence,
                retryable: false,
            }),
            3 => ack(AckKind::Done),
            4 => ack(AckKind::Hazard { evidence }),
            5 => ack(AckKind::Contrary { evidence }),
            6 => Event::SessionDown { session },
            _ => Event::InDoubt {
                session,
                lines: vec![InDoubtLine {
                    transaction,
                    branch,
                    log: IDENTITY.log,
                    phase: phases[usize::from(lie / 8) % phases.len()],
                }],
                complete: lie & 16 == 0,
            },
        });
    }

    fn session_up(&mut self, resource: usize, attached: bool) {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.sessions.insert(session, resource);
        let hello = hello(session, resource, attached);
        self.event(Event::SessionUp { session, hello });
        if self.sessions.contains_key(&session) {
            self.scan(session);
        }
    }

    /// What was on its way to the participant is lost with the connection; what it said may still arrive.
    fn session_lost(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.network
            .retain(|packet| !matches!(packet, Packet::Down(to, _) if *to == session));
    }

    fn scan(&mut self, session: SessionId) {
        if let Some(&resource) = self.sessions.get(&session) {
            let scan = self.participants[resource].scan(session);
            self.event(scan);
        }
    }

    fn deliver(&mut self, number: u8, once: bool) {
        if self.network.is_empty() {
            return;
        }
        let index = usize::from(number) % self.network.len();
        let packet = if once {
            self.network.remove(index)
        } else {
            self.network[index].clone()
        };
        match packet {
            Packet::Up(event) => self.event(event),
            Packet::Down(session, message) => {
                let Some(&resource) = self.sessions.get(&session) else {
                    return;
                };
                if let Message::Enlisted {
                    transaction,
                    result: Ok(branch),
                    ..
                } = message
                {
                    let joined = self.joined.entry(transaction).or_default();
                    if !joined.contains(&branch) {
                        joined.push(branch);
                    }
                }
                let answer = self.participants[resource].take(session, &message);
                self.network.extend(answer.map(Packet::Up));
            }
        }
    }

    fn crash(&mut self, keep: u8) {
        let (from, to) = (self.world.durable().0, self.world.accepted().0);
        self.world.crash(Lsn(from + (to - from) * u64::from(keep) / 255));
        // What was on its way on the connections of the old process reaches nobody.
        self.sessions.clear();
        self.network.clear();
        let happened = self.world.restart(0);
        self.after(happened);
    }

    fn event(&mut self, event: Event) {
        let happened = self.world.handle(event);
        self.after(happened);
    }

    fn after(&mut self, happened: Vec<Happened>) {
        happened.into_iter().for_each(|one| self.hear(one));
    }

    fn hear(&mut self, happened: Happened) {
        let effect = match happened {
            Happened::Did(effect) | Happened::Released(effect) => effect,
            Happened::Logged(
                _,
                Record::Registered { transaction, .. } | Record::Delegated { transaction, .. },
                _,
            ) => {
                if !self.transactions.contains(&transaction) {
                    self.transactions.push(transaction);
                }
                return;
            }
            _ => return,
        };
        match effect {
            Effect::Send { session, message, .. } => self.network.push(Packet::Down(session, message)),
            Effect::CloseSession { session, .. } => self.session_lost(session),
            Effect::Reply {
                reply: Reply::Begun { transaction, .. },
                ..
            } => self.transactions.push(transaction),
            Effect::Reply {
                reply: Reply::Outcome { transaction, outcome },
                ..
            } => {
                self.told.insert(transaction, outcome);
            }
            _ => {}
        }
    }

    fn call(&mut self) -> Call {
        self.calls += 1;
        Call(self.calls)
    }
}
