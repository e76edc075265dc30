//! The index on disk, in sled. Reads come from memory; writes are handed to a thread of the runtime, one batch at a time.
//!
//! Only what ended under a key is written: the rest is a short history, which memory holds and the log's tail gives back
//! after a restart. A write into sled costs many times what the whole transaction does.
//!
//! ```text
//!   16 bytes: transaction id ──► the ended transaction (driver/codec)
//!   "applied"                ──► log id (16 bytes), LSN (8 bytes, big endian): what the entries follow from
//! ```
//!
//! sled is a beta and may panic on what it finds, so opening it is caught. A directory that cannot be used is moved aside,
//! and the index begins anew with what the log says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handfast_core::{FinishedTransaction, Lsn};
use handfast_ids::{IdempotencyKey, LogId, TransactionId};

use super::{Index, MemoryIndex};
use crate::driver::codec;
use crate::runtime;

/// Entries that wait to be written; beyond it the oldest are not written, and found again in the log or nowhere.
const PENDING_ENTRIES: usize = 10_000;

/// What the cache of sled may take.
const CACHE_BYTES: u64 = 16 << 20;

const APPLIED: &[u8] = b"applied";

/// The index on disk.
pub struct SledIndex {
    log: LogId,
    memory: MemoryIndex,
    /// `None` once the disk has failed: the index goes on in memory.
    database: Option<::sled::Db>,
    /// What is not written yet; `None` removes.
    pending: BTreeMap<TransactionId, Option<FinishedTransaction>>,
    writing: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

/// Why the index on disk cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Damaged(String),
    #[error("it belongs to log {0}")]
    OtherLog(LogId),
    #[error("it is ahead: it knows LSN {0}, which the log does not hold")]
    Ahead(u64),
}

impl SledIndex {
    /// Opens the index of this log, which ends at `last`, or begins a new one.
    pub fn open(path: &Path, log: LogId, last: Lsn, capacity: usize) -> SledIndex {
        let opened = open(path, log, last).or_else(|reason| {
            let aside = path.with_extension("unusable");
            tracing::warn!(%reason, moved_to = %aside.display(), "the index is built anew from the log");
            move_aside(path, &aside).map_err(|error| error.to_string())?;
            open(path, log, last).map_err(|error| error.to_string())
        });
        let (database, entries) = match opened {
            Ok((database, entries)) => (Some(database), entries),
            Err(reason) => {
                tracing::error!(
                    reason,
                    "there is no index on disk; history is kept in memory only"
                );
                (None, Vec::new())
            }
        };
        let mut index = SledIndex {
            log,
            memory: MemoryIndex::new(capacity),
            database,
            pending: BTreeMap::new(),
            writing: Arc::default(),
            failed: Arc::default(),
        };
        entries.into_iter().for_each(|entry| index.memory.enter(entry));
        index.evict();
        index
    }

    fn evict(&mut self) {
        while let Some(evicted) = self.memory.evict() {
            if evicted.key.is_some() {
                self.remember(evicted.transaction, None);
            }
        }
    }

    fn remember(&mut self, transaction: TransactionId, entry: Option<FinishedTransaction>) {
        self.pending.insert(transaction, entry);
        if self.pending.len() > PENDING_ENTRIES {
            self.pending.pop_first();
        }
    }
}

impl Index for SledIndex {
    fn insert(&mut self, finished: FinishedTransaction) {
        let finished = self.memory.completed(finished);
        if finished.key.is_some() {
            self.remember(finished.transaction, Some(finished.clone()));
        }
        self.memory.enter(finished);
        self.evict();
    }

    fn forget_keys(&mut self, keys: &[IdempotencyKey]) {
        // Without its key it is like any other, and those are not on the disk.
        for key in keys {
            if let Some(transaction) = self.memory.by_key(key) {
                self.remember(transaction, None);
            }
        }
        self.memory.forget_keys(keys);
    }

