//! What is still known of transactions that have ended, and where knowledge ends.

use std::hash::{Hash, Hasher};

use handfast_ids::TransactionId;

use crate::id_index::IdIndex;
use crate::{Lsn, Outcome};

/// The outcomes of ended transactions, oldest end first, and the horizon below which they are forgotten.
///
/// An ended commit must not be taken for one that never happened. So whatever is dropped raises the horizon over its id,
/// and an unknown id at or below the horizon is answered "forgotten", never "abort". Nothing here needs a record of its
/// own: a restart rebuilds it from the log, and a checkpoint carries the horizon before segments go.
///
/// ```text
///   ring: ended, ended, ended, ...        index: hash of id ──► place in the ring; `None` while a log is replayed, which
///         ▲ next: the oldest, once full          drops nearly all that it enters and asks for next to nothing
/// ```
#[derive(Clone, Debug)]
pub(crate) struct History {
    limit: usize,
    ring: Vec<Ended>,
    next: usize,
    index: Option<IdIndex>,
    horizon: TransactionId,
}

/// An ended transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Ended {
    transaction: TransactionId,
    outcome: Outcome,
    /// The record that must be durable before it may be told.
    told_after: Lsn,
}

impl History {
    pub fn new(limit: usize) -> Self {
        History {
            limit,
            ring: Vec::new(),
            next: 0,
            index: Some(IdIndex::default()),
            horizon: TransactionId::ZERO,
        }
    }

    /// The same for a replay: nothing is found quickly before [`History::complete`].
    pub fn replayed(limit: usize) -> Self {
        History {
            index: None,
            ..History::new(limit)
        }
    }

    /// The replay is over: from now on everything is found quickly.
    pub fn complete(&mut self) {
        if self.index.is_some() {
            return;
        }
        let ring = &self.ring;
        let id_at = |place: u32| ring[place as usize].transaction;
        let mut index = IdIndex::default();
        index.reserve(ring.len(), id_at);
        for place in self.places() {
            // Of an id that stands here twice, the later word counts.
            index.remove(id_at(place), id_at);
            index.insert(place, id_at);
        }
        self.index = Some(index);
    }

    pub fn outcome(&self, transaction: TransactionId) -> Option<(&Outcome, Lsn)> {
        let ended = &self.ring[self.place_of(transaction)? as usize];
        Some((&ended.outcome, ended.told_after))
    }

    pub fn horizon(&self) -> TransactionId {
        self.horizon
    }

    pub fn raise_horizon(&mut self, to: TransactionId) {
        self.horizon = self.horizon.max(to);
    }

    pub fn insert(&mut self, transaction: TransactionId, outcome: Outcome, told_after: Lsn) {
        let ended = Ended {
            transaction,
            outcome,
            told_after,
        };
        if self.limit == 0 {
            return self.dropped(transaction);
        }
        if self.index.is_some()
            && let Some(place) = self.place_of(transaction)
        {
            self.ring[place as usize] = ended;
            return;
        }
        let place = self.next;
        if place == self.ring.len() {
            self.ring.push(ended);
        } else {
            self.drop_at(place);
            self.ring[place] = ended;
        }
        self.next = (place + 1) % self.limit;
        let ring = &self.ring;
        if let Some(index) = &mut self.index {
            index.insert(place as u32, |place| ring[place as usize].transaction);
        }
    }

    fn drop_at(&mut self, place: usize) {
        let oldest = self.ring[place].transaction;
        let ring = &self.ring;
        let id_at = |place: u32| ring[place as usize].transaction;
        if let Some(index) = &mut self.index
            && index.find(oldest, id_at) == Some(place as u32)
        {
            index.remove(oldest, id_at);
        }
        self.dropped(oldest);
    }

    /// Whether it happened is no longer known, and the horizon says so.
    fn dropped(&mut self, transaction: TransactionId) {
        self.raise_horizon(transaction);
    }

    fn place_of(&self, transaction: TransactionId) -> Option<u32> {
        let ring = &self.ring;
        match &self.index {
            Some(index) => index.find(transaction, |place| ring[place as usize].transaction),
            // What a replay asks for ended just before.
            None => self
                .places()
                .rev()
                .find(|place| ring[*place as usize].transaction == transaction),
        }
    }

    /// Oldest end first.
    fn places(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        let (next, end) = (self.next as u32, self.ring.len() as u32);
        (next..end).chain(0..next)
    }

    fn ended(&self) -> impl Iterator<Item = &Ended> {
        self.places().map(|place| &self.ring[place as usize])
    }

    /// Ended commits, oldest end first: what a checkpoint must carry.
    pub fn commits(&self) -> impl Iterator<Item = TransactionId> {
        self.ended()
            .filter(|ended| matches!(ended.outcome, Outcome::Committed | Outcome::Heuristic { .. }))
            .map(|ended| ended.transaction)
    }
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.limit == other.limit && self.horizon == other.horizon && self.ended().eq(other.ended())
    }
}

impl Eq for History {}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.horizon.hash(state);
        self.ended().for_each(|ended| ended.hash(state));
    }
}

#[cfg(test)]
mod tests;
