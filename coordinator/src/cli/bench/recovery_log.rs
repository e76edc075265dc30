//! Makes the logs that `handfast bench recovery` restarts from, through the log's own writer.

use std::path::Path;

use handfast_core::{BranchRecord, DecisionRecord, Lsn, Record};
use handfast_ids::{BranchId, Epoch, Generation, LogId, Partition, ResourceName, StoreId, TransactionId};
use handfast_wal::{GroupCommit, Log, RealDisk};

use crate::cli::{directory_error, log_directory};
use crate::config::Settings;
use crate::driver::codec;
use crate::error::Error;
use crate::runtime;

/// Transactions of one millisecond.
const SEQUENCE: u32 = 1000;
/// Transactions that are open at a time before they end.
const UNDER_WAY: usize = 256;
/// Bytes of records of one frame, about.
const FRAME_BYTES: usize = 256 << 10;
const RESOURCES: [&str; 2] = ["orders-db", "ledger"];

/// What a log is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    /// Committed transactions that nobody has acknowledged.
    pub live: u64,
    /// Bytes of the log at least; the rest is transactions that have ended.
    pub bytes: u64,
}

/// What was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub records: u64,
    pub bytes: u64,
    pub transactions: u64,
}

struct Writer {
    log: GroupCommit<RealDisk>,
    bytes: Vec<u8>,
    written: u64,
    records: u64,
    transactions: u64,
    began_ms: u64,
    branches: Vec<BranchRecord>,
}

/// Makes a data directory with such a log.
pub async fn make(data: &Path, settings: &Settings, contents: Contents) -> Result<Made, Error> {
    let path = log_directory(data);
    let disk = RealDisk::create(&path).map_err(|error| directory_error(&path, &error))?;
    let options = handfast_wal::Options {
        segment_bytes: settings.log.segment_bytes,
        buffer_bytes: settings.log.buffer_bytes,
    };
    let id = LogId(runtime::random_u128());
    let log = Log::create(disk, id.to_bytes(), options).await?.log;
    let names = RESOURCES.map(|name| ResourceName::new(name).expect("it is short and printable"));
    let branches = names.iter().enumerate().map(|(number, resource)| BranchRecord {
        branch: BranchId(number as u32 + 1),
        resource: resource.clone(),
        store: StoreId(runtime::random_u128()),
    });
    let mut writer = Writer {
        log: GroupCommit::new(log),
        bytes: Vec::new(),
        written: 0,
        records: 0,
        transactions: 0,
        began_ms: runtime::wall_ms(),
        branches: branches.collect(),
    };
    let epoch = Record::EpochStarted {
        log: id,
        epoch: Epoch(1),
        predecessor_end: Lsn::ZERO,
        wall_ms: writer.began_ms,
        key_ms: writer.began_ms,
    };
    writer.append(&epoch).await?;
    for branch in writer.branches.clone() {
        let resource = Record::Resource {
            name: branch.resource,
            store: branch.store,
            generation: Generation(1),
        };
        writer.append(&resource).await?;
    }
    for _ in 0..contents.live {
        writer.decide().await?;
    }
    while writer.written < contents.bytes {
        let mut ending = Vec::new();
        for _ in 0..UNDER_WAY {
            ending.push(writer.decide().await?);
        }
        for transaction in ending {
            writer.append(&Record::Ended { transaction }).await?;
        }
    }
    writer.log.flush().await?;
    Ok(Made {
        records: writer.records,
        bytes: writer.log.counters().bytes,
        transactions: writer.transactions,
    })
}

impl Writer {
    async fn decide(&mut self) -> Result<TransactionId, Error> {
        let milliseconds = self.began_ms + self.transactions / u64::from(SEQUENCE);
        let sequence = (self.transactions % u64::from(SEQUENCE)) as u32;
        let transaction = TransactionId::new(milliseconds, Partition(0), Epoch(1), sequence);
        self.transactions += 1;
        let registered = Record::Registered {
            transaction,
            branches: self.branches.clone(),
        };
        self.append(&registered).await?;
        let decided = Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: self.branches.clone(),
            key: None,
        };
        self.append(&decided).await?;
        Ok(transaction)
    }

    async fn append(&mut self, record: &Record) -> Result<(), Error> {
        self.bytes.clear();
        codec::encode(record, &mut self.bytes);
        // As a log under load: a frame holds what has gathered during a sync.
        if self.log.pending_bytes() >= FRAME_BYTES {
            self.log.flush().await?;
        }
        self.log.append(&self.bytes)?;
        self.written += self.bytes.len() as u64;
        self.records += 1;
        Ok(())
    }
}
