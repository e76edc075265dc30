//! What the journal says: a fold of its records in the order of their offsets, the same at every instance.
//!
//! ```text
//!                      Promise                 End
//!   (unknown) ───────────────────► Promised ─────────► Ended ── both taken out ──► (unknown)
//!       │                             │ Fence: too late, nothing
//!       │     Fence                                Promise: void, its transaction is aborted
//!       └───────────────────► Fenced ───────────────────► Fenced ── taken out ──► (unknown)
//! ```
//!
//! A transaction that was begun and never promised is *reaped* in the same way: what comes to promise it later says nothing.
//!
//! The first of a promise and a fence wins, and everybody can see which one that was. This is how an abort by one instance and
//! a prepare that is still on its way at another one are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use handfast_proto::ids::{LogId, StoreId};
use tokio::time::{Duration, Instant};

use super::record::{End, KafkaTransaction, Key, Promise, Record};
use crate::resource::{BranchKey, SeenLog};

/// What is known of a branch.
#[derive(Clone, Debug)]
pub(super) enum Branch {
    /// Its transaction waits for the decision.
    Promised(Noted),
    /// The marker; `promise` is missing if only its end is left.
    Ended { end: End, promise: Option<Noted> },
    /// Never promised, and never to be.
    Fenced,
}

/// A promise and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub promise: Promise,
    pub offset: i64,
}

#[derive(Debug)]
struct Entry {
    branch: Branch,
    nonces: BTreeSet<u128>,
    /// When this process first saw it in this state.
    since: Instant,
}

/// The state.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The first that was written counts.
    store: Option<(i64, StoreId, u8, String)>,
    branches: BTreeMap<BranchKey, Entry>,
    seen: BTreeMap<LogId, SeenLog>,
    /// Promises that came after their fence or their reaper, and are not cleared away yet.
    void: BTreeMap<BranchKey, Promise>,
    /// Transactions that nobody may promise any more, and since when.
    reaped: BTreeMap<u128, (KafkaTransaction, Instant)>,
}

impl Fold {
    /// Takes the record at `offset`; gives back a transaction that nothing waits for any more.
    pub fn take(&mut self, offset: i64, record: Record, now: Instant) -> Option<KafkaTransaction> {
        match record {
            Record::Store {
                store,
                layout,
                cluster,
            } => {
                self.store.get_or_insert((offset, store, layout, cluster));
                None
            }
            Record::Seen(seen) => {
                self.witness(seen);
                None
            }
            Record::Promise { branch, promise } => {
                self.witness(promise.seen);
                let noted = Noted { promise, offset };
                match self.branches.get(&branch).map(|entry| &entry.branch) {
                    None if self.is_reaped(&noted.promise.transaction) => {
                        self.void.insert(branch, noted.promise);
                    }
                    None => self.set(branch, Branch::Promised(noted), now),
                    Some(Branch::Fenced) => drop(self.void.insert(branch, noted.promise)),
                    // The same once more: compaction keeps the last, and it says the same.
                    Some(Branch::Promised(_) | Branch::Ended { .. }) => {}
                }
                None
            }
            Record::Fence { branch, nonce } => {
                if !self.branches.contains_key(&branch) {
                    self.set(branch, Branch::Fenced, now);
                }
                if let Some(entry) = self.branches.get_mut(&branch) {
                    entry.nonces.insert(nonce);
                }
                None
            }
            Record::End { branch, end } => {
                let promise = match self.branches.get(&branch).map(|entry| &entry.branch) {
                    Some(Branch::Promised(noted)) => Some(noted.clone()),
                    Some(Branch::Ended { .. }) => return None,
                    Some(Branch::Fenced) | None => None,
                };
                let ended = promise.as_ref().map(|noted| noted.promise.transaction.clone());
                self.set(branch, Branch::Ended { end, promise }, now);
                ended
            }
            Record::Reap { nonce, transaction } => {
                self.reaped.insert(nonce, (transaction, now));
                None
            }
            Record::Gone(key) => {
                self.take_out(key);
                None
            }
        }
    }

    fn set(&mut self, branch: BranchKey, state: Branch, now: Instant) {
        let nonces = self
            .branches
            .remove(&branch)
            .map_or_else(BTreeSet::new, |entry| entry.nonces);
        let entry = Entry {
            branch: state,
            nonces,
            since: now,
        };
        self.branches.insert(branch, entry);
    }

