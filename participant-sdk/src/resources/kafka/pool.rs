//! The transactional ids of this process.
//!
//! An id belongs to one process for ever: its name holds random bits that this process drew. Nothing in Kafka keeps a process
//! that was thought dead from initialising an id, which aborts whatever the id holds, and a compare-and-set of the epoch does
//! not cover an open transaction. So no process ever initialises the id of another one, and each knows in memory which of
//! its own ids it has lent out. An id that a request may still reach which would initialise it is put aside for ever, and another
//! one takes its place. What the ids of dead processes hold is in the journal, and is ended by producer id and epoch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::options::MAX_PUT_ASIDE;

#[derive(Debug)]
struct Ids {
    /// Longest unused first, so that the brokers have ended its last transaction by the time it begins another.
    free: VecDeque<usize>,
    lent: BTreeSet<usize>,
    /// The number of the next id that takes the place of one that is put aside.
    fresh: usize,
    put_aside: usize,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    prefix: String,
    ids: Mutex<Ids>,
}

/// How the ids of all processes begin that share a journal.
pub(super) fn prefix_of(journal: Uuid) -> String {
    format!("handfast-{}-", journal.simple())
}

impl Pool {
    /// So many ids of a process that drew these bits.
    pub fn new(journal: Uuid, bits: u128, size: usize) -> Self {
        Pool {
            prefix: format!("{}{bits:032x}-", prefix_of(journal)),
            ids: Mutex::new(Ids {
                free: (0..size).collect(),
                lent: BTreeSet::new(),
                fresh: size,
                put_aside: 0,
            }),
        }
    }

    /// An id that holds nothing; `None` if all are lent out. It stays lent until it is given back.
    pub fn take(&self) -> Option<String> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ids.free.pop_front()?;
        ids.lent.insert(number);
        Some(format!("{}{number}", self.prefix))
    }

    fn number(&self, transactional_id: &str) -> Option<usize> {
        transactional_id
            .strip_prefix(&self.prefix)
            .and_then(|number| number.parse().ok())
    }

    /// This id is never lent again. A fresh one takes its place, unless too many were put aside before.
    pub fn put_aside(&self, transactional_id: &str) {
        let number = self.number(transactional_id);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_none_or(|number| !ids.lent.remove(&number)) {
            return;
        }
        ids.put_aside += 1;
        if ids.put_aside <= MAX_PUT_ASIDE {
            let fresh = ids.fresh;
            ids.fresh += 1;
            ids.free.push_back(fresh);
        }
        if ids.put_aside == MAX_PUT_ASIDE {
            tracing::warn!(
                "brokers did not answer so often that ids are not replaced any more; start this process again to draw new ones"
            );
        }
    }

    /// Nothing of this id waits any more. Ids of others are none of ours.
    pub fn give_back(&self, transactional_id: &str) {
        let number = self.number(transactional_id);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = number.filter(|number| ids.lent.remove(number)) {
            ids.free.push_back(number);
        }
    }
}

#[cfg(test)]
mod tests;
