//! Who injects faults: one stroke after the other, from the seed, each of them healed after a while.

use std::sync::Arc;
use std::time::Duration;

use handfast_proto::alarm::once::sleep;
use handfast_wal::{Report, SegmentReport, Tail};
use madsim::time::Instant;

use crate::chaos::Direction;
use crate::cluster::{Cluster, Death};
use crate::disk::{Kept, Machine};
use crate::plan::Fault;
use crate::random;
use crate::stores::database::Hand;
use crate::trace::{Event, Node};
use crate::world::World;

/// Faults stop after this time, whether the clients are done or not.
const LONGEST: Duration = Duration::from_secs(25);

/// The furthest that a wall clock jumps.
const HOUR_MS: i64 = 3_600_000;

/// What the nemesis can do by itself. All other faults happen within the network, the stores and the workload.
const STROKES: &[Fault] = &[
    Fault::CoordinatorDies,
    Fault::CoordinatorLosesPower,
    Fault::CoordinatorPauses,
    Fault::CoordinatorDrains,
    Fault::ClockJumpsAhead,
    Fault::ClockJumpsBack,
    Fault::StandbyTakesOver,
    Fault::SecondCoordinator,
    Fault::ParticipantDies,
    Fault::ParticipantLosesPower,
    Fault::ParticipantPauses,
    Fault::ClientDies,
    Fault::SyncFails,
    Fault::WriteFails,
    Fault::DiskFull,
    Fault::DiskStalls,
    Fault::BitFlips,
    Fault::LinkCut,
    Fault::LinkCutOut,
    Fault::LinkCutIn,
    Fault::ClientCut,
    Fault::ClientCutOut,
    Fault::ClientCutIn,
    Fault::OtherStore,
    Fault::OlderLife,
    Fault::RestoredCopy,
];

/// Strikes until the clients are done, or for as long as it may.
pub async fn strike(world: Arc<World>, cluster: Cluster) {
    let mut random = random::stream(world.plan.seed, "nemesis");
    let strokes: Vec<Fault> = STROKES
        .iter()
        .copied()
        .filter(|fault| world.plan.has(*fault))
        .collect();
    let begun = now();
    let mut number = 0;
    while !world.clients_are_done() && now() - begun < LONGEST && world.failure().is_none() {
        sleep(Duration::from_millis(
            random.u64(world.plan.stroke_ms / 2..world.plan.stroke_ms * 2),
        ))
        .await;
        number += 1;
        if let Some(fault) = random::pick(&mut random, &strokes) {
            let stroke = Stroke {
                world: world.clone(),
                cluster: cluster.clone(),
                random: random.fork(),
            };
            if !world.plan.spared.contains(&number) {
                stroke.strike(*fault);
            }
        }
    }
}

struct Stroke {
    world: Arc<World>,
    cluster: Cluster,
    random: fastrand::Rng,
}

impl Stroke {
    fn strike(mut self, fault: Fault) {
        let plan = &self.world.plan;
        let coordinator = Node::Coordinator(self.world.active(self.random.u8(..plan.coordinators)));
        let participant = Node::Participant(self.random.u8(..plan.participant_nodes()));
        let client = Node::Client(self.random.u8(..plan.clients));
        let with_disk = match self.random.bool() {
            true => coordinator,
            false => Node::Participant(self.random.u8(..plan.ledgers)),
        };
        match fault {
            Fault::CoordinatorDies => self.kill(fault, coordinator, Death::Process),
            Fault::CoordinatorLosesPower => self.kill(fault, coordinator, Death::PowerLoss),
            Fault::ParticipantDies => self.kill(fault, participant, Death::Process),
            Fault::ParticipantLosesPower => self.kill(fault, participant, Death::PowerLoss),
            Fault::ClientDies => self.kill(fault, client, Death::Process),
            Fault::CoordinatorPauses => self.pause(fault, coordinator),
            Fault::ParticipantPauses => self.pause(fault, participant),
            Fault::CoordinatorDrains => self.drain(coordinator),
            Fault::SecondCoordinator => self.second(coordinator),
            Fault::StandbyTakesOver => self.take_over(coordinator),
            Fault::ClockJumpsAhead => self.jump(fault, coordinator, 1),
            Fault::ClockJumpsBack => self.jump(fault, coordinator, -1),
            Fault::BitFlips => self.flip(with_disk),
            Fault::LinkCut => self.cut(fault, participant, &[Direction::Out, Direction::In]),
            Fault::LinkCutOut => self.cut(fault, participant, &[Direction::Out]),
            Fault::LinkCutIn => self.cut(fault, participant, &[Direction::In]),
            Fault::ClientCut => self.cut(fault, client, &[Direction::Out, Direction::In]),
            Fault::ClientCutOut => self.cut(fault, client, &[Direction::Out]),
            Fault::ClientCutIn => self.cut(fault, client, &[Direction::In]),
            Fault::OtherStore | Fault::OlderLife => self.disguise(fault, participant),
            Fault::RestoredCopy => self.restore(participant),
            _ => self.spoil_disk(fault, with_disk),
        }
    }

