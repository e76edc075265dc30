//! Timers: one for each transaction at most, by the moment at which it fires.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use handfast_ids::TransactionId;

use crate::Moment;

/// The moments at which something fires. A timer that is taken back is only counted out: who is told of a moment asks the
/// transaction whether it still waits for it. A moment for which nobody waits is not kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    moments: BTreeMap<Moment, Waiting>,
}

impl PartialEq for Timers {
    fn eq(&self, other: &Self) -> bool {
        self.counts().eq(other.counts())
    }
}

impl Eq for Timers {}

impl Hash for Timers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counts().for_each(|count| count.hash(state));
    }
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Those that wait, and those that did.
    transactions: Vec<TransactionId>,
    live: usize,
}

impl Timers {
    /// Who waits stands with the transactions; here it counts how many do.
    pub fn counts(&self) -> impl Iterator<Item = (Moment, usize)> {
        self.moments
            .iter()
            .map(|(moment, waiting)| (*moment, waiting.live))
    }

    pub fn set(&mut self, at: Moment, transaction: TransactionId) {
        let waiting = self.moments.entry(at).or_default();
        waiting.transactions.push(transaction);
        waiting.live += 1;
    }

    /// Takes back a timer that was set for this moment.
    pub fn take_back(&mut self, at: Moment) {
        if let Some(waiting) = self.moments.get_mut(&at) {
            waiting.live -= 1;
            if waiting.live == 0 {
                self.moments.remove(&at);
            }
        }
    }

    /// The next moment at which something fires.
    pub fn next(&self) -> Option<Moment> {
        self.moments.first_key_value().map(|(moment, _)| *moment)
    }

    /// Takes out the next moment, if it is not after `now`: in the order of their ids all that may wait for it.
    pub fn pop(&mut self, now: Moment) -> Option<(Moment, Vec<TransactionId>)> {
        let first = self.moments.first_entry()?;
        if *first.key() > now {
            return None;
        }
        let (moment, waiting) = first.remove_entry();
        let mut transactions = waiting.transactions;
        transactions.sort_unstable();
        transactions.dedup();
        Some((moment, transactions))
    }
}
