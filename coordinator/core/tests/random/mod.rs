//! Plays random actions to a world with honest participants behind a bad network, then lets the faults stop.

mod participant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handfast_core::{
    Ack, AckKind, Call, Coordinator, Decision, Effect, EnlistmentId, Event, ExecuteRequest, ExpectedBranch,
    InDoubtLine, InDoubtPhase, KeyClaim, Limits, Lsn, Message, Moment, OperationRequest, Outcome, Record,
    Reply, RequestDigest, SessionHello, SessionId, Vote, Wait,
};
use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, InstanceId, Partition, ResourceName, StoreId, TransactionId,
};

use crate::world::{Happened, IDENTITY, WALL_MS, World};
use participant::Participant;

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

fn name(resource: usize) -> ResourceName {
    ResourceName::new(&format!("r{resource}")).expect("a name")
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

    /// How many branches have committed.
    pub fn effects(&self) -> usize {
        let participants = self.participants.iter();
        participants.map(|participant| participant.effects.len()).sum()
    }

    /// Everything that is wrong by now.
    pub fn violations(&mut self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.world.oracle.violations);
        for participant in &mut self.participants {
            wrong.append(&mut participant.violations);
        }
        for ((transaction, branch), times) in self.participants.iter().flat_map(|one| &one.effects) {
            if *times != 1 || !self.world.oracle.is_committed(*transaction) {
                wrong.push(format!(
                    "branch {branch} of {transaction} took place {times} times"
                ));
            }
        }
        wrong
    }

    /// What must hold in the end besides: nothing is left, and what was told is what happened.
    pub fn left(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (resource, participant) in self.participants.iter().enumerate() {
            let prepared = participant.prepared();
            if !prepared.is_empty() {
                wrong.push(format!("r{resource} still keeps prepared {prepared:?}"));
            }
        }
        let core = self.world.core().expect("it runs");
        let live = core.status().table.live;
        if live > 0 || self.world.stopped().is_some() {
            wrong.push(format!(
                "{live} transactions are still live: {:?}",
                core.live(self.world.now(), None, 9)
            ));
        }
        for transaction in &self.transactions {
            let effects = self
                .participants
                .iter()
                .flat_map(|participant| &participant.effects);
            let found = effects.filter(|((other, _), _)| other == transaction).count();
            let due = self.world.oracle.branches_to_commit(*transaction);
            if found != due {
                wrong.push(format!("{transaction} took place in {found} of {due} branches"));
            }
            if matches!(self.told.get(transaction), Some(Outcome::Aborted { .. })) && found > 0 {
                wrong.push(format!("{transaction} was told as aborted and took place"));
            }
        }
        wrong
    }

    /// A checkpoint and what follows must answer like the whole log.
    pub fn folds(&self) -> Vec<String> {
        let mut answers = [true, false].map(|from_checkpoint| {
            let recovery = self.world.fold(from_checkpoint);
            let next = self.world.accepted().next();
            let mut effects = Vec::new();
            let core = Coordinator::start(recovery, next, Moment(0), self.world.wall_ms(), &mut effects);
            self.questions(core)
        });
        let [checkpoint, whole] = &mut answers;
        if checkpoint == whole {
            return Vec::new();
        }
        vec![format!(
            "the checkpoint answers {checkpoint:?}, the whole log {whole:?}"
        )]
    }

    /// What participants are told about what they keep prepared, and clients under each key.
    fn questions(&self, mut core: Coordinator) -> BTreeSet<String> {
        let mut effects = Vec::new();
        for (resource, participant) in self.participants.iter().enumerate() {
            let session = SessionId(1_000_000 + resource as u64);
            let hello = hello(session, resource, true);
            core.handle(Moment(0), Event::SessionUp { session, hello }, &mut effects);
            core.handle(Moment(0), participant.scan(session), &mut effects);
        }
        effects.retain(|effect| {
            let to_prepared = |transaction, branch| {
                let mut prepared = self.participants.iter().flat_map(Participant::prepared);
                prepared.any(|key| key == (transaction, branch))
            };
            match effect {
                Effect::Send {
                    message:
                        Message::Decision {
                            transaction, branch, ..
                        }
                        | Message::Answer {
                            transaction, branch, ..
                        },
                    ..
                } => to_prepared(*transaction, *branch),
                _ => false,
            }
        });
        for key in 0..3 {
            let call = Call(1_000_000 + u64::from(key));
            let request = keyed_request(key);
            core.handle(Moment(0), Event::Execute { call, request }, &mut effects);
        }
        let answers = effects.iter().filter(|effect| match effect {
            Effect::Send { message, .. } => !matches!(message, Message::Prepare { .. }),
            Effect::Reply { .. } => true,
            _ => false,
        });
        answers.map(|effect| format!("{effect:?}")).collect()
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
            1 => vote(Vote::ReadOnly),
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
                    phase: phases[usize::from(lie / 8) % 3],
                }],
                complete: lie & 16 == 0,
            },
        });
    }

    /// What the coordinator itself finds wrong with its counts.
    pub fn audit(&self) -> Vec<String> {
        self.world.core().map(Coordinator::audit).unwrap_or_default()
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
            Happened::Logged(_, Record::Registered { transaction, .. }, _) => {
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

fn request(resources: impl Iterator<Item = usize>) -> ExecuteRequest {
    let operations = resources.map(|resource| OperationRequest {
        resource: name(resource),
        operation: Arc::from(&b"work"[..]),
    });
    ExecuteRequest {
        key: None,
        operations: operations.collect(),
        timeout_ms: None,
        wait: Wait::Decided,
    }
}

/// The one request that each key stands for.
fn keyed_request(key: u8) -> ExecuteRequest {
    let mut request = request([0, 1, 2].into_iter().take(usize::from(key) + 1));
    request.key = Some(KeyClaim {
        key: IdempotencyKey::new(&format!("k{key}")).expect("a key"),
        expires_at_ms: WALL_MS + 24 * 3600 * 1000,
        digest: RequestDigest([key; 32]),
    });
    request
}

fn hello(session: SessionId, resource: usize, attached: bool) -> SessionHello {
    SessionHello {
        resource: name(resource),
        store: StoreId(resource as u128),
        generation: Generation(1),
        instance: InstanceId(u128::from(session.0)),
        attached,
        seen: Vec::new(),
    }
}
