//! What everybody in a run shares: the plan, the disks, the stores, the network's state, the trace and the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handfast_ids::{LogId, StoreId};
use handfast_participant::participant::Handle as Joining;
use madsim::runtime::NodeHandle;
use madsim::task::{AbortHandle, NodeId};
use madsim::time::TimeHandle;
use tokio::sync::mpsc;

use crate::chaos::Wires;
use crate::clocks::Clocks;
use crate::coverage::{Coverage, Edge};
use crate::disk::{Machine, Speed};
use crate::intent::{Intent, Operation};
use crate::oracle::Oracle;
use crate::own::{Register, Running};
use crate::plan::{Fault, Plan};
use crate::random;
use crate::scenario::Script;
use crate::stores::database::{Database, Hand, Hindrance, Speaker};
use crate::stores::ledger::Ledger;
use crate::trace::{Event, Node, Trace};

/// What everybody shares.
pub struct World {
    /// What the seed stands for.
    pub plan: Plan,
    /// What the clients want.
    pub intents: Vec<Intent>,
    /// The disks of the coordinators, then those of the participants.
    machines: Vec<Machine>,
    /// The stores that outlive their processes, by participant.
    databases: BTreeMap<u8, Database>,
    /// What the service in the ledgers' place is asked for, if there is one.
    register: Option<Arc<Register>>,
    /// The network's state.
    pub wires: Mutex<Wires>,
    /// The coordinators' wall clocks.
    pub clocks: Clocks,
    /// How far each client is.
    progress: Mutex<Vec<usize>>,
    clients_done: Mutex<BTreeSet<u8>>,
    is_healed: AtomicBool,
    processes: Mutex<Processes>,
    exits: mpsc::UnboundedSender<Node>,
    tasks: Mutex<Vec<AbortHandle>>,
    record: Mutex<Record>,
    /// What strikes in the nemesis' place.
    pub script: Option<Script>,
}

/// What lives and dies with a process.
#[derive(Default)]
struct Processes {
    ledgers: BTreeMap<u8, Ledger>,
    own: BTreeMap<u8, Arc<dyn Running>>,
    /// By the participant's node and the coordinator.
    services: BTreeMap<(u8, u8), Service>,
    logs: BTreeMap<LogId, u8>,
    /// Coordinators that serve.
    serving: BTreeSet<u8>,
    /// Which node has the log of a coordinator with a standby.
    active: u8,
    /// Where the processes of participants and clients run.
    places: BTreeMap<NodeId, Node>,
    /// Those that have started once.
    clients_started: BTreeSet<u8>,
}

/// How applications reach a database in a transaction.
#[derive(Clone)]
pub struct Service {
    /// To join.
    pub joining: Joining,
    /// To work.
    pub speaker: Speaker,
}

struct Record {
    trace: Trace,
    oracle: Oracle,
    coverage: Coverage,
    failure: Option<String>,
}

impl World {
    /// Everything as it is before anybody has started. Exits of processes are told to `exits`.
    pub fn new(plan: Plan, server: &NodeHandle, exits: mpsc::UnboundedSender<Node>, is_kept: bool) -> World {
        let mut intents = crate::workload::intents(&plan);
        let register = plan.own.as_ref().map(|own| {
            own.adapt(&plan, &mut intents);
            Arc::new(Register::new(own, &plan, &intents))
        });
        let disks = plan.coordinators + plan.participants();
        let machine = |number: u8| {
            let mut random = random::stream(plan.seed, ("disk", number));
            let sync_max_ms = random.u64(1..8);
            Machine::new(
                random.u64(..),
                Speed {
                    sync_min_ms: 1,
                    sync_max_ms,
                },
            )
        };
        let database = |number: u8| {
            let store = StoreId(0xda7a_0000 + u128::from(number));
            (number, Database::new(store, server.clone()))
        };
        World {
            machines: (0..disks).map(machine).collect(),
            databases: (plan.ledgers..plan.participants()).map(database).collect(),
            register,
            wires: Mutex::new(Wires::new(&plan)),
            clocks: Clocks::default(),
            progress: Mutex::new(vec![0; plan.clients.into()]),
            clients_done: Mutex::default(),
            is_healed: AtomicBool::new(false),
            processes: Mutex::default(),
            exits,
            tasks: Mutex::default(),
            record: Mutex::new(Record {
                trace: Trace::new(is_kept),
                oracle: Oracle::new(&plan, &intents),
                coverage: Coverage::default(),
                failure: None,
            }),
            intents,
            script: plan.scenario.clone().map(Script::new),
            plan,
        }
    }

