mod crashes;
mod mem_disk;
mod one_phase;
#[cfg(feature = "tcc")]
mod promises;
mod records;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use handfast_proto::v1;

use super::*;
use crate::resource::{Reservation, ResourceError, ScanLine, SeenLog, Work};
use crate::session::{Engine, Outbox, PrepareRequest, Progress};
use mem_disk::MemDisk;

const LOG: LogId = LogId(7);

/// Takes any operation, and counts what becomes of it. `nothing` changes nothing and `no` is refused.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
struct Tally {
    reserved: BTreeMap<BranchKey, Vec<u8>>,
    applied: Vec<(BranchKey, Vec<u8>)>,
    /// What it has been told is durable.
    synced: u64,
}

impl Staged for Tally {
    fn reserve(&mut self, branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        match operation {
            b"nothing" => Ok(Reservation::Nothing),
            b"no" => Err(Refusal::retryable("NO", "not now")),
            _ => {
                assert!(
                    self.reserved.insert(branch, operation.to_vec()).is_none(),
                    "{branch} reserves once"
                );
                Ok(Reservation::Reserved)
            }
        }
    }

    fn apply(&mut self, _position: u64, branch: BranchKey, operation: &[u8]) {
        assert_eq!(self.reserved.remove(&branch).as_deref(), Some(operation));
        self.applied.push((branch, operation.to_vec()));
    }

    fn release(&mut self, branch: BranchKey, operation: &[u8]) {
        assert_eq!(self.reserved.remove(&branch).as_deref(), Some(operation));
    }

    fn synced(&mut self, position: u64) {
        self.synced = position;
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let record = |(branch, operation): &(BranchKey, Vec<u8>)| {
            let transaction = branch.transaction.to_bytes();
            Bytes::from(
                [
                    &transaction,
                    branch.branch.0.to_le_bytes().as_slice(),
                    operation.as_slice(),
                ]
                .concat(),
            )
        };
        self.applied.iter().map(record).collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let (transaction, rest) = record.split_at(16);
        let (ordinal, operation) = rest.split_at(4);
        let branch = BranchKey {
            log: LOG,
            transaction: TransactionId::from_slice(transaction).unwrap(),
            branch: BranchId(u32::from_le_bytes(ordinal.try_into().unwrap())),
        };
        self.applied.push((branch, operation.to_vec()));
        Ok(())
    }
}

fn branch(number: u32) -> BranchKey {
    let transaction = TransactionId::new(1000, Partition(0), Epoch(1), number);
    BranchKey {
        log: LOG,
        transaction,
        branch: BranchId(0),
    }
}

fn seen(lsn: u64) -> SeenLog {
    SeenLog {
        log: LOG,
        epoch: Epoch(1),
        lsn,
    }
}

/// A journal on a disk that forgets, and what it has said.
struct Bench {
    disk: MemDisk,
    journal: Journal<Tally, MemDisk>,
    outbox: Outbox,
}

impl Bench {
    async fn new() -> Self {
        Bench::on(MemDisk::new()).await
    }

    async fn on(disk: MemDisk) -> Self {
        let options = JournalOptions {
            segment_bytes: 16 << 10,
            buffer_bytes: 8 << 10,
            checkpoint_bytes: 2 << 10,
            ..JournalOptions::default()
        };
        let journal = Journal::open(Tally::default(), disk.clone(), options)
            .await
            .unwrap();
        Bench {
            disk,
            journal,
            outbox: Outbox::default(),
        }
    }

    async fn after_crash(&self) -> Self {
        Bench::on(self.disk.crash_image()).await
    }

    fn prepare(&mut self, branch: BranchKey, operation: &'static [u8]) {
        self.ask(branch, operation, false);
    }

    fn ask(&mut self, branch: BranchKey, operation: &'static [u8], delegated: bool) {
        let work = Work::Operation(Bytes::from_static(operation));
        let request = PrepareRequest {
            branch,
            work,
            seen: seen(5),
            deadline: crate::runtime::from_now(Duration::from_secs(1)),
            delegated,
        };
        self.journal.prepare(request, &mut self.outbox);
        self.journal.start();
    }

    fn decide(&mut self, branch: BranchKey, decision: Decision) {
        self.journal.decide(branch, decision, seen(6), &mut self.outbox);
        self.journal.start();
    }

    /// What is said without waiting for anything that a held sync keeps back.
    async fn said_so_far(&mut self) -> v1::SessionRequest {
        for _ in 0..20 {
            let progress = self.journal.progress(&mut self.outbox);
            match futures_util::FutureExt::now_or_never(progress) {
                Some(progress) => drop(progress.unwrap()),
                None => tokio::task::yield_now().await,
            }
            self.journal.start();
        }
        self.outbox.take_frame(1 << 20)
    }

    async fn vote(&mut self, branch: BranchKey, operation: &'static [u8]) -> v1::VoteKind {
        self.prepare(branch, operation);
        let frame = self.said_so_far().await;
        assert_eq!(frame.votes.len(), 1, "{frame:?}");
        frame.votes[0].kind()
    }

    async fn ack(&mut self, branch: BranchKey, decision: Decision) -> v1::AckKind {
        self.decide(branch, decision);
        let frame = self.said_so_far().await;
        assert_eq!(frame.acks.len(), 1, "{frame:?}");
        frame.acks[0].kind()
    }

    fn lines(&self) -> Vec<ScanLine> {
        self.journal.state.lines()
    }
}
