//! A coordinator between a log and its callers, as the driver's contract describes it: effects wait for their LSN, what a
//! crashed process had not yet done is never done, and a restart folds what the disk kept.
//!
//! The disk keeps any prefix of the log that holds at least what was reported durable. Every step is shown to the
//! [`Oracle`], which holds the guarantees of the design against it.

mod oracle;

pub use oracle::Oracle;

use std::collections::BTreeSet;

use handfast_core::view::Snapshot;
use handfast_core::{
    Coordinator, Effect, Event, Identity, Limits, Lsn, Moment, Record, Recovery, SessionId, StopReason,
};
use handfast_ids::{LogId, Partition};

/// Whose log the world's coordinator keeps.
pub const IDENTITY: Identity = Identity {
    log: LogId(0x10C),
    partition: Partition(0),
};
/// Unix milliseconds when the monotonic clock of the world stands at zero.
pub const WALL_MS: u64 = 1_000_000_000;
/// More ticks than this in one advance of the clock are a coordinator that spins.
const MOST_TICKS: usize = 100_000;

/// What one step brought about.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A record was handed to the log.
    Logged(Lsn, Record, bool),
    /// An effect was performed at once.
    Did(Effect),
    /// An effect waits for the log.
    Held(Lsn, Effect),
    /// An effect had waited, and was performed.
    Released(Effect),
    /// An effect had waited when the process died, or its session was lost.
    Dropped(Effect),
    /// Time went on to here.
    Clock(Moment),
}

/// The coordinator and everything that it needs to live, die and live again.
#[derive(Debug)]
pub struct World {
    core: Option<Coordinator>,
    limits: Limits,
    now: Moment,
    wall_offset_ms: i64,
    log: Vec<(Lsn, Record)>,
    durable: Lsn,
    checkpoint: Option<Snapshot>,
    held: Vec<(Lsn, Effect)>,
    open: BTreeSet<SessionId>,
    stopped: Option<StopReason>,
    pub oracle: Oracle,
}

impl World {
    /// A coordinator on an empty log, open for business.
    pub fn new(limits: Limits) -> Self {
        let mut world = World {
            core: None,
            limits,
            now: Moment(0),
            wall_offset_ms: 0,
            log: Vec::new(),
            durable: Lsn::ZERO,
            checkpoint: None,
            held: Vec::new(),
            open: BTreeSet::new(),
            stopped: None,
            oracle: Oracle::default(),
        };
        world.restart(0);
        world
    }

    /// The process, unless it has crashed.
    pub fn core(&self) -> Option<&Coordinator> {
        self.core.as_ref()
    }

    pub fn now(&self) -> Moment {
        self.now
    }

    /// Unix milliseconds now, by a clock that nobody has set.
    pub fn wall_ms(&self) -> u64 {
        WALL_MS + self.now.0
    }

    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The last record that was handed to the log.
    pub fn accepted(&self) -> Lsn {
        self.log.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Hands in one event and performs what may be performed.
    pub fn handle(&mut self, event: Event) -> Vec<Happened> {
        let mut effects = Vec::new();
        if let Some(core) = &mut self.core {
            self.oracle.event(&event);
            match &event {
                Event::SessionUp { session, .. } => drop(self.open.insert(*session)),
                Event::SessionDown { session } => drop(self.open.remove(session)),
                _ => {}
            }
            core.handle(self.now, event, &mut effects);
        }
        let happened = self.perform(effects);
        self.audit();
        happened
    }

    /// The log has become durable to `lsn`, or to its end: first the coordinator hears it, then what waited is done.
    pub fn make_durable(&mut self, lsn: Option<Lsn>) -> Vec<Happened> {
        let lsn = lsn
            .unwrap_or(self.accepted())
            .clamp(self.durable, self.accepted());
        self.durable = lsn;
        let mut happened = self.handle(Event::LogDurable(lsn));
        let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(after, _)| *after <= lsn);
        self.held = held;
        for (_, effect) in free {
            if is_to_a_lost_session(&effect, &self.open) {
                happened.push(Happened::Dropped(effect));
                continue;
            }
            self.observe(&effect);
            happened.push(Happened::Released(effect));
        }
        happened
    }

    /// Lets time pass, with a tick at each timeout.
    pub fn advance(&mut self, ms: u64) -> Vec<Happened> {
        let end = Moment(self.now.0 + ms);
        let mut happened = Vec::new();
        for _ in 0..MOST_TICKS {
            let due = self.core.as_ref().and_then(Coordinator::next_timeout);
            let Some(due) = due.filter(|&due| due <= end && self.stopped.is_none()) else {
                self.now = end;
                return happened;
            };
            self.now = self.now.max(due);
            let tick = self.handle(Event::Tick);
            if !tick.is_empty() {
                happened.push(Happened::Clock(self.now));
                happened.extend(tick);
            }
        }
        panic!(
            "the coordinator asks for one tick after the other at {:?}",
            self.now
        );
    }

