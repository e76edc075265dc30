//! What the tests share: an executor of one future, and logs whose records can be recognized.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use handfast_wal::{Entry, GroupCommit, Log, LogId, Lsn, Opened, Options, Report, Result, verify};

use crate::mem_disk::MemDisk;

pub const LOG_ID: LogId = *b"the log's own id";

/// The smallest segments there are, so that small logs rotate.
pub fn small() -> Options {
    Options {
        segment_bytes: 8192,
        buffer_bytes: 4096,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls a future once and drops it.
pub fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub fn create(disk: &MemDisk) -> GroupCommit<MemDisk> {
    create_with(disk, small())
}

pub fn create_with(disk: &MemDisk, options: Options) -> GroupCommit<MemDisk> {
    GroupCommit::new(block_on(Log::create(disk.clone(), LOG_ID, options)).unwrap().log)
}

/// What recovery handed out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub checkpoint: Vec<(Lsn, Vec<u8>)>,
    pub records: Vec<(Lsn, Vec<u8>)>,
}

impl Replayed {
    pub fn take(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Checkpoint { through, record } => self.checkpoint.push((through, record.to_vec())),
            Entry::Record { lsn, record } => self.records.push((lsn, record.to_vec())),
        }
    }

    pub fn lsns(&self) -> Vec<u64> {
        self.records.iter().map(|(lsn, _)| lsn.0).collect()
    }
}

pub fn open(disk: &MemDisk) -> Result<(Opened<MemDisk>, Replayed)> {
    let mut replayed = Replayed::default();
    let opened = block_on(Log::open(disk.clone(), small(), |entry| replayed.take(entry)))?;
    Ok((opened, replayed))
}

pub fn reopen(disk: &MemDisk) -> (GroupCommit<MemDisk>, Replayed) {
    let (opened, replayed) = open(disk).unwrap();
    (GroupCommit::new(opened.log), replayed)
}

pub fn report(disk: &MemDisk) -> Report {
    block_on(verify(disk)).unwrap()
}

/// The record at `lsn` of a log that tests write: its length and content follow from the position. Some are empty, some
/// are several sectors of nothing but zeros.
pub fn record(lsn: u64) -> Vec<u8> {
    match lsn % 5 {
        0 => Vec::new(),
        1 => vec![0; 1300],
        2 => lsn.to_le_bytes().repeat(20),
        3 => vec![0xFF; 700],
        _ => lsn.to_le_bytes().to_vec(),
    }
}

/// Appends the next record and gives its position.
pub fn append_next(log: &mut GroupCommit<MemDisk>) -> Lsn {
    let next = log.accepted().next();
    assert_eq!(log.append(&record(next.0)).unwrap(), next);
    next
}

/// Appends records through `last`, each durable on its own.
pub fn write_through(log: &mut GroupCommit<MemDisk>, last: u64) {
    while log.accepted().0 < last {
        append_next(log);
        block_on(log.flush()).unwrap();
    }
}

/// Small deterministic choices.
pub struct Choices(u64);

impl Choices {
    pub fn seeded(seed: u64) -> Choices {
        Choices(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// Every crash image, if there are few; else none kept, all kept, and as many chosen ones.
pub fn crash_images(disk: &MemDisk, limit: u64) -> Vec<MemDisk> {
    let uncertain = disk.uncertain();
    if uncertain < 63 && 1u64 << uncertain <= limit {
        return (0..1u64 << uncertain)
            .map(|kept| disk.power_loss(|thing| kept >> thing & 1 == 1))
            .collect();
    }
    let mut images = vec![disk.power_loss(|_| false), disk.power_loss(|_| true)];
    for seed in 2..limit {
        let mut choices = Choices::seeded(seed);
        images.push(disk.power_loss(|_| choices.coin()));
    }
    images
}
