//! What a seed stands for: sizes, and which faults it may meet.
//!
//! Swarm testing (Groce and others, *Swarm Testing*, ISSTA 2012): each seed switches a random subset of everything on.
//! A fault that is always on hides what happens without it, and many at once hide what each alone would show.

use std::collections::BTreeSet;
use std::sync::Arc;

use handfast_coordinator::config::Settings;

use crate::own::Own;
use crate::random;
use crate::scenario::Scenario;

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Fault { $($(#[doc = $doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// As it stands in reports.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => stringify!($name),)* }
            }
        }
    };
}

faults! {
    /// The coordinator's process dies; its page cache stays.
    CoordinatorDies,
    /// The coordinator's machine loses power.
    CoordinatorLosesPower,
    /// The coordinator's process stands still and goes on later.
    CoordinatorPauses,
    /// The coordinator is asked to shut down.
    CoordinatorDrains,
    /// The wall clock of a coordinator's machine jumps ahead, by an hour at most.
    ClockJumpsAhead,
    /// It jumps back, by an hour at most.
    ClockJumpsBack,
    /// A standby takes up the coordinator's log while its process stands still; that one wakes later.
    StandbyTakesOver,
    /// A second process is started on the coordinator's directory.
    SecondCoordinator,
    /// A participant's process dies.
    ParticipantDies,
    /// A participant's machine loses power.
    ParticipantLosesPower,
    /// A participant's process stands still and goes on later.
    ParticipantPauses,
    /// A client's process dies.
    ClientDies,
    /// A sync fails, and what it should have written is lost.
    SyncFails,
    /// A write fails half-way.
    WriteFails,
    /// A disk is full.
    DiskFull,
    /// A disk does nothing for seconds.
    DiskStalls,
    /// A bit of synced data changes while the machine is off.
    BitFlips,
    /// Frames take longer than usual.
    FrameDelayed,
    /// A frame is lost, and the session goes on.
    FrameLost,
    /// A frame arrives twice.
    FrameDoubled,
    /// A frame overtakes others.
    FrameOvertakes,
    /// Nothing gets through in either direction for a while, and nobody is told.
    LinkCut,
    /// Nothing gets through to the coordinator.
    LinkCutOut,
    /// Nothing gets through from the coordinator.
    LinkCutIn,
    /// No request of a client gets through for a while, nor an answer to it, and nobody is told.
    ClientCut,
    /// No request of a client gets through.
    ClientCutOut,
    /// No answer gets through to a client.
    ClientCutIn,
    /// A peer is gone, and no reset says so.
    SilentDeath,
    /// A call takes longer than usual.
    CallDelayed,
    /// A request is lost.
    RequestLost,
    /// An answer is lost.
    AnswerLost,
    /// A request arrives twice.
    RequestDoubled,
    /// A store votes no.
    VotesNo,
    /// A store has nothing to do.
    ReadsOnly,
    /// A store takes its time to prepare.
    SlowPrepare,
    /// Work goes on in a store after the session that asked for it is lost.
    LateWork,
    /// An instance votes yes for a branch that another instance of its resource was asked for.
    VoteStrays,
    /// A store's promise expires.
    PromiseExpires,
    /// For a while another store answers behind a database's name.
    OtherStore,
    /// For a while a database is an older life of itself.
    OlderLife,
    /// For a while a database is a copy that shows as prepared what it has committed.
    RestoredCopy,
    /// An application counts other branches or operations than there were.
    Miscounts,
    /// A transaction is committed and aborted at once.
    CommitAndAbort,
    /// One key is used for two different requests.
    KeyReused,
    /// An application asks under a key that has expired long ago.
    KeyExpired,
    /// Several clients send the same request under one key at once.
    SameKeyAtOnce,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Coordinators, each with its own log.
    pub coordinators: u8,
    /// Whether one more stands by for the only coordinator.
    pub has_standby: bool,
    /// Participants whose promises are in a journal of the SDK.
    pub ledgers: u8,
    /// Participants that keep promises by themselves.
    pub databases: u8,
    /// How many of the databases, from the first on, have a second process that speaks for them.
    pub second_instances: u8,
    /// Clients.
    pub clients: u8,
    /// Intents of all clients together.
    pub intents: u32,
    /// Accounts of each store.
    pub accounts: u8,
    /// Which faults may happen.
    pub faults: BTreeSet<Fault>,
    /// How often something happens to a frame or a call, in a thousand.
    pub link_per_mille: u32,
    /// Milliseconds between two strokes of the nemesis, about.
    pub stroke_ms: u64,
    /// The coordinators' settings.
    pub settings: Settings,
    /// The scenario that it plays, in place of chance.
    pub scenario: Option<Arc<Scenario>>,
    /// The service that stands in the ledgers' place, if it is not the simulator's own.
    pub own: Option<Own>,
    /// Intents that nobody pursues, once a failing seed was shrunk.
    pub left_out: BTreeSet<u32>,
    /// Strokes that the nemesis does not make, by their number, once a failing seed was shrunk.
    pub spared: BTreeSet<u32>,
}