    fn flush(&mut self, applied: Lsn) {
        if self.failed.load(Ordering::Acquire) {
            self.database = None;
        }
        let Some(database) = &self.database else {
            return self.pending.clear();
        };
        if self.pending.is_empty() || self.writing.swap(true, Ordering::AcqRel) {
            return;
        }
        let batch = Batch {
            database: database.clone(),
            log: self.log,
            applied,
            entries: std::mem::take(&mut self.pending),
        };
        let (writing, failed) = (self.writing.clone(), self.failed.clone());
        drop(runtime::spawn_blocking(move || {
            if let Err(reason) = guarded(|| batch.write()) {
                tracing::error!(
                    reason,
                    "the index cannot be written; history is kept in memory from now on"
                );
                failed.store(true, Ordering::Release);
            }
            writing.store(false, Ordering::Release);
        }));
    }

    fn get(&self, transaction: TransactionId) -> Option<&FinishedTransaction> {
        self.memory.get(transaction)
    }

    fn by_key(&self, key: &IdempotencyKey) -> Option<TransactionId> {
        self.memory.by_key(key)
    }

    fn page(&self, after: Option<TransactionId>, limit: usize) -> Vec<&FinishedTransaction> {
        self.memory.page(after, limit)
    }
}

struct Batch {
    database: ::sled::Db,
    log: LogId,
    applied: Lsn,
    entries: BTreeMap<TransactionId, Option<FinishedTransaction>>,
}

impl Batch {
    /// Entries and the LSN that they follow from become durable together.
    fn write(&self) -> ::sled::Result<()> {
        let mut batch = ::sled::Batch::default();
        let mut bytes = Vec::new();
        for (transaction, entry) in &self.entries {
            match entry {
                None => batch.remove(&transaction.to_bytes()),
                Some(finished) => {
                    bytes.clear();
                    codec::encode_finished(finished, &mut bytes);
                    batch.insert(&transaction.to_bytes(), bytes.as_slice());
                }
            }
        }
        batch.insert(APPLIED, encode_applied(self.log, self.applied));
        self.database.apply_batch(batch)?;
        self.database.flush()?;
        Ok(())
    }
}

type Opened = (::sled::Db, Vec<FinishedTransaction>);

fn open(path: &Path, log: LogId, last: Lsn) -> Result<Opened, Unusable> {
    let open = || {
        ::sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .open()
    };
    let database = guarded(open).map_err(Unusable::Damaged)?;
    let entries = guarded(|| read(&database)).map_err(Unusable::Damaged)?;
    let (entries, applied) = entries.map_err(Unusable::Damaged)?;
    match applied {
        None if entries.is_empty() => Ok((database, entries)),
        None => Err(Unusable::Damaged(
            "it does not say what it follows from".to_owned(),
        )),
        Some((other, _)) if other != log => Err(Unusable::OtherLog(other)),
        Some((_, applied)) if applied > last => Err(Unusable::Ahead(applied.0)),
        Some(_) => Ok((database, entries)),
    }
}

type Contents = (Vec<FinishedTransaction>, Option<(LogId, Lsn)>);

fn read(database: &::sled::Db) -> ::sled::Result<Result<Contents, String>> {
    let mut contents: Contents = (Vec::new(), None);
    for entry in database.iter() {
        let (key, value) = entry?;
        if key.as_ref() == APPLIED {
            let Some(applied) = decode_applied(&value) else {
                return Ok(Err("its position is damaged".to_owned()));
            };
            contents.1 = Some(applied);
            continue;
        }
        match codec::decode_finished(&value) {
            Ok(finished) if finished.transaction.to_bytes() == key.as_ref() => contents.0.push(finished),
            Ok(finished) => return Ok(Err(format!("{} stands in the wrong place", finished.transaction))),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(contents))
}

fn encode_applied(log: LogId, lsn: Lsn) -> Vec<u8> {
    [log.to_bytes().as_slice(), &lsn.0.to_be_bytes()].concat()
}

fn decode_applied(bytes: &[u8]) -> Option<(LogId, Lsn)> {
    let (log, lsn) = bytes.split_at_checked(16)?;
    Some((
        LogId::from_slice(log)?,
        Lsn(u64::from_be_bytes(lsn.try_into().ok()?)),
    ))
}

/// sled panics on some damage; that must not be ours.
fn guarded<T>(work: impl FnOnce() -> ::sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
    }
}

/// One earlier index that could not be used is kept for those who want to know why.
fn move_aside(path: &Path, aside: &PathBuf) -> std::io::Result<()> {
    match std::fs::remove_dir_all(aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match std::fs::rename(path, aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
