//! Starts, kills and restarts nodes, as machines and supervisors do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handfast_proto::alarm::once::sleep;
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::NodeId;
use tokio::sync::mpsc;

use crate::trace::Node;
use crate::world::World;
use crate::{processes, random};

/// All nodes of a run.
#[derive(Clone)]
pub struct Cluster {
    world: Arc<World>,
    nodes: Arc<BTreeMap<Node, NodeId>>,
    lives: Arc<Mutex<BTreeMap<Node, Life>>>,
}

/// Which life a node is in, and whether it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Life {
    number: u32,
    state: LifeState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum LifeState {
    #[default]
    Up,
    Paused,
    Down,
    /// Down, and somebody does something to its machine.
    InRepair,
}

/// How a process ends that does not want to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// It alone.
    Process,
    /// With its machine.
    PowerLoss,
}

impl Cluster {
    /// Starts all nodes.
    pub fn start(world: Arc<World>) -> Cluster {
        let mut nodes = BTreeMap::new();
        let plan = &world.plan;
        let coordinators = (0..plan.coordinator_nodes()).map(Node::Coordinator);
        let participants = (0..plan.participant_nodes()).map(Node::Participant);
        for node in coordinators
            .chain(participants)
            .chain((0..plan.clients).map(Node::Client))
        {
            nodes.insert(node, build(&world, node).id());
        }
        let lives = nodes.keys().map(|node| (*node, Life::default())).collect();
        Cluster {
            world,
            nodes: Arc::new(nodes),
            lives: Arc::new(Mutex::new(lives)),
        }
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<Node, Life>> {
        self.lives
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn life(&self, node: Node) -> Life {
        self.lives()[&node]
    }

    fn set(&self, node: Node, state: LifeState) {
        let lives = &mut *self.lives();
        let life = lives.entry(node).or_default();
        life.number += u32::from(state == LifeState::Down || state == LifeState::InRepair);
        life.state = state;
    }

    /// Whether the node's process runs.
    pub fn is_up(&self, node: Node) -> bool {
        self.life(node).state == LifeState::Up
    }

    /// Ends a node. The disk is told first, so that what destructors do afterwards is done by a dead process.
    pub fn kill(&self, node: Node, death: Death) {
        match (self.world.machine(node), death) {
            (Some(machine), Death::Process) => machine.process_death(),
            (Some(machine), Death::PowerLoss) => machine.power_loss(),
            (None, _) => {}
        }
        self.world.gone(node);
        Handle::current().kill(self.nodes[&node]);
        self.set(node, LifeState::Down);
    }

    /// Starts a node that was ended.
    pub fn restart(&self, node: Node) {
        if self.life(node).state == LifeState::Down {
            self.set(node, LifeState::Up);
            Handle::current().restart(self.nodes[&node]);
        }
    }

    /// Takes a node away for repair: it loses power, and nobody else starts it.
    pub fn take_away(&self, node: Node) {
        self.kill(node, Death::PowerLoss);
        self.set(node, LifeState::InRepair);
    }

    /// Brings a repaired node back.
    pub fn bring_back(&self, node: Node) {
        self.set(node, LifeState::Down);
        self.restart(node);
    }

    /// A node stands still.
    pub fn pause(&self, node: Node) {
        self.set(node, LifeState::Paused);
        Handle::current().pause(self.nodes[&node]);
    }

    /// It goes on, if nothing has ended it meanwhile.
    pub fn resume(&self, node: Node) {
        if self.life(node).state == LifeState::Paused {
            self.set(node, LifeState::Up);
            Handle::current().resume(self.nodes[&node]);
        }
    }

    /// The standby takes up the log, whatever the node that had it does. That one's process stands still.
    pub fn take_over(&self, old: Node) {
        self.pause(old);
        let new = self.world.hand_over();
        self.world.gone(old);
        Handle::current().kill(self.nodes[&new]);
        self.set(new, LifeState::Down);
        self.restart(new);
    }

    /// Asks a node to shut down.
    pub fn terminate(&self, node: Node) {
        Handle::current().send_ctrl_c(self.nodes[&node]);
    }

    /// Ends all nodes, for good.
    pub fn end(&self) {
        for node in self.nodes.values() {
            Handle::current().kill(*node);
        }
    }

    /// Everything that stands still goes on, and everything that is down starts.
    pub fn heal(&self) {
        let nodes: Vec<Node> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.resume(node);
            // Somebody switches off a coordinator that another has taken the log from, should it not have noticed.
            if let Node::Coordinator(number) = node
                && !self.world.is_active(number)
            {
                self.kill(node, Death::Process);
            }
            self.restart(node);
        }
    }

    /// Starts processes again that end by themselves, as a supervisor does.
    pub async fn supervise(self, mut exits: mpsc::UnboundedReceiver<Node>) {
        let mut random = random::stream(self.world.plan.seed, "supervisor");
        while let Some(node) = exits.recv().await {
            let life = self.life(node).number;
            let pause = Duration::from_millis(random.u64(50..600));
            let cluster = self.clone();
            self.world.spawn(async move {
                sleep(pause).await;
                // Unless somebody has ended it meanwhile, and will start it.
                if cluster.life(node).number == life {
                    cluster.resume(node);
                    cluster.kill(node, Death::Process);
                    cluster.restart(node);
                }
            });
        }
    }
}

fn build(world: &Arc<World>, node: Node) -> NodeHandle {
    let world = world.clone();
    Handle::current()
        .create_node()
        .name(node.to_string())
        .ip(processes::address(node))
        .init(move || {
            let world = world.clone();
            async move {
                // In boxes, because the simulator moves a task several times before it runs, and these are large.
                match node {
                    Node::Coordinator(number) => Box::pin(processes::coordinator(world, number)).await,
                    Node::Participant(number) => Box::pin(processes::participant(world, number)).await,
                    Node::Client(number) => Box::pin(processes::client(world, number)).await,
                }
            }
        })
        .build()
}