    fn tell(&self, fault: Fault, node: Node) {
        self.world.record(&Event::Injected(fault, Some(node)));
    }

    fn kill(mut self, fault: Fault, node: Node, death: Death) {
        if !self.cluster.is_up(node) {
            return;
        }
        self.tell(fault, node);
        self.cluster.kill(node, death);
        self.then(1500, move |stroke| stroke.cluster.restart(node));
    }

    /// Short pauses, and such that the others take it for dead.
    fn pause(mut self, fault: Fault, node: Node) {
        if !self.cluster.is_up(node) {
            return;
        }
        self.tell(fault, node);
        self.cluster.pause(node);
        self.then(4000, move |stroke| stroke.cluster.resume(node));
    }

    fn drain(self, node: Node) {
        let Node::Coordinator(number) = node else {
            return;
        };
        // Before it serves, a request to end is a death.
        if self.cluster.is_up(node) && self.world.serves(number) {
            self.tell(Fault::CoordinatorDrains, node);
            self.cluster.terminate(node);
        }
    }

    fn second(self, node: Node) {
        let Node::Coordinator(number) = node else { return };
        if self.world.serves(number) && self.cluster.is_up(node) {
            self.tell(Fault::SecondCoordinator, node);
            let world = self.world.clone();
            world.spawn(crate::processes::second_coordinator(self.world, number));
        }
    }

    fn take_over(mut self, node: Node) {
        if self.world.plan.has_standby && self.cluster.is_up(node) {
            self.tell(Fault::StandbyTakesOver, node);
            self.cluster.take_over(node);
            self.then(4000, move |stroke| stroke.cluster.resume(node));
        }
    }

    fn jump(mut self, fault: Fault, node: Node, direction: i64) {
        if let Node::Coordinator(number) = node {
            self.tell(fault, node);
            let by_ms = direction * self.random.i64(1..=HOUR_MS);
            self.world.clocks.jump(number, by_ms);
        }
    }

    fn cut(mut self, fault: Fault, node: Node, directions: &[Direction]) {
        self.tell(fault, node);
        let duration = Duration::from_millis(self.random.u64(50..5000));
        let mut wires = self
            .world
            .wires
            .lock()
            .expect("nothing panics while it holds this lock");
        for direction in directions {
            wires.cut(node, *direction, duration);
        }
    }

    fn spoil_disk(mut self, fault: Fault, node: Node) {
        let Some(machine) = self.world.machine(node).cloned() else {
            return;
        };
        self.tell(fault, node);
        match fault {
            Fault::SyncFails => machine.fail_syncs(self.random.u32(1..3), Kept::ByChance),
            Fault::WriteFails => machine.fail_writes(1, Kept::ByChance),
            Fault::DiskStalls => machine.stall(Duration::from_millis(self.random.u64(100..6000))),
            _ => {
                machine.set_capacity(Some(machine.used() + self.random.usize(..20_000)));
                self.then(5000, move |_| machine.set_capacity(None));
            }
        }
    }

    /// While the machine is off a bit changes; it must not start on that. Then the file is restored from a copy.
    fn flip(mut self, node: Node) {
        if !self.cluster.is_up(node) {
            return;
        }
        let Some(machine) = self.world.machine(node).cloned() else {
            return;
        };
        self.cluster.take_away(node);
        self.tell(Fault::BitFlips, node);
        let (world, duration) = (
            self.world.clone(),
            Duration::from_millis(self.random.u64(100..800)),
        );
        world.clone().spawn(async move {
            let sound = handfast_wal::verify(&machine.mount()).await;
            let flip = machine.flip_bit(is_covered);
            let place = flip.as_ref().map(|flip| (flip.file.clone(), flip.bit as u64));
            world.record(&Event::Flipped(node, place));
            if let Some(flip) = flip {
                verify(&world, &machine, node, sound.as_ref().ok()).await;
                machine.flip_back(&flip);
            }
            sleep(duration).await;
            self.cluster.bring_back(node);
        });
    }