    /// Keys of a branch are taken out together, the promise first, and the end or the last fence last.
    fn take_out(&mut self, key: Key) {
        match key {
            Key::Store(_) | Key::Seen(_) => {}
            Key::Reap(nonce) => drop(self.reaped.remove(&nonce)),
            Key::Promise(branch) => drop(self.void.remove(&branch)),
            Key::Fence(branch, nonce) => {
                let Some(entry) = self.branches.get_mut(&branch) else {
                    return;
                };
                entry.nonces.remove(&nonce);
                if entry.nonces.is_empty() && matches!(entry.branch, Branch::Fenced) {
                    self.branches.remove(&branch);
                }
            }
            Key::End(branch) => drop(self.branches.remove(&branch)),
        }
    }

    /// Whether nobody may promise this transaction any more.
    pub fn is_reaped(&self, transaction: &KafkaTransaction) -> bool {
        self.reaped.values().any(|(reaped, _)| reaped == transaction)
    }

    /// What was reaped so long ago that whoever began it cannot want to promise it any more.
    pub fn reaped(&self, age: Duration, now: Instant) -> Vec<Key> {
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= age;
        self.reaped
            .iter()
            .filter(|(_, (_, since))| is_old(since))
            .map(|(nonce, _)| Key::Reap(*nonce))
            .collect()
    }

    fn witness(&mut self, seen: SeenLog) {
        let highest = self.seen.entry(seen.log).or_insert(seen);
        if (seen.epoch, seen.lsn) > (highest.epoch, highest.lsn) {
            *highest = seen;
        }
    }

    /// Which store the journal is, its layout, and the cluster in which it was made.
    pub fn store(&self) -> Option<(StoreId, u8, &str)> {
        self.store
            .as_ref()
            .map(|(_, store, layout, cluster)| (*store, *layout, cluster.as_str()))
    }

    pub fn branch(&self, branch: BranchKey) -> Option<&Branch> {
        self.branches.get(&branch).map(|entry| &entry.branch)
    }

    pub fn len(&self) -> usize {
        self.branches.len()
    }

    pub fn seen(&self) -> Vec<SeenLog> {
        self.seen.values().copied().collect()
    }

    pub fn promised(&self) -> impl Iterator<Item = (BranchKey, &Noted)> {
        self.branches
            .iter()
            .filter_map(|(branch, entry)| match &entry.branch {
                Branch::Promised(noted) => Some((*branch, noted)),
                Branch::Ended { .. } | Branch::Fenced => None,
            })
    }

    /// Markers and fences that are at least so old, as this process saw them.
    pub fn finished(&self, age: Duration, now: Instant) -> impl Iterator<Item = BranchKey> {
        self.branches.iter().filter_map(move |(branch, entry)| {
            let is_old = now.saturating_duration_since(entry.since) >= age;
            (is_old && !matches!(entry.branch, Branch::Promised(_))).then_some(*branch)
        })
    }

    pub fn void(&self) -> Vec<(BranchKey, Promise)> {
        self.void
            .iter()
            .map(|(branch, promise)| (*branch, promise.clone()))
            .collect()
    }

    /// The keys that take a finished branch out; empty while it must stay.
    ///
    /// A fence of a branch that nobody promised stays for `fence_age`, because work that began before it may still want to
    /// promise.
    pub fn keys_to_forget(&self, branch: BranchKey, fence_age: Duration, now: Instant) -> Vec<Key> {
        let Some(entry) = self.branches.get(&branch) else {
            return Vec::new();
        };
        let fences = entry.nonces.iter().map(|nonce| Key::Fence(branch, *nonce));
        match &entry.branch {
            Branch::Promised(_) => Vec::new(),
            Branch::Ended { .. } => [Key::Promise(branch)]
                .into_iter()
                .chain(fences)
                .chain([Key::End(branch)])
                .collect(),
            Branch::Fenced => {
                let is_old = now.saturating_duration_since(entry.since) >= fence_age;
                if is_old && !self.void.contains_key(&branch) {
                    fences.collect()
                } else {
                    Vec::new()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
