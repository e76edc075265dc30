//! The network above the transport: what becomes of frames of a session and calls of a client.
//!
//! Faults that it injects, and why the system should survive them:
//!
//! - *frames that are late, lost, doubled, or overtaken*: every message is idempotent, and what is not answered is sent
//!   again or asked for by the next scan.
//! - *a link that is cut in one direction or both, and tells nobody*: each side notices by the other's silence, and holds
//!   back nothing of anybody else meanwhile. What was under way arrives when the link heals, if somebody still listens.
//! - *a peer that is gone without a reset*: the same.
//! - *a vote by an instance that was not asked*: it counts for nothing.
//! - *requests and answers that are late or lost, one by one or all of a client's for a while*: the outcome is unknown to the
//!   client, and asking again under the same key or id is safe. Only such requests are doubled.

mod messages;
mod strays;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use handfast_ids::{LogId, ResourceName, TransactionId};
use handfast_participant::runtime::link::{Fate, Incoming, Network, Outgoing, Session};
use madsim::time::Instant;

use crate::plan::{Fault, Plan};
use crate::random;
use crate::trace::{Event, Node, Transaction};
use crate::world::World;
use strays::Strays;
use way::Way;

/// The way that frames take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// To the coordinator.
    Out,
    /// From the coordinator.
    In,
}

/// The network's state.
#[derive(Debug)]
pub struct Wires {
    random: fastrand::Rng,
    per_mille: u32,
    sessions: u32,
    /// By the participant's or client's node and the direction: until when nothing gets through.
    cuts: BTreeMap<(Node, Direction), Instant>,
    strays: Strays,
    /// Participants and the coordinators that have told them to commit something.
    in_earnest: BTreeSet<(u8, u8)>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, Default)]
struct FrameFate {
    delay: Duration,
    is_lost: bool,
    is_doubled: bool,
    /// The second one, how much later.
    again_after: Duration,
    overtakes: bool,
    /// It arrives once more after this time.
    echo: Option<Duration>,
    /// Another instance votes for the branches that it asks for.
    strays: bool,
}

impl Wires {
    /// A network without cuts.
    pub fn new(plan: &Plan) -> Wires {
        Wires {
            random: random::stream(plan.seed, "wires"),
            per_mille: plan.link_per_mille,
            sessions: 0,
            cuts: BTreeMap::new(),
            strays: Strays::new(),
            in_earnest: BTreeSet::new(),
        }
    }

    /// Nothing gets through to or from a participant's or client's node for a while.
    pub fn cut(&mut self, node: Node, direction: Direction, duration: Duration) {
        self.cuts.insert((node, direction), now() + duration);
    }

    /// Everything gets through.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Whether this coordinator has told the participant to commit something. Then its log holds whose name it is: records
    /// become durable in order.
    pub fn is_in_earnest(&self, participant: u8, coordinator: u8) -> bool {
        self.in_earnest.contains(&(participant, coordinator))
    }

    fn cut_until(&self, node: Node, direction: Direction) -> Option<Instant> {
        self.cuts.get(&(node, direction)).copied()
    }
}

/// The network that is put under the SDK.
pub struct Chaos(Arc<World>);

impl Chaos {
    /// The network of this world.
    pub fn new(world: Arc<World>) -> Arc<Chaos> {
        Arc::new(Chaos(world))
    }
}

impl Network for Chaos {
    fn session(&self, _resource: &ResourceName) -> Box<dyn Session> {
        let Some(Node::Participant(node)) = self.0.here() else {
            panic!("only participants' processes dial");
        };
        let number = {
            let mut wires = wires(&self.0);
            wires.sessions += 1;
            wires.sessions
        };
        let coordinator = Arc::new(AtomicU8::new(NOBODY));
        Box::new(Wire {
            world: self.0.clone(),
            node,
            number,
            coordinator,
        })
    }

    fn call(&self, may_repeat: bool) -> Fate {
        let world = &self.0;
        let happens = |fault| strikes(world, fault);
        let is_delayed = happens(Fault::CallDelayed);
        let fate = Fate {
            request: Duration::ZERO,
            answer: Duration::ZERO,
            is_request_lost: happens(Fault::RequestLost),
            is_answer_lost: happens(Fault::AnswerLost),
            is_doubled: may_repeat && happens(Fault::RequestDoubled),
        };
        if let Some(script) = &world.script {
            let order = script.call(world);
            return Fate {
                is_request_lost: order.is_request_lost,
                is_answer_lost: order.is_answer_lost,
                is_doubled: may_repeat && order.is_doubled,
                request: self.held_up(Direction::Out),
                ..fate
            };
        }
        let held_up = self.held_up(Direction::Out);
        let random = &mut wires(world).random;
        let mut delay = || match is_delayed {
            true => Duration::from_millis(random.u64(1..1500)),
            false => Duration::ZERO,
        };
        Fate {
            request: held_up + delay(),
            answer: delay(),
            ..fate
        }
    }

