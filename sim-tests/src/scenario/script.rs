//! Plays a scenario's faults: looks at everything that happens, and does what the file says at its points.
//!
//! 1. The world shows an occurrence, in the midst of whatever does it.
//! 2. What concerns the frame, the call or the disk at hand is done at once, so that nothing of it gets through that must
//!    not; a dying machine's disk is told at once, too.
//! 3. What concerns a node, or is to happen later, is handed to [`perform`], which is no part of any node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handfast_proto::alarm::once::{sleep, timeout};
use madsim::time::Instant;
use tokio::sync::mpsc;

use super::fault::Action;
use super::point::{Occurrence, Step};
use super::until::Untils;
use super::{Scenario, ScriptedFault, mishap, sight};
use crate::chaos::Direction;
use crate::cluster::{Cluster, Death};
use crate::trace::{Event, Node, Transaction};
use crate::world::World;

/// Faults whose points have not come after this time are given up.
const PATIENCE: Duration = Duration::from_secs(25);

/// What runs on after the last fault was over and the last client was answered.
const AFTERMATH: Duration = Duration::from_secs(3);

/// How often it is looked whether everything is over.
const LOOK: Duration = Duration::from_millis(100);

/// A scenario, and how far it has come.
pub struct Script {
    scenario: Arc<Scenario>,
    state: Mutex<State>,
}

struct State {
    /// How often the point of each fault has come.
    counts: Vec<u32>,
    fired: Vec<bool>,
    untils: Untils,
    names: Names,
    frame: FrameOrder,
    call: CallOrder,
    orders: mpsc::UnboundedSender<usize>,
    ordered: Option<mpsc::UnboundedReceiver<usize>>,
    under_way: u32,
    is_closed: bool,
}

/// What is to become of the frame at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameOrder {
    /// It is lost.
    pub is_lost: bool,
    /// It takes longer.
    pub delay: Duration,
    /// Others overtake it meanwhile.
    pub overtakes: bool,
    /// It arrives once more after this time.
    pub echo: Option<Duration>,
    /// Another instance votes for the branches that it asks for.
    pub strays: bool,
}

/// What is to become of the call at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallOrder {
    /// It never arrives.
    pub is_request_lost: bool,
    /// Its answer never arrives.
    pub is_answer_lost: bool,
    /// It arrives twice.
    pub is_doubled: bool,
}

/// Which transaction of the file has which id.
#[derive(Default)]
struct Names(BTreeMap<Transaction, u32>);

impl Names {
    /// What an event is, in the words of points.
    fn name(&mut self, event: &Event) -> Option<Occurrence> {
        if let Some((transaction, intent)) = event.names() {
            self.0.insert(transaction, intent);
        }
        let (step, node, transaction) = sight::of(event)?;
        let known = transaction.and_then(|transaction| self.0.get(&transaction).copied());
        Some(Occurrence {
            step,
            node: Some(node),
            transaction: sight::intent_of(event).or(known),
        })
    }
}

/// All occurrences of a trace, each with its line.
pub(super) fn name_all(lines: &[(Duration, Event)]) -> Vec<(usize, Occurrence)> {
    let mut names = Names::default();
    let mut all = Vec::new();
    for (index, (_, event)) in lines.iter().enumerate() {
        if let Event::Logged(node, moment, matters, _) = event {
            all.extend(matters.iter().map(|matter| {
                let occurrence = Occurrence {
                    step: Step::Disk(*moment, *matter),
                    node: Some(*node),
                    transaction: None,
                };
                (index, occurrence)
            }));
        }
        all.extend(names.name(event).map(|occurrence| (index, occurrence)));
    }
    all
}