    /// The process dies and the disk keeps the log up to `keep`, which holds at least what is durable.
    pub fn crash(&mut self, keep: Lsn) -> Vec<Happened> {
        let keep = keep.clamp(self.durable, self.accepted());
        self.core = None;
        self.stopped = None;
        self.open.clear();
        self.log.retain(|(lsn, _)| *lsn <= keep);
        self.oracle.crashed(keep);
        std::mem::take(&mut self.held)
            .into_iter()
            .map(|(_, effect)| Happened::Dropped(effect))
            .collect()
    }

    /// A new process folds the log, makes it durable, and opens for business. `clock_ms` moves the wall clock.
    pub fn restart(&mut self, clock_ms: i64) -> Vec<Happened> {
        assert!(self.core.is_none(), "a restart follows a crash");
        self.wall_offset_ms += clock_ms;
        let mut effects = Vec::new();
        let next = self.accepted().next();
        self.durable = self.accepted();
        let wall_ms = self
            .wall_ms()
            .checked_add_signed(self.wall_offset_ms)
            .expect("the wall clock stays above zero");
        let recovery = self.fold(true);
        self.core = Some(Coordinator::start(
            recovery,
            next,
            self.now,
            wall_ms,
            &mut effects,
        ));
        let mut happened = self.perform(effects);
        happened.extend(self.make_durable(None));
        happened
    }

    /// Writes a checkpoint; from now on a restart begins with it. `None` while the log is not durable to its end.
    pub fn checkpoint(&mut self) -> Option<Snapshot> {
        let snapshot = self.core.as_ref()?.snapshot();
        if snapshot.through > self.durable {
            return None;
        }
        self.checkpoint = Some(snapshot.clone());
        Some(snapshot)
    }

    /// The disk loses the checkpoint, and no segment was truncated yet: the whole log serves.
    pub fn lose_checkpoint(&mut self) {
        self.checkpoint = None;
    }

    /// Folds the whole log, or the last checkpoint and what follows it.
    pub fn fold(&self, from_checkpoint: bool) -> Recovery {
        let mut recovery = Recovery::new(IDENTITY, self.limits.clone());
        let checkpoint = self.checkpoint.as_ref().filter(|_| from_checkpoint);
        let mut through = Lsn::ZERO;
        if let Some(snapshot) = checkpoint {
            through = snapshot.through;
            for record in &snapshot.records {
                recovery
                    .apply(through, record.clone())
                    .unwrap_or_else(|error| panic!("a checkpoint does not fold: {error:?}: {record:?}"));
            }
        }
        for (lsn, record) in self.log.iter().filter(|(lsn, _)| *lsn > through) {
            recovery
                .apply(*lsn, record.clone())
                .unwrap_or_else(|error| panic!("the log does not fold: {error:?}: {record:?}"));
        }
        recovery
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Vec<Happened> {
        let mut happened = Vec::with_capacity(effects.len());
        for effect in effects {
            if let Effect::Append { lsn, record, force } = effect {
                assert_eq!(lsn, self.accepted().next(), "LSNs are consecutive");
                self.oracle.appended(lsn, &record);
                self.log.push((lsn, record.clone()));
                happened.push(Happened::Logged(lsn, record, force));
                continue;
            }
            match waits_for(&effect).filter(|&after| after > self.durable) {
                Some(after) => {
                    assert!(
                        after <= self.accepted(),
                        "an effect waits for a record that was never appended"
                    );
                    self.held.push((after, effect.clone()));
                    happened.push(Happened::Held(after, effect));
                }
                None => {
                    self.observe(&effect);
                    happened.push(Happened::Did(effect));
                }
            }
        }
        happened
    }

    fn observe(&mut self, effect: &Effect) {
        match effect {
            Effect::Stop { reason } => self.stopped = Some(*reason),
            Effect::CloseSession { session, .. } => drop(self.open.remove(session)),
            _ => {}
        }
        self.oracle.performed(effect, self.durable);
    }

    fn audit(&mut self) {
        if let Some(core) = &self.core {
            self.oracle.violations.extend(core.audit());
        }
    }
}

fn is_to_a_lost_session(effect: &Effect, open: &BTreeSet<SessionId>) -> bool {
    matches!(effect, Effect::Send { session, .. } if !open.contains(session))
}

fn waits_for(effect: &Effect) -> Option<Lsn> {
    match effect {
        Effect::Send { after, .. }
        | Effect::Reply { after, .. }
        | Effect::Finished { after, .. }
        | Effect::KeysExpired { after, .. } => *after,
        Effect::Append { .. } | Effect::CloseSession { .. } | Effect::Held { .. } | Effect::Stop { .. } => {
            None
        }
    }
}
