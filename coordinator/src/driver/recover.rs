//! Taking up a log: read it, fold it, begin a new epoch, and only then let anybody in.

use handfast_core::{
    Coordinator, Event, Identity, LogSpace, Lsn, Moment, OverdueWatch, Record, Recovery, RecoveryError,
    ReplayedRecord,
};
use handfast_ids::{LogId, Partition};
use handfast_proto::v1;
use handfast_wal::{Disk, Entry, Log, Options};
use tokio::sync::watch;

use super::calls::Calls;
use super::checkpoints::Checkpoints;
use super::codec::{Branches, Lists};
use super::gate::Gate;
use super::housekeeping::HOUSEKEEPING_MS;
use super::journal::Journal;
use super::outbox::{Outbox, OutboxSettings};
use super::streams::Streams;
use super::{Driver, Inbox, codec};
use crate::config::Settings;
use crate::error::{Error, Kind};
use crate::failpoint::{self, Point};
use crate::index::Index;
use crate::runtime::{Alarm, Clock, Phase, random_u128, wall_ms};

/// The one partition of today's logs.
const PARTITION: Partition = Partition(0);

/// Makes a new log with a random id.
pub async fn create_log<D: Disk>(disk: D, settings: &Settings) -> Result<LogId, Error> {
    let id = LogId(random_u128());
    Log::create(disk, id.to_bytes(), log_options(settings)).await?;
    Ok(id)
}

/// Opens the log and takes it up: when this returns, the new epoch is durable. `open_index` is told whose log it is and
/// where it ends.
pub async fn recover<D: Disk, I: Index>(
    disk: D,
    open_index: impl FnOnce(LogId, Lsn) -> I,
    inbox: Inbox,
    settings: &Settings,
    phase: watch::Sender<Phase>,
) -> Result<Driver<D, I>, Error> {
    let clock = Clock::start();
    let mut replay = Replay::new(settings);
    let opened = Log::open(disk, log_options(settings), |entry| replay.entry(entry)).await?;
    let log_id = LogId(u128::from_be_bytes(opened.log_id));
    let last = Lsn(opened.recovered.last.0);
    if let Some((file, from, to)) = &opened.recovered.cut {
        tracing::warn!(
            file,
            from,
            to,
            "cut a write that a crash had interrupted; nothing of it was ever acknowledged"
        );
    }
    let mut recovery = replay.finish(log_id)?;
    let mut index = open_index(log_id, last);
    recovery
        .take_finished()
        .into_iter()
        .for_each(|finished| index.insert(finished));

    let mut effects = Vec::new();
    let now = clock.now();
    let mut core = Coordinator::start(recovery, last.next(), now, wall_ms(), &mut effects);
    let journal = Journal::new(opened.log);
    let space = journal.space();
    if space == LogSpace::Low {
        core.handle(now, Event::LogSpace(space), &mut effects);
    }
    let server = &settings.server;
    let mut driver = Driver {
        clock,
        alarm: Alarm::new(),
        core,
        overdue: OverdueWatch::new(now, &settings.limits.core()),
        journal,
        index,
        gate: Gate::default(),
        outbox: Outbox::new(outbox_settings(settings)),
        streams: Streams::default(),
        calls: Calls::default(),
        calls_limit: server.calls,
        checkpoints: Checkpoints::new(settings.log.checkpoint_bytes, opened.recovered.replayed_bytes),
        inbox,
        gathered: Vec::new(),
        effects,
        space,
        housekeeping: Moment(now.0 + HOUSEKEEPING_MS),
        phase,
        drain_timeout_ms: server.drain_timeout_ms,
        drain_until: None,
        replied: false,
    };
    driver.perform_effects()?;
    let durable = driver.journal.flush().await?;
    driver.durable(durable)?;
    failpoint::hit(Point::BeforeServing);
    let status = driver.core.status();
    tracing::info!(
        log = %status.log,
        epoch = status.epoch.0,
        durable = durable.0,
        replayed = opened.recovered.visited,
        live = status.table.live,
        "log taken up"
    );
    Ok(driver)
}

fn log_options(settings: &Settings) -> Options {
    Options {
        segment_bytes: settings.log.segment_bytes,
        buffer_bytes: settings.log.buffer_bytes,
    }
}