impl Script {
    /// Before anything has happened.
    pub fn new(scenario: Arc<Scenario>) -> Script {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (faults, untils) = (scenario.faults.len(), Untils::new(&scenario.faults));
        Script {
            scenario,
            state: Mutex::new(State {
                counts: vec![0; faults],
                fired: vec![false; faults],
                untils,
                names: Names::default(),
                frame: FrameOrder::default(),
                call: CallOrder::default(),
                orders,
                ordered: Some(ordered),
                under_way: 0,
                is_closed: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// An event has happened.
    pub fn take_event(&self, world: &World, event: &Event) {
        let occurrence = self.state().names.name(event);
        if let Some(occurrence) = occurrence {
            self.take(world, &[occurrence]);
        }
    }

    /// Something has happened that is all of these at once.
    pub fn take(&self, world: &World, occurrences: &[Occurrence]) {
        for occurrence in occurrences {
            self.state().untils.take(occurrence);
        }
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            let Some(point) = fault.at else { continue };
            for _ in occurrences.iter().filter(|occurrence| point.is(occurrence)) {
                let (count, is_closed) = {
                    let mut state = self.state();
                    state.counts[number] += 1;
                    (state.counts[number], state.is_closed)
                };
                if !is_closed && point.nth.is_none_or(|nth| nth == count) {
                    self.fire(world, number, fault);
                }
            }
        }
    }

    fn fire(&self, world: &World, number: usize, fault: &ScriptedFault) {
        {
            let state = &mut *self.state();
            state.fired[number] = true;
            let frame = &mut state.frame;
            match fault.action {
                Action::Drop => frame.is_lost = true,
                Action::Delay => frame.delay = fault.duration(),
                Action::Overtake => (frame.delay, frame.overtakes) = (fault.duration(), true),
                Action::Duplicate => frame.echo = Some(fault.duration()),
                Action::StrayVote => frame.strays = true,
                Action::LoseRequest => state.call.is_request_lost = true,
                Action::LoseAnswer => state.call.is_answer_lost = true,
                Action::DoubleRequest => state.call.is_doubled = true,
                _ => {
                    state.under_way += 1;
                    // Without a receiver the run is over.
                    let _ = state.orders.send(number);
                }
            }
        }
        if fault.later_ms == 0 {
            tell(world, fault);
            at_once(world, fault);
        }
    }

    /// What is to become of the frame whose messages were shown last.
    pub fn frame(&self) -> FrameOrder {
        std::mem::take(&mut self.state().frame)
    }

    /// What is to become of a call that is made now.
    pub fn call(&self, world: &World) -> CallOrder {
        let occurrence = Occurrence {
            step: Step::Call,
            node: None,
            transaction: None,
        };
        self.take(world, &[occurrence]);
        std::mem::take(&mut self.state().call)
    }

    /// Waits for the points that end a fault.
    async fn until(&self, number: usize) {
        let mut turns = self.state().untils.turns();
        while self.state().untils.missing(number).next().is_some() && turns.changed().await.is_ok() {}
    }

    /// Points that end faults which have begun, and have not come.
    fn endless(&self) -> Vec<String> {
        let state = self.state();
        let begun = self
            .scenario
            .faults
            .iter()
            .enumerate()
            .filter(|(number, _)| state.fired[*number]);
        begun
            .flat_map(|(number, fault)| {
                let missing = state.untils.missing(number);
                missing.map(move |point| format!("`{point}`, the end of {},", fault.action))
            })
            .collect()
    }

    /// Faults whose point has not come.
    fn outstanding(&self) -> Vec<String> {
        let state = self.state();
        let faults = self.scenario.faults.iter().zip(&state.fired);
        faults
            .filter(|(fault, fired)| !**fired && !fault.optional)
            .filter_map(|(fault, _)| fault.at.map(|point| format!("`{point}`, to {},", fault.action)))
            .collect()
    }

    fn is_over(&self) -> bool {
        self.outstanding().is_empty() && self.state().under_way == 0
    }
}

/// Does what the script orders, until all of it is over and the clients are answered.
pub async fn perform(world: Arc<World>, cluster: Cluster, script: &Script) {
    let ordered = script.state().ordered.take();
    let mut ordered = ordered.expect("a script is performed once");
    let begun = now();
    for (number, fault) in script.scenario.faults.iter().enumerate() {
        if let Some(at_ms) = fault.at_ms {
            script.state().under_way += 1;
            let (stage, cluster) = (world.clone(), cluster.clone());
            world.spawn(async move {
                sleep(Duration::from_millis(at_ms)).await;
                execute(&stage, &cluster, number, true).await;
            });
        }
    }
    let mut busy_at = begun;
    while now() - begun < PATIENCE && world.failure().is_none() {
        if !script.is_over() || !world.clients_are_done() {
            busy_at = now();
        } else if now() - busy_at >= AFTERMATH {
            break;
        }
        if let Ok(Some(number)) = timeout(LOOK, ordered.recv()).await {
            let (stage, cluster) = (world.clone(), cluster.clone());
            world.spawn(async move { execute(&stage, &cluster, number, false).await });
        }
    }
    for point in [script.outstanding(), script.endless()].concat() {
        world.violated(format!("scenario: {point} was to come, and did not"));
    }
    script.state().is_closed = true;
}

async fn execute(world: &Arc<World>, cluster: &Cluster, number: usize, is_timed: bool) {
    let Some(script) = &world.script else { return };
    let fault = &script.scenario.faults[number];
    if is_timed || fault.later_ms > 0 {
        sleep(Duration::from_millis(fault.later_ms)).await;
        tell(world, fault);
        at_once(world, fault);
    }
    on_node(world, cluster, script, number).await;
    let state = &mut *script.state();
    state.fired[number] = true;
    state.under_way -= 1;
}

fn tell(world: &World, fault: &ScriptedFault) {
    let lasts = directions(fault.action).is_some() || fault.action == Action::DiskStalls;
    let words = match lasts {
        true => format!("{} for {} ms", fault.action, fault.duration().as_millis()),
        false => fault.action.to_string(),
    };
    world.record(&Event::Scripted(fault.node, words));
}

/// What is done to a disk, a link or a store, in the midst of what happens.
fn at_once(world: &World, fault: &ScriptedFault) {
    let Some(node) = fault.node else { return };
    if let Some(directions) = directions(fault.action) {
        let mut wires = world
            .wires
            .lock()
            .expect("nothing panics while it holds this lock");
        for direction in directions {
            wires.cut(node, *direction, fault.duration());
        }
    }
    if let (Node::Coordinator(number), Some(by_ms)) = (node, fault.by_ms) {
        world.clocks.jump(number, by_ms);
    }
    if let Node::Participant(number) = node
        && let Some(database) = world.database(world.plan.participant_of(number))
    {
        mishap::happens(database, fault.action);
    }
    let Some(machine) = world.machine(node) else {
        return;
    };
    match fault.action {
        Action::Kill => machine.process_death(),
        Action::PowerLoss => machine.power_loss_that_keeps(fault.kept()),
        Action::SyncFails => machine.fail_syncs(1, fault.kept()),
        Action::WriteFails => machine.fail_writes(1, fault.kept()),
        Action::DiskStalls => machine.stall(fault.duration()),
        Action::DiskFull => machine.set_capacity(Some(machine.used())),
        _ => {}
    }
}

fn directions(action: Action) -> Option<&'static [Direction]> {
    match action {
        Action::Cut => Some(&[Direction::Out, Direction::In]),
        Action::CutOut => Some(&[Direction::Out]),
        Action::CutIn => Some(&[Direction::In]),
        _ => None,
    }
}

/// What is done to a node, and how it ends.
async fn on_node(world: &Arc<World>, cluster: &Cluster, script: &Script, number: usize) {
    let fault = &script.scenario.faults[number];
    let Some(node) = fault.node else { return };
    let lasts = || async {
        match fault.until.is_empty() {
            true => sleep(fault.duration()).await,
            false => script.until(number).await,
        }
    };
    match fault.action {
        Action::Kill | Action::PowerLoss => {
            cluster.kill(node, Death::Process);
            lasts().await;
            cluster.restart(node);
        }
        Action::Pause => {
            cluster.pause(node);
            lasts().await;
            cluster.resume(node);
        }
        Action::TakeOver => {
            cluster.take_over(node);
            lasts().await;
            cluster.resume(node);
        }
        Action::Drain => cluster.terminate(node),
        Action::SecondProcess => {
            if let Node::Coordinator(number) = node {
                crate::processes::second_coordinator(world.clone(), number).await;
            }
        }
        // The run goes on until it is over: the end of a run heals what still lasts.
        Action::Cut | Action::CutOut | Action::CutIn | Action::DiskStalls => lasts().await,
        Action::DiskFull => {
            lasts().await;
            if let Some(machine) = world.machine(node) {
                machine.set_capacity(None);
            }
        }
        Action::FlipBit | Action::Restore | Action::Empty => repair(world, cluster, fault, node).await,
        Action::Backup => {
            if let Some(machine) = world.machine(node) {
                machine.keep_backup();
            }
        }
        Action::NoSlots | Action::ScanFails | Action::OtherStore | Action::OlderLife => {
            lasts().await;
            if let Node::Participant(number) = node
                && let Some(database) = world.database(world.plan.participant_of(number))
            {
                mishap::is_over(database);
            }
        }
        _ => {}
    }
}

/// The machine is started on what it must not start on; then what was there is put back.
async fn repair(world: &Arc<World>, cluster: &Cluster, fault: &ScriptedFault, node: Node) {
    let Some(machine) = world.machine(node) else {
        return;
    };
    cluster.take_away(node);
    let before = machine.backup();
    match fault.action {
        Action::FlipBit => {
            machine.flip_bit(|name| name.starts_with("segment-"));
        }
        Action::Restore => machine.restore_backup(),
        _ => machine.empty(),
    }
    sleep(Duration::from_millis(100)).await;
    cluster.bring_back(node);
    sleep(fault.duration()).await;
    cluster.take_away(node);
    machine.restore(&before);
    world.record(&Event::Scripted(Some(node), "repaired".to_owned()));
    cluster.bring_back(node);
}

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}
