//! Idempotency keys: each names at most one transaction and always gets the same answer.

use std::collections::{BTreeMap, BTreeSet};

use handfast_ids::{IdempotencyKey, TransactionId};

use crate::{KeyClaim, KeyRecord, Lsn, Outcome};

/// How often expired keys are looked for, at most.
pub(crate) const EXPIRY_PERIOD_MS: u64 = 1000;

/// The keys that are held.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Keys {
    held: BTreeMap<IdempotencyKey, HeldKey>,
    by_expiry: BTreeSet<(u64, IdempotencyKey)>,
    /// Unix milliseconds: keys that expired at or before this are no longer held.
    horizon_ms: u64,
}

/// A key and what it names.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HeldKey {
    pub record: KeyRecord,
    pub transaction: TransactionId,
    /// `None` while the transaction is undecided. The answer may be told once the log is durable to the LSN.
    pub answer: Option<(Outcome, Lsn)>,
}

/// What a claim of a key finds.
#[derive(Debug)]
pub(crate) enum Claimed<'a> {
    /// Nobody holds it, and it may be used.
    Free,
    /// It was used for this very request.
    Held(&'a HeldKey),
    /// It was used for another request.
    Mismatch(TransactionId),
    /// Its time is over and whatever it named is forgotten.
    Expired,
}

impl Keys {
    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn find(&self, key: &IdempotencyKey) -> Option<&HeldKey> {
        self.held.get(key)
    }

    pub fn horizon_ms(&self) -> u64 {
        self.horizon_ms
    }

    pub fn raise_horizon(&mut self, to_ms: u64) {
        self.horizon_ms = self.horizon_ms.max(to_ms);
    }

    pub fn claim(&self, claim: &KeyClaim, now_ms: u64) -> Claimed<'_> {
        match self.held.get(&claim.key) {
            Some(held)
                if held.record.digest == claim.digest && held.record.expires_at_ms == claim.expires_at_ms =>
            {
                Claimed::Held(held)
            }
            // Past its time a held key may be dropped at any moment; until then it still blocks a different request.
            Some(held) => Claimed::Mismatch(held.transaction),
            None if claim.expires_at_ms <= self.horizon_ms.max(now_ms) => Claimed::Expired,
            None => Claimed::Free,
        }
    }

    /// Binds a key to a transaction that has just begun. In a replay the key may still be held by an earlier use, which
    /// has expired since: nothing of it may stay, or its expiry would take the later use away.
    pub fn bind(&mut self, record: KeyRecord, transaction: TransactionId) {
        if let Some(earlier) = self.held.remove(&record.key) {
            self.by_expiry
                .remove(&(earlier.record.expires_at_ms, earlier.record.key));
        }
        self.by_expiry.insert((record.expires_at_ms, record.key.clone()));
        let key = record.key.clone();
        self.held.insert(
            key,
            HeldKey {
                record,
                transaction,
                answer: None,
            },
        );
    }

    /// Enters the answer. From here on it never changes, except that a deviation turns it heuristic. A transaction that
    /// outlived its key answers nothing: another one may hold the key by now.
    pub fn answer(&mut self, key: &IdempotencyKey, transaction: TransactionId, outcome: Outcome, after: Lsn) {
        if let Some(held) = self.held.get_mut(key)
            && held.transaction == transaction
        {
            held.answer = Some((outcome, after));
        }
    }

    /// Drops the answered keys whose time is over and raises the horizon over them. Not to now: a clock that is ahead by years
    /// would take all later keys with it.
    pub fn expire(&mut self, now_ms: u64) -> Vec<IdempotencyKey> {
        let over: Vec<(u64, IdempotencyKey)> = self
            .by_expiry
            .iter()
            .take_while(|(expires_at_ms, _)| *expires_at_ms <= now_ms)
            .filter(|(_, key)| self.held.get(key).is_some_and(|held| held.answer.is_some()))
            .cloned()
            .collect();
        if let Some((last_ms, _)) = over.last() {
            self.raise_horizon(*last_ms);
        }
        for entry in &over {
            self.by_expiry.remove(entry);
            self.held.remove(&entry.1);
        }
        over.into_iter().map(|(_, key)| key).collect()
    }

    /// Unix milliseconds of the next expiry.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.by_expiry.first().map(|(expires_at_ms, _)| *expires_at_ms)
    }

    /// The answered keys, for a checkpoint.
    pub fn answered(&self) -> impl Iterator<Item = (&HeldKey, &Outcome)> {
        self.held
            .values()
            .filter_map(|held| held.answer.as_ref().map(|(outcome, _)| (held, outcome)))
    }
}

#[cfg(test)]
mod tests;
