//! The log as the driver sees it: records go in, LSNs become durable. Keeps core's count of LSNs and the log's together.

use std::collections::VecDeque;

use futures_util::FutureExt;
use handfast_core::{LogSpace, Lsn, Moment, Record};
use handfast_wal::{Counters, Disk, GroupCommit, Log, Space, WalError};

use super::codec;
use super::pace::Pace;
use crate::failpoint::{self, Point};

/// The log, and the records that did not fit into its buffer. These are few and bounded by the core: while there are
/// any, the driver takes no input.
pub struct Journal<D: Disk> {
    log: GroupCommit<D>,
    bytes: Vec<u8>,
    overflow: VecDeque<Overflow>,
    accepted: Lsn,
    decision_pending: bool,
    decision_in_flight: bool,
    reserve: Pace,
}

/// How long a reserve that filled the disk, and found no room, waits for the next try. Others write there too. Where the disk tells
/// beforehand that there is too little room, every look of the housekeeping is a try.
const RESERVE_FIRST_MS: u64 = 500;
const RESERVE_LONGEST_MS: u64 = 30_000;

struct Overflow {
    bytes: Vec<u8>,
    force: bool,
}

impl<D: Disk> Journal<D> {
    /// Takes an open log.
    pub fn new(log: Log<D>) -> Self {
        let accepted = Lsn(log.durable().0);
        Journal {
            log: GroupCommit::new(log),
            bytes: Vec::new(),
            overflow: VecDeque::new(),
            accepted,
            decision_pending: false,
            decision_in_flight: false,
            reserve: Pace::new(RESERVE_FIRST_MS, RESERVE_LONGEST_MS),
        }
    }

    /// Takes a record, which must be the next one.
    pub fn append(&mut self, lsn: Lsn, record: &Record, force: bool) -> Result<(), WalError> {
        assert_eq!(lsn, self.accepted.next(), "core and log count the same records");
        self.accepted = lsn;
        let decision = matches!(record, Record::Decided { .. });
        match record {
            Record::Decided { .. } => failpoint::hit(Point::BeforeDecisionAppend),
            Record::Ended { .. } => failpoint::hit(Point::BeforeEndAppend),
            _ => {}
        }
        self.bytes.clear();
        codec::encode(record, &mut self.bytes);
        let fits = self.overflow.is_empty() && self.accept(force)?;
        if !fits {
            let bytes = self.bytes.clone();
            self.overflow.push_back(Overflow { bytes, force });
        }
        self.decision_pending |= decision;
        match record {
            Record::Decided { .. } => failpoint::hit(Point::AfterDecisionAppend),
            Record::Ended { .. } => failpoint::hit(Point::AfterEndAppend),
            _ => {}
        }
        Ok(())
    }

    /// Hands `self.bytes` to the log; false if its buffer is full for now.
    fn accept(&mut self, force: bool) -> Result<bool, WalError> {
        match self.log.append(&self.bytes) {
            Ok(lsn) => {
                if force {
                    self.log.force(lsn);
                }
                Ok(true)
            }
            Err(WalError::Full { .. }) => {
                // A batch must leave, or there will never be room.
                self.log.force(self.log.accepted());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what must become durable on its way, unless a batch is under way already.
    pub fn start(&mut self) -> Result<(), WalError> {
        while let Some(next) = self.overflow.pop_front() {
            self.bytes.clone_from(&next.bytes);
            if !self.accept(next.force)? {
                self.overflow.push_front(next);
                break;
            }
        }
        let was_in_flight = self.log.in_flight();
        if !self.log.has_room() {
            // Nothing is taken in until there is room, so nobody else may ever demand that this be written.
            self.log.force(self.log.accepted());
        }
        self.log.start();
        if !was_in_flight && self.log.in_flight() {
            self.decision_in_flight = std::mem::take(&mut self.decision_pending);
            if self.decision_in_flight && failpoint::passes(Point::BeforeDecisionSync) {
                // Polled once, so that the batch is handed to the disk, as it would be in an unlucky crash.
                let _ = self.log.completed().now_or_never();
                std::process::abort();
            }
        }
        Ok(())
    }

    /// Waits for the batch under way and gives what is durable then. Cancel-safe.
    pub async fn completed(&mut self) -> Result<Lsn, WalError> {
        let durable = self.log.completed().await?;
        if std::mem::take(&mut self.decision_in_flight) {
            failpoint::hit(Point::AfterDecisionSync);
        }
        Ok(Lsn(durable.0))
    }

    /// Makes everything durable that was taken so far, and waits for it.
    pub async fn flush(&mut self) -> Result<Lsn, WalError> {
        self.start()?;
        while !self.overflow.is_empty() {
            self.completed().await?;
            self.start()?;
        }
        self.log.flush().await.map(|durable| Lsn(durable.0))
    }

    /// Demands the records that nobody demanded: what rides along must not wait for company for ever.
    pub fn force_tail(&mut self) {
        if self.log.accepted() > self.log.durable() {
            self.log.force(self.log.accepted());
        }
    }

    /// Whether more input may be taken.
    pub fn has_room(&self) -> bool {
        self.overflow.is_empty() && self.log.has_room()
    }

    /// Everything to here survives a crash.
    pub fn durable(&self) -> Lsn {
        Lsn(self.log.durable().0)
    }

    /// How much room the log has.
    pub fn space(&self) -> LogSpace {
        match self.log.space() {
            Space::Reserved => LogSpace::Ample,
            Space::Low => LogSpace::Low,
        }
    }

    /// Tries to reserve room if it is low, and if it is time for that.
    pub fn reserve(&mut self, now: Moment) {
        if self.log.space() == Space::Reserved {
            return self.reserve.reset();
        }
        let may_try = self.reserve.is_due(now) || !self.log.has_filled_the_disk();
        if may_try && !self.log.is_reserving() {
            self.reserve.tried(now);
            self.log.replenish();
        }
    }

    /// The next reserve may succeed: it is tried soon.
    pub fn room_was_made(&mut self) {
        self.reserve.reset();
    }

    /// What was written.
    pub fn counters(&self) -> Counters {
        self.log.counters()
    }

    /// For checkpoints.
    pub fn log(&self) -> &GroupCommit<D> {
        &self.log
    }
}
