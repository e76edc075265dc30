//! One state of a world: everything that the next step depends on, and what the rules must remember.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use handfast_core::{Call, Coordinator, Event, Limits, Lsn, Moment, SessionHello, SessionId};
use handfast_ids::{BranchId, Epoch, Generation, InstanceId, ResourceName, StoreId, TransactionId};

use super::journal::{IDENTITY, Journal};
use super::network::{Network, Part};
use super::participant::Participant;
use super::rules::{Breach, Rule};
use super::world::{Bounds, ClientRole, PERIOD_MS, RESOURCES, Role, World};

/// A state. The coordinator in it is the real one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub coordinator: Arc<Coordinator>,
    pub now: Moment,
    pub journal: Journal,
    pub network: Network,
    pub participants: Vec<Participant>,
    /// The sessions that the coordinator holds, each with its participant.
    pub sessions: BTreeMap<SessionId, usize>,
    pub clients: Vec<Client>,
    /// Calls that have not been answered, each with its client.
    pub calls: BTreeMap<Call, usize>,
    pub last_session: u64,
    pub last_call: u64,
    pub left: Bounds,
    pub memory: Memory,
}

/// A client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    pub asks: u8,
    /// Interactive: the branches that it was told of.
    pub joined: BTreeSet<BranchId>,
    /// Interactive: the branches that its Commit counts, once it has been sent.
    pub expected: Option<BTreeSet<BranchId>>,
}

/// What nobody in the world knows, and the rules must.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Memory {
    pub transactions: BTreeSet<TransactionId>,
    /// Branches whose participant voted prepared or read-only.
    pub prepared: BTreeSet<Part>,
    pub read_only: BTreeSet<Part>,
    /// Branches whose yes has reached the coordinator.
    pub heard: BTreeSet<Part>,
    /// The session that a branch joined by or that its Prepare was sent to.
    pub pinned: BTreeMap<Part, SessionId>,
    /// Prepared branches that were carried out, and that were rolled back.
    pub committed: BTreeSet<Part>,
    pub rolled_back: BTreeSet<Part>,
    /// What participants were told.
    pub told_commit: BTreeSet<Part>,
    pub told_abort: BTreeSet<Part>,
    /// What clients were told.
    pub told: BTreeSet<(TransactionId, Told)>,
    /// What was answered under the key.
    pub answers: BTreeSet<(TransactionId, Told)>,
    /// A store has lost what it had promised or done.
    pub restored: bool,
    pub breach: Option<Breach>,
}

/// What a client learned of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Told {
    Committed,
    Aborted,
    Heuristic,
    /// Nothing was executed, and nothing ever will be.
    NoEffects,
}

impl State {
    /// The coordinator on an empty log, every participant connected, and the interactive transaction begun.
    pub fn first(world: &World) -> State {
        let journal = Journal::default();
        let recovery = journal
            .recover(limits(world), false)
            .expect("an empty log holds nothing wrong");
        let mut effects = Vec::new();
        let coordinator = Coordinator::start(recovery, Lsn(1), Moment(0), 1, &mut effects);
        let client = |_: &ClientRole| Client {
            asks: world.bounds.asks,
            joined: BTreeSet::new(),
            expected: None,
        };
        let mut state = State {
            coordinator: Arc::new(coordinator),
            now: Moment(0),
            journal,
            network: Network::default(),
            participants: vec![Participant::default(); world.participants.len()],
            sessions: BTreeMap::new(),
            clients: world.clients.iter().map(client).collect(),
            calls: BTreeMap::new(),
            last_session: 0,
            last_call: 0,
            left: world.bounds,
            memory: Memory::default(),
        };
        state.perform_all(world, effects);
        state.sync(world, state.journal.accepted());
        for participant in 0..state.participants.len() {
            state.connect(world, participant);
        }
        if world.is_interactive() {
            let call = state.next_call(0);
            state.hand_in(
                world,
                Event::Begin {
                    call,
                    timeout_ms: None,
                },
            );
            state.watch(world);
        }
        state.sync(world, state.journal.accepted());
        state
    }

    /// Hands an event to the coordinator and performs what it wants done. A panic of the core breaks a rule.
    pub fn hand_in(&mut self, world: &World, event: Event) {
        let now = self.now;
        let coordinator = Arc::make_mut(&mut self.coordinator);
        let mut effects = Vec::new();
        let handled = catch_unwind(AssertUnwindSafe(|| coordinator.handle(now, event, &mut effects)));
        if handled.is_err() {
            return self.breach(Rule::Sound, "the coordinator panicked".to_owned());
        }
        self.perform_all(world, effects);
    }