fn outbox_settings(settings: &Settings) -> OutboxSettings {
    let server = &settings.server;
    OutboxSettings {
        limits: v1::Limits {
            frame_bytes: server.frame_bytes as u64,
            heartbeat_ms: server.heartbeat_ms,
            scan_period_ms: server.scan_period_ms,
            window: u32::try_from(settings.limits.unfinished_branches_per_resource).unwrap_or(u32::MAX),
        },
        backlog: server.session_backlog,
        // As much as the core lets wait for votes of one resource, and what one transaction may have beyond it.
        backlog_bytes: settings.limits.operation_bytes_per_resource + 2 * server.frame_bytes,
        heartbeat_ms: server.heartbeat_ms,
    }
}

/// Folds the log's entries; the first error wins, because what comes behind it means nothing.
pub struct Replay {
    limits: handfast_core::Limits,
    lists: Lists,
    state: Result<Option<Recovery>, Error>,
}

impl Replay {
    /// Of a log of which nothing was read.
    pub fn new(settings: &Settings) -> Self {
        Replay {
            limits: settings.limits.core(),
            lists: Lists::default(),
            state: Ok(None),
        }
    }

    /// Takes the next entry.
    pub fn entry(&mut self, entry: Entry<'_>) {
        let (lsn, bytes) = match entry {
            Entry::Checkpoint { through, record } => (Lsn(through.0), record),
            Entry::Record { lsn, record } => (Lsn(lsn.0), record),
        };
        failpoint::hit(Point::DuringRecovery);
        let Ok(recovery) = &mut self.state else {
            return;
        };
        let folded = match (&mut *recovery, codec::recognize(bytes, &mut self.lists)) {
            (Some(recovery), Some(record)) => recovery
                .replay_known(lsn, record)
                .map_err(|error| unusable(lsn, &error.message)),
            _ => apply(recovery, &self.limits, &mut self.lists, lsn, bytes),
        };
        if let Err(error) = folded {
            self.state = Err(error);
        }
    }

    /// What the log of this id comes to.
    pub fn finish(self, log: LogId) -> Result<Recovery, Error> {
        let identity = Identity {
            log,
            partition: PARTITION,
        };
        let begun = self.state?;
        Ok(begun.unwrap_or_else(|| Recovery::new(identity, self.limits)))
    }
}

/// The first record of a log, and of a checkpoint, says whose it is.
fn apply(
    recovery: &mut Option<Recovery>,
    limits: &handfast_core::Limits,
    lists: &mut Lists,
    lsn: Lsn,
    bytes: &[u8],
) -> Result<(), Error> {
    let record = codec::decode_replayed(bytes).map_err(|error| unusable(lsn, &error.to_string()))?;
    let recovery = match (&mut *recovery, &record) {
        (Some(recovery), _) => recovery,
        (none, ReplayedRecord::Other(Record::EpochStarted { log, .. })) => {
            let identity = Identity {
                log: *log,
                partition: PARTITION,
            };
            none.insert(Recovery::new(identity, limits.clone()))
        }
        (None, _) => return Err(unusable(lsn, "it comes before the record of any epoch")),
    };
    learn_branches(recovery, lists, lsn, &record)
        .and_then(|()| recovery.replay(lsn, record))
        .map_err(|error| unusable(lsn, &error.message))
}

/// From now on, a record with this list of branches is recognized.
fn learn_branches(
    recovery: &mut Recovery,
    lists: &mut Lists,
    lsn: Lsn,
    record: &ReplayedRecord<Branches<'_>>,
) -> Result<(), RecoveryError> {
    if let ReplayedRecord::Registered { branches, .. } | ReplayedRecord::Committed { branches, .. } = record
        && lists.takes(branches.bytes())
    {
        let list = recovery.learn_branches(lsn, branches.clone())?;
        lists.enter(branches.bytes(), list);
    }
    Ok(())
}

#[cold]
fn unusable(lsn: Lsn, message: &str) -> Error {
    let advice = "run the version of the program that wrote it, or restore the directory from a copy";
    Error::new(
        Kind::Corrupt,
        format!("record {} of the log cannot be used: {message}; {advice}", lsn.0),
    )
}
