//! The queryable copy of what is durable, in sled.
//!
//! ```text
//!   a/<account>          -> balance and overdraft, JSON
//!   h/<position, 8 BE>   -> an applied posting, JSON
//!   position             -> the record of the journal that the copy has reached, 8 bytes BE
//! ```
//!
//! sled may be behind, damaged, or panic when it is opened. Nothing depends on it: whatever goes wrong, the copy is moved
//! aside or given up, and is built anew from the ledger.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Applied;
use super::accounts::{Account, Accounts};

/// Changes in one batch while the copy is built.
const REBUILD_BATCH: usize = 1000;
const CACHE_BYTES: u64 = 16 << 20;
const FLUSH_EVERY_MS: u64 = 1000;
const POSITION: &[u8] = b"position";

/// What one applied operation changed.
#[derive(Debug)]
pub(super) struct Change {
    pub position: u64,
    pub balances: Vec<(String, Account)>,
    pub applied: Option<Applied>,
    /// The position of a posting that is no longer kept.
    pub forgotten: Option<u64>,
}

/// The copy.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    db: Arc<OnceLock<sled::Db>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The journal is not open, so the directory may be another process's.
    Waiting,
    /// Applied and not yet durable, in order.
    Following(VecDeque<Change>),
    Failed,
}

/// Reads the copy.
#[derive(Clone, Debug)]
pub struct Readers {
    db: Arc<OnceLock<sled::Db>>,
}

impl Readers {
    /// An account as it is durable; `None` if there is none, or the copy is not open or cannot be read.
    pub fn account(&self, name: &str) -> Option<Account> {
        let value = self.db.get()?.get(account_key(name)).ok().flatten()?;
        serde_json::from_slice(&value).ok()
    }
}

impl Mirror {
    pub fn at(path: PathBuf) -> Mirror {
        Mirror {
            path,
            db: Arc::new(OnceLock::new()),
            stage: Stage::Waiting,
        }
    }

    pub fn readers(&self) -> Readers {
        Readers { db: self.db.clone() }
    }

    pub fn changed(&mut self, change: Change) {
        if let Stage::Following(changes) = &mut self.stage {
            changes.push_back(change);
        }
    }

    /// Takes over what is durable now. The first time, when nothing is on its way, the copy is opened and brought to where
    /// the ledger is.
    pub fn synced(&mut self, durable: u64, reached: u64, accounts: &Accounts, applied: &VecDeque<Applied>) {
        let result = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Waiting => self.begin(reached, accounts, applied).map(|()| VecDeque::new()),
            Stage::Following(changes) => self.take_over(durable, changes),
            Stage::Failed => return,
        };
        match result {
            Ok(changes) => self.stage = Stage::Following(changes),
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "the ledger's mirror failed and is left behind; the next start tries again");
            }
        }
    }

    /// One that cannot be opened or read is moved aside.
    fn begin(
        &mut self,
        reached: u64,
        accounts: &Accounts,
        applied: &VecDeque<Applied>,
    ) -> Result<(), String> {
        let begin = || open(&self.path).and_then(|db| catch_up(&db, reached, accounts, applied).map(|()| db));
        let db = begin().or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "the ledger's mirror is damaged; it is built anew");
            // One damaged copy is kept for whoever wants to look; the journal holds everything.
            let aside = self.path.with_extension("damaged");
            let _ = std::fs::remove_dir_all(&aside);
            std::fs::rename(&self.path, &aside).map_err(|error| error.to_string())?;
            begin()
        })?;
        self.db.set(db).map_err(|_| "it is open already".to_owned())
    }

    fn take_over(&self, durable: u64, mut changes: VecDeque<Change>) -> Result<VecDeque<Change>, String> {
        let mut batch = sled::Batch::default();
        let mut reached = None;
        while let Some(change) = changes.front()
            && change.position <= durable
            && let Some(change) = changes.pop_front()
        {
            for (name, account) in &change.balances {
                batch.insert(account_key(name), json(account));
            }
            if let Some(applied) = &change.applied {
                batch.insert(applied_key(applied.position), json(applied));
            }
            if let Some(forgotten) = change.forgotten {
                batch.remove(applied_key(forgotten));
            }
            reached = Some(change.position);
        }
        if let Some(reached) = reached
            && let Some(db) = self.db.get()
        {
            batch.insert(POSITION, &reached.to_be_bytes());
            apply(db, batch)?;
        }
        Ok(changes)
    }
}

fn catch_up(
    db: &sled::Db,
    reached: u64,
    accounts: &Accounts,
    applied: &VecDeque<Applied>,
) -> Result<(), String> {
    let position = unpanicked(|| db.get(POSITION))?;
    if position.as_deref() == Some(&reached.to_be_bytes()) {
        return Ok(());
    }
    tracing::info!(reached, "building the ledger's mirror anew");
    unpanicked(|| db.clear())?;
    let accounts = accounts
        .iter()
        .map(|(name, account)| (account_key(name), json(account)));
    let applied = applied
        .iter()
        .map(|applied| (applied_key(applied.position), json(applied)));
    let mut batch = sled::Batch::default();
    for (index, (key, value)) in accounts.chain(applied).enumerate() {
        batch.insert(key, value);
        if index % REBUILD_BATCH == REBUILD_BATCH - 1 {
            apply(db, std::mem::take(&mut batch))?;
        }
    }
    // Last, so that a copy that is half built is built again.
    batch.insert(POSITION, &reached.to_be_bytes());
    apply(db, batch)
}

fn open(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    unpanicked(|| config.open())
}

fn apply(db: &sled::Db, batch: sled::Batch) -> Result<(), String> {
    unpanicked(|| db.apply_batch(batch))
}

/// sled panics on some kinds of damage.
fn unpanicked<T>(action: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
    }
}

fn account_key(name: &str) -> Vec<u8> {
    [b"a/", name.as_bytes()].concat()
}

fn applied_key(position: u64) -> Vec<u8> {
    [b"h/".as_slice(), &position.to_be_bytes()].concat()
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and texts can be written as JSON")
}