    /// Behind the name of a database stands something else, and its process has to dial anew.
    fn disguise(mut self, fault: Fault, node: Node) {
        let Node::Participant(number) = node else { return };
        let participant = self.world.plan.participant_of(number);
        let Some(database) = self.world.database(participant).cloned() else {
            return;
        };
        if !self.cluster.is_up(node) || !self.is_in_earnest(participant) {
            return;
        }
        self.tell(fault, node);
        database.hinder(|hindrance| match fault {
            Fault::OtherStore => hindrance.is_another = true,
            _ => hindrance.is_older = true,
        });
        self.cluster.kill(node, Death::Process);
        let (cluster, duration) = (self.cluster.clone(), self.random.u64(10..500));
        self.world.spawn(async move {
            sleep(Duration::from_millis(duration)).await;
            cluster.restart(node);
        });
        self.then(3000, move |_| {
            database.hinder(|hindrance| (hindrance.is_another, hindrance.is_older) = (false, false));
        });
    }

    /// Otherwise a coordinator that has never known the name, or has lost it in a crash, takes whoever comes for its owner.
    fn is_in_earnest(&self, participant: u8) -> bool {
        let wires = self
            .world
            .wires
            .lock()
            .expect("nothing panics while it holds this lock");
        (0..self.world.plan.coordinators).all(|coordinator| wires.is_in_earnest(participant, coordinator))
    }

    /// A database is restored from a copy that is too old, takes no new promises, and is put right by its operator: nothing that
    /// had ended may have been decided anew meanwhile.
    fn restore(mut self, node: Node) {
        let Node::Participant(number) = node else { return };
        let participant = self.world.plan.participant_of(number);
        let Some(database) = self.world.database(participant).cloned() else {
            return;
        };
        if database.is_restored() {
            return;
        }
        database.by_hand(Hand::Resurrect);
        if !database.is_restored() {
            // It has committed nothing yet.
            return;
        }
        self.tell(Fault::RestoredCopy, node);
        database.hinder(|hindrance| hindrance.has_no_slots = true);
        self.then(4000, move |stroke| stroke.world.put_right(participant));
    }

    /// After a while, at most so many milliseconds.
    fn then(&mut self, longest_ms: u64, action: impl FnOnce(&Stroke) + Send + 'static) {
        let duration = Duration::from_millis(self.random.u64(10..longest_ms));
        let stroke = Stroke {
            world: self.world.clone(),
            cluster: self.cluster.clone(),
            random: self.random.fork(),
        };
        self.world.spawn(async move {
            sleep(duration).await;
            action(&stroke);
        });
    }
}

/// Files whose every bit is checked at each start.
fn is_covered(name: &str) -> bool {
    name == "LOG" || name.starts_with("segment-") || name.starts_with("checkpoint-") && name.ends_with(".ckp")
}

/// The log must see the flipped bit. Where an interrupted write is cut off it may be taken for a part of that, and so may the
/// last batch; what is in front of those was acknowledged, and stops the start.
async fn verify(world: &World, machine: &Machine, node: Node, before: Option<&Report>) {
    let Ok(report) = handfast_wal::verify(&machine.mount()).await else {
        return;
    };
    if !report.is_sound() {
        return;
    }
    let is_torn = |segment: &SegmentReport| matches!(segment.tail, Tail::Torn { .. });
    let frames = |report: &Report| report.segments.iter().map(|segment| segment.frames).sum::<u64>();
    if !report.segments.iter().any(is_torn) {
        world.violated(format!("a flipped bit in the log of {node} goes unnoticed"));
    } else if before.is_some_and(|before| before.is_sound() && frames(&report) + 1 < frames(before)) {
        world.violated(format!(
            "a flipped bit in the log of {node} is taken for an interrupted write, and {} batches are cut",
            before.map_or(0, frames) - frames(&report)
        ));
    }
}

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}