    /// The log becomes durable to `lsn`.
    pub fn sync(&mut self, world: &World, lsn: Lsn) {
        self.journal.sync(lsn);
        self.hand_in(world, Event::LogDurable(lsn));
        for effect in self.journal.release() {
            self.perform(world, Arc::unwrap_or_clone(effect));
        }
    }

    /// The process dies, and the next one takes up what is left of the log.
    pub fn crash(&mut self, world: &World, kept: Lsn, from_checkpoint: bool) {
        self.journal.crash(kept);
        for session in std::mem::take(&mut self.sessions).into_keys() {
            self.network.ended_by_coordinator(session);
        }
        self.calls.clear();
        let recovery = match self.journal.recover(limits(world), from_checkpoint) {
            Ok(recovery) => recovery,
            Err(error) => {
                return self.breach(Rule::Sound, format!("recovery refuses its own log: {error:?}"));
            }
        };
        let wall_ms = self.now.0 + 1;
        let mut effects = Vec::new();
        let started = catch_unwind(AssertUnwindSafe(|| {
            Coordinator::start(recovery, kept.next(), self.now, wall_ms, &mut effects)
        }));
        match started {
            Ok(coordinator) => self.coordinator = Arc::new(coordinator),
            Err(_) => return self.breach(Rule::Sound, "recovery panicked".to_owned()),
        }
        self.perform_all(world, effects);
        self.sync(world, self.journal.accepted());
    }

    /// A participant dials in: it fences, scans, says hello, and the lines of its scan follow.
    pub fn connect(&mut self, world: &World, index: usize) {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let participant = &mut self.participants[index];
        let old = participant.session.replace(session);
        participant.fence();
        let lines = participant.scan();
        let seen = participant.seen.map(|(epoch, lsn)| handfast_core::Seen {
            log: IDENTITY.log,
            epoch,
            lsn,
        });
        let decides = world.participants[index] == Role::Decides;
        let hello = SessionHello {
            resource: resource(index),
            store: store(index),
            generation: Generation(1),
            instance: InstanceId(u128::from(participant.instance)),
            attached: decides,
            one_phase: decides,
            seen: seen.into_iter().collect(),
        };
        if let Some(old) = old {
            self.network.left_by_participant(old);
        }
        self.sessions.insert(session, index);
        self.hand_in(world, Event::SessionUp { session, hello });
        if !lines.is_empty() {
            self.send_up(index, super::network::Up::Scan(lines));
        }
    }

    pub fn next_call(&mut self, client: usize) -> Call {
        self.last_call += 1;
        let call = Call(self.last_call);
        self.calls.insert(call, client);
        call
    }

    /// Somebody watches every transaction that there is.
    pub fn watch(&mut self, world: &World) {
        if let Some(&transaction) = self.memory.transactions.last() {
            // Numbered apart from the calls that wait for an outcome.
            let call = Call(u64::MAX - self.last_call);
            self.hand_in(world, Event::Watch { call, transaction });
        }
    }

    /// The first breach counts.
    pub fn breach(&mut self, rule: Rule, text: String) {
        self.memory.breach.get_or_insert(Breach { rule, text });
    }

    /// Notes the most that a participant has seen of the log.
    pub fn welcomed(&mut self, session: SessionId, epoch: Epoch, durable: Lsn) {
        if let Some(&participant) = self.sessions.get(&session) {
            let seen = &mut self.participants[participant].seen;
            *seen = (*seen).max(Some((epoch, durable)));
        }
    }

    /// Whether the session that a participant believes in is one that the coordinator holds.
    pub fn is_connected(&self, participant: usize) -> bool {
        self.participants[participant]
            .session
            .is_some_and(|session| self.sessions.contains_key(&session))
    }
}

/// The name of a participant's resource.
pub fn resource(index: usize) -> ResourceName {
    ResourceName::new(RESOURCES[index]).expect("the names are well formed")
}

fn store(index: usize) -> StoreId {
    StoreId(index as u128 + 1)
}

fn limits(world: &World) -> Limits {
    Limits {
        history: world.history,
        default_timeout_ms: PERIOD_MS,
        max_timeout_ms: PERIOD_MS,
        redelivery_min_ms: PERIOD_MS,
        redelivery_max_ms: PERIOD_MS,
        redelivery_step: 1,
        ..Limits::default()
    }
}