    /// Runs something that belongs to the run and to no node, until it is done or the run ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = madsim::task::spawn(task).abort_handle();
        self.tasks
            .lock()
            .expect("nothing panics while it holds this lock")
            .push(task);
    }

    /// The run ends. A task that still sleeps would keep the clock, the clock's timer keeps the task, and the task keeps
    /// this world: for ever.
    pub fn end_tasks(&self) {
        let tasks = &mut *self
            .tasks
            .lock()
            .expect("nothing panics while it holds this lock");
        tasks.drain(..).for_each(|task| task.abort());
    }

    /// Something happened.
    pub fn record(&self, event: &Event) {
        {
            let record = &mut *self.entries();
            let at = TimeHandle::current().elapsed();
            record.trace.take(at, event);
            record.coverage.take(event);
            if let Err(violation) = record.oracle.take(at, event) {
                record.violated(at, violation);
            }
        }
        if let Some(script) = &self.script {
            script.take_event(self, event);
        }
    }

    /// A core has taken an edge.
    pub fn takes_edge(&self, edge: Edge) {
        self.entries().coverage.take_edge(edge);
    }

    /// Something that only whoever reads the trace wants to know.
    pub fn note(&self, event: &Event) {
        self.entries().trace.note(TimeHandle::current().elapsed(), event);
    }

    /// Whether somebody will read the trace.
    pub fn is_read(&self) -> bool {
        self.entries().trace.is_kept()
    }

    /// A property does not hold.
    pub fn violated(&self, violation: String) {
        self.entries()
            .violated(TimeHandle::current().elapsed(), violation);
    }

    /// The first property that did not hold.
    pub fn failure(&self) -> Option<String> {
        self.entries().failure.clone()
    }

    /// What the run leaves: trace, coverage and the first failure.
    pub fn leave(&self) -> (Trace, Coverage, Option<String>) {
        let record = &mut *self.entries();
        record.coverage.take_intents(&self.plan, &self.intents);
        let trace = std::mem::replace(&mut record.trace, Trace::new(false));
        (trace, std::mem::take(&mut record.coverage), record.failure.take())
    }

    /// Whether some store holds a branch that only an operator can finish: its transaction was undecided when the
    /// coordinator crashed, no record of it had reached the disk, and the history is so short that it has passed it.
    pub fn has_forgotten(&self) -> bool {
        self.entries().oracle.has_forgotten()
    }

    /// Judges the end.
    pub fn judge(&self) {
        let ending = crate::oracle::Ending::of(self);
        let verdicts = self.entries().oracle.at_the_end(&ending);
        for violation in verdicts {
            self.violated(violation);
        }
    }

    /// Whether a node has its coordinator's log: it is not one that stands by.
    pub fn is_active(&self, node: u8) -> bool {
        !self.plan.has_standby || self.processes().active == node
    }

    /// Which node has a coordinator's log.
    pub fn active(&self, coordinator: u8) -> u8 {
        match self.plan.has_standby {
            true => self.processes().active,
            false => coordinator,
        }
    }

    /// The log goes over to the other node, with its disk; whatever the earlier one still asks of the disk fails.
    pub fn hand_over(&self) -> Node {
        if let Some(machine) = self.machine(Node::Coordinator(self.active(0))) {
            machine.fence();
        }
        let processes = &mut *self.processes();
        processes.active = 1 - processes.active;
        Node::Coordinator(processes.active)
    }

    /// All disks.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The disk of a participant, or of a coordinator that has its log.
    pub fn machine(&self, node: Node) -> Option<&Machine> {
        match node {
            Node::Coordinator(number) if !self.is_active(number) => None,
            Node::Coordinator(number) => self.machines.get(usize::from(self.plan.log_of(number))),
            Node::Participant(number) => self.machines.get(usize::from(self.plan.coordinators + number)),
            Node::Client(_) => None,
        }
    }

    /// The store of a participant, if it is one that outlives its process.
    pub fn database(&self, participant: u8) -> Option<&Database> {
        self.databases.get(&participant)
    }

    /// The right store is back in the place of a copy that was too old, if there is one.
    pub fn put_right(&self, participant: u8) {
        if let Some(database) = self.database(participant)
            && database.is_restored()
        {
            database.by_hand(Hand::PutRight);
            database.hinder(|hindrance| hindrance.has_no_slots = false);
            self.record(&Event::PutRight(Node::Participant(participant)));
        }
    }

    /// All of those.
    pub fn databases(&self) -> &BTreeMap<u8, Database> {
        &self.databases
    }

    /// The state of a ledger's process, if it runs.
    pub fn ledger(&self, participant: u8) -> Option<Ledger> {
        self.processes().ledgers.get(&participant).cloned()
    }

    /// A ledger's process has begun.
    pub fn ledger_starts(&self, participant: u8, ledger: Ledger) {
        self.processes().ledgers.insert(participant, ledger);
    }

    /// The service in the ledgers' place, if its process runs.
    pub(crate) fn own(&self, participant: u8) -> Option<Arc<dyn Running>> {
        self.processes().own.get(&participant).cloned()
    }

    /// A process of that service has begun.
    pub(crate) fn own_starts(&self, participant: u8, own: Arc<dyn Running>) {
        self.processes().own.insert(participant, own);
    }

    /// What that service is asked for.
    pub(crate) fn register(&self) -> Option<&Arc<Register>> {
        self.register.as_ref()
    }

    /// The operation of a part, as its participant reads it.
    pub fn operation(&self, intent: &Intent, number: usize) -> bytes::Bytes {
        let part = u8::try_from(number).expect("a transaction has few parts");
        let own = self
            .register
            .as_ref()
            .and_then(|register| register.operation(intent.number, part));
        own.unwrap_or_else(|| intent.operation(number).encode())
    }

    /// Which intent a participant's operation is of, if it is one.
    pub fn intent_of(&self, participant: u8, operation: &[u8]) -> Option<u32> {
        match &self.register {
            Some(register) if participant < self.plan.ledgers => {
                register.tag(operation).map(|tag| tag.intent)
            }
            _ => Operation::decode(operation).map(|operation| operation.intent),
        }
    }

    /// The process that calls this is a participant's or a client's, on a machine of its own.
    pub fn runs_here(&self, node: Node) {
        let here = madsim::plugin::node();
        self.processes().places.insert(here, node);
    }

    /// Whose process calls this, if it is a participant's or a client's.
    pub fn here(&self) -> Option<Node> {
        let here = madsim::plugin::node();
        self.processes().places.get(&here).copied()
    }

    /// A database's process can be reached by applications.
    pub fn serve(&self, participant: u8, coordinator: u8, service: Service) {
        self.processes()
            .services
            .insert((participant, coordinator), service);
    }

    /// How applications reach a database, if a process of it runs. Its instances take turns.
    pub fn service(&self, participant: u8, coordinator: u8, turn: usize) -> Option<Service> {
        let processes = self.processes();
        let instances = self.plan.instances_of(participant);
        let up: Vec<&Service> = instances
            .filter_map(|node| processes.services.get(&(node, coordinator)))
            .collect();
        up.get(turn % up.len().max(1)).map(|service| (*service).clone())
    }

    /// A process is gone.
    pub fn gone(&self, node: Node) {
        match node {
            Node::Coordinator(number) => {
                self.processes().serving.remove(&number);
            }
            Node::Participant(number) => {
                let processes = &mut *self.processes();
                processes
                    .services
                    .retain(|(participant, _), _| *participant != number);
                processes.own.remove(&number);
            }
            Node::Client(_) => {}
        }
    }

    /// A process has ended by itself.
    pub fn ended(&self, node: Node, why: String) {
        self.gone(node);
        self.record(&Event::Ended(node, why));
        // Without a supervisor the run is over.
        let _ = self.exits.send(node);
    }

    /// A coordinator serves from here on.
    pub fn starts_to_serve(&self, coordinator: u8) {
        self.processes().serving.insert(coordinator);
        self.record(&Event::Serves(Node::Coordinator(coordinator)));
    }

    /// Whether a coordinator serves.
    pub fn serves(&self, coordinator: u8) -> bool {
        self.processes().serving.contains(&coordinator)
    }

    /// Whether a coordinator's log was made.
    pub fn has_log(&self, coordinator: u8) -> bool {
        self.processes().logs.values().any(|owner| *owner == coordinator)
    }

    /// It was.
    pub fn log_was_made(&self, coordinator: u8, log: LogId) {
        self.processes().logs.insert(log, coordinator);
    }

    /// Whose log it is. Everybody's is known before it serves.
    pub fn coordinator_of(&self, log: LogId) -> u8 {
        self.processes().logs.get(&log).copied().unwrap_or(u8::MAX)
    }

    /// How many of its intents a client has begun.
    pub fn begun(&self, client: u8) -> usize {
        self.progress
            .lock()
            .expect("nothing panics while it holds this lock")[usize::from(client)]
    }

    /// Whether a client's process is not its first, told once for each process.
    pub fn is_restarted(&self, client: u8) -> bool {
        !self.processes().clients_started.insert(client)
    }

    /// A client goes on to its next intent.
    pub fn advance(&self, client: u8) {
        self.progress
            .lock()
            .expect("nothing panics while it holds this lock")[usize::from(client)] += 1;
    }

    /// A client has nothing left to do. Restarted, it says so again.
    pub fn client_done(&self, client: u8) {
        self.done().insert(client);
    }

    /// Whether no client has anything left to do.
    pub fn clients_are_done(&self) -> bool {
        self.done().len() >= usize::from(self.plan.clients)
    }

    /// Whether this fault may happen now.
    pub fn may(&self, fault: Fault) -> bool {
        self.plan.has(fault) && !self.is_healed()
    }

    /// Whether faults have stopped.
    pub fn is_healed(&self) -> bool {
        self.is_healed.load(Ordering::Relaxed)
    }

    /// Faults stop.
    pub fn heal(&self) {
        self.is_healed.store(true, Ordering::Relaxed);
        for machine in &self.machines {
            machine.heal();
        }
        self.wires
            .lock()
            .expect("nothing panics while it holds this lock")
            .heal();
        // What a scenario makes of a store is its own matter.
        if self.script.is_none() {
            for (participant, database) in &self.databases {
                self.put_right(*participant);
                database.hinder(|hindrance| *hindrance = Hindrance::default());
            }
        }
        self.record(&Event::Healed);
    }

    fn done(&self) -> MutexGuard<'_, BTreeSet<u8>> {
        self.clients_done
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn entries(&self) -> MutexGuard<'_, Record> {
        self.record
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Record {
    fn violated(&mut self, at: Duration, violation: String) {
        self.trace.take(at, &Event::Violation(violation.clone()));
        self.failure.get_or_insert(violation);
    }
}