    fn answer_held_up(&self) -> Duration {
        self.held_up(Direction::In)
    }
}

impl Chaos {
    /// How long nothing gets through for the client whose process calls this.
    fn held_up(&self, direction: Direction) -> Duration {
        let until = self
            .0
            .here()
            .and_then(|client| wires(&self.0).cut_until(client, direction));
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now()))
    }
}

/// One session of one participant.
#[derive(Clone)]
struct Wire {
    world: Arc<World>,
    /// Whose process has dialed.
    node: u8,
    number: u32,
    /// Whose session it is, once it was welcomed.
    coordinator: Arc<AtomicU8>,
}

/// How many frames of prepares go by for one that another instance votes for.
const STRAYS_ONE_IN: u8 = 4;

/// No coordinator has this number.
const NOBODY: u8 = u8::MAX;

impl Session for Wire {
    fn outgoing(&mut self, frames: Outgoing) -> Outgoing {
        Box::pin(Way::new(self.clone(), Direction::Out, frames))
    }

    fn incoming(self: Box<Self>, frames: Incoming) -> Incoming {
        Box::pin(Way::new(*self, Direction::In, frames))
    }
}

impl Wire {
    fn record(&self, message: crate::trace::Message) {
        self.world.record(&Event::Message(
            Node::Participant(self.node),
            self.number,
            message,
        ));
    }

    fn is_told_to_commit(&self) {
        let participant = self.world.plan.participant_of(self.node);
        let pair = (participant, self.coordinator());
        wires(&self.world).in_earnest.insert(pair);
    }

    fn welcome(&self, log: LogId) {
        self.coordinator
            .store(self.world.coordinator_of(log), Ordering::Relaxed);
    }

    fn transaction(&self, id: &[u8]) -> Transaction {
        let id = TransactionId::from_slice(id).unwrap_or(TransactionId::ZERO);
        Transaction {
            coordinator: self.coordinator(),
            id,
        }
    }

    fn coordinator(&self) -> u8 {
        self.coordinator.load(Ordering::Relaxed)
    }

    fn transaction_of(&self, log: LogId, id: &[u8]) -> Transaction {
        Transaction {
            coordinator: self.world.coordinator_of(log),
            ..self.transaction(id)
        }
    }

    fn over(&self) {
        self.world
            .record(&Event::SessionOver(Node::Participant(self.node), self.number));
    }

    fn fate(&self) -> FrameFate {
        let happens = |fault| strikes(&self.world, fault);
        let mut fate = FrameFate {
            delay: Duration::ZERO,
            is_lost: happens(Fault::FrameLost),
            is_doubled: happens(Fault::FrameDoubled),
            overtakes: happens(Fault::FrameOvertakes),
            again_after: Duration::ZERO,
            echo: None,
            strays: self.world.may(Fault::VoteStrays) && wires(&self.world).random.u8(..STRAYS_ONE_IN) == 0,
        };
        if fate.is_doubled {
            fate.again_after = Duration::from_millis(wires(&self.world).random.u64(..300));
        }
        if happens(Fault::FrameDelayed) {
            fate.delay = Duration::from_millis(wires(&self.world).random.u64(1..2000));
        }
        if let Some(script) = &self.world.script {
            let order = script.frame();
            fate = FrameFate {
                delay: order.delay,
                is_lost: order.is_lost,
                is_doubled: false,
                again_after: Duration::ZERO,
                overtakes: order.overtakes,
                echo: order.echo,
                strays: order.strays,
            };
        }
        fate
    }

    fn hides_the_end(&self) -> bool {
        self.world.may(Fault::SilentDeath) && wires(&self.world).random.bool() && {
            self.world.record(&Event::Injected(
                Fault::SilentDeath,
                Some(Node::Participant(self.node)),
            ));
            true
        }
    }

    fn cut_until(&self, direction: Direction) -> Option<Instant> {
        wires(&self.world).cut_until(Node::Participant(self.node), direction)
    }
}

/// Whether this fault hits the frame or call at hand.
fn strikes(world: &World, fault: Fault) -> bool {
    if !world.may(fault) {
        return false;
    }
    let strikes = {
        let wires = &mut *wires(world);
        random::happens(&mut wires.random, wires.per_mille)
    };
    if strikes {
        world.record(&Event::Injected(fault, None));
    }
    strikes
}

fn wires(world: &World) -> MutexGuard<'_, Wires> {
    world
        .wires
        .lock()
        .expect("nothing panics while it holds this lock")
}

/// The stable name of a participant.
pub fn resource_name(participant: u8) -> String {
    format!("store-{participant}")
}

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}