impl Plan {
    /// The plan of a seed, of about this many transactions.
    pub fn of(seed: u64, intents: u32) -> Plan {
        let random = &mut random::stream(seed, "plan");
        // One seed in sixteen is calm: what fails there fails without any fault.
        let is_calm = random.u8(..16) == 0;
        let density = random.u32(100..900);
        let faults: BTreeSet<Fault> = Fault::ALL
            .iter()
            .copied()
            .filter(|_| !is_calm && random::happens(random, density))
            .collect();
        let ledgers = random.u8(1..=3);
        let coordinators = if random.u8(..6) == 0 { 2 } else { 1 };
        let databases = random.u8((3 - ledgers)..=2).max(u8::from(ledgers == 1));
        Plan {
            seed,
            coordinators,
            has_standby: coordinators == 1 && faults.contains(&Fault::StandbyTakesOver),
            ledgers,
            databases,
            second_instances: if random.u8(..3) == 0 {
                random.u8(..=databases)
            } else {
                0
            },
            clients: random.u8(2..=6),
            intents,
            accounts: random.u8(1..=8),
            faults,
            link_per_mille: random.u32(2..60),
            stroke_ms: random.u64(200..2000),
            settings: settings(random),
            scenario: None,
            own: None,
            left_out: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    /// Whether this fault may happen.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Nodes that are or may become coordinators.
    pub fn coordinator_nodes(&self) -> u8 {
        self.coordinators + u8::from(self.has_standby)
    }

    /// Those that may serve this coordinator's log.
    pub fn candidates(&self, coordinator: u8) -> std::ops::RangeInclusive<u8> {
        coordinator..=coordinator + u8::from(self.has_standby)
    }

    /// Whose log a coordinator node serves.
    pub fn log_of(&self, node: u8) -> u8 {
        if self.has_standby { 0 } else { node }
    }

    /// Participants of both kinds.
    pub fn participants(&self) -> u8 {
        self.ledgers + self.databases
    }

    /// Nodes that take part: one for each participant, then the second ones of the databases that have two.
    pub fn participant_nodes(&self) -> u8 {
        self.participants() + self.second_instances
    }

    /// Which participant a node speaks for.
    pub fn participant_of(&self, node: u8) -> u8 {
        match node.checked_sub(self.participants()) {
            Some(second) => self.ledgers + second,
            None => node,
        }
    }

    /// The nodes that speak for a participant.
    pub fn instances_of(&self, participant: u8) -> impl Iterator<Item = u8> + use<> {
        let second = participant
            .checked_sub(self.ledgers)
            .filter(|database| *database < self.second_instances)
            .map(|database| self.participants() + database);
        std::iter::once(participant).chain(second)
    }
}

/// Small sizes, so that segments turn, checkpoints are written and histories overflow within a run.
fn settings(random: &mut fastrand::Rng) -> Settings {
    let mut settings = Settings::default();
    settings.server.heartbeat_ms = random.u64(300..1000);
    settings.server.hello_timeout_ms = 3000;
    settings.server.scan_period_ms = random.u64(1000..4000);
    settings.server.drain_timeout_ms = 2000;
    settings.log.segment_bytes = 4096 * random.u64(3..9);
    settings.log.buffer_bytes = 4096;
    settings.log.checkpoint_bytes = random.u64(4_000..40_000);
    settings.limits.default_timeout_ms = 3000;
    settings.limits.redelivery_min_ms = random.u64(100..500);
    settings.limits.redelivery_max_ms = 2000;
    settings.limits.promise_margin_ms = 300;
    settings.limits.operation_bytes = 2048;
    settings.limits.key_retention_ms = u64::MAX / 4;
    settings.server.frame_bytes = 1 << 20;
    settings.limits.history = if random.u8(..4) == 0 {
        random.usize(4..40)
    } else {
        100_000
    };
    // What a returned resource is sent in pieces, and what it need not be.
    if random.u8(..3) == 0 {
        settings.limits.redelivery_step = random.usize(1..6);
    }
    settings
}
