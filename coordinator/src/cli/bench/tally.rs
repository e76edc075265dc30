//! What came of the transactions, counted while they run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::failed;
use crate::error::Error;

/// Clients of a shard share a lock, which is held for a few instructions.
const SHARDS: usize = 8;
/// Digits of a latency that are exact.
const DIGITS: u8 = 3;
/// Different errors that are told apart.
const ERRORS: usize = 16;

/// What happened within a stretch of time.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Of committed transactions, in microseconds.
    pub latencies: Histogram<u64>,
    /// Refused or out of time.
    pub aborted: u64,
    /// Reasons of aborts, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// What is neither committed nor aborted, in words.
    pub errors: BTreeMap<String, u64>,
}

/// What came of one transaction.
pub enum Result {
    Committed,
    Aborted(String),
    Failed(String),
}

pub struct Tally {
    shards: Vec<Mutex<Counts>>,
}

impl Counts {
    pub fn new() -> std::result::Result<Counts, Error> {
        let histogram = Histogram::new(DIGITS);
        Ok(Counts {
            latencies: histogram.map_err(|error| failed(format!("no histogram: {error}")))?,
            aborted: 0,
            reasons: BTreeMap::new(),
            errors: BTreeMap::new(),
        })
    }

    /// How many committed.
    pub fn committed(&self) -> u64 {
        self.latencies.len()
    }

    /// How many were decided.
    pub fn decided(&self) -> u64 {
        self.committed() + self.aborted
    }

    /// How many came to nothing that is known.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    fn add(&mut self, other: Counts) {
        // Both resize themselves, so that nothing is out of range.
        let _ = self.latencies.add(other.latencies);
        self.aborted += other.aborted;
        for (counts, more) in [
            (&mut self.reasons, other.reasons),
            (&mut self.errors, other.errors),
        ] {
            for (word, count) in more {
                *counts.entry(word).or_default() += count;
            }
        }
    }
}

impl Tally {
    pub fn new() -> std::result::Result<Tally, Error> {
        let shards: std::result::Result<Vec<_>, Error> =
            (0..SHARDS).map(|_| Counts::new().map(Mutex::new)).collect();
        Ok(Tally { shards: shards? })
    }

    /// Counts one transaction of this client.
    pub fn count(&self, client: usize, result: Result, latency: Duration) {
        let shard = &self.shards[client % SHARDS];
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Result::Committed => {
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
                // It resizes itself, so that nothing is out of range.
                let _ = counts.latencies.record(micros);
            }
            Result::Aborted(reason) => {
                counts.aborted += 1;
                bounded(&mut counts.reasons, reason);
            }
            Result::Failed(words) => bounded(&mut counts.errors, words),
        }
    }

    /// What was counted since the last time.
    pub fn take(&self) -> std::result::Result<Counts, Error> {
        let mut total = Counts::new()?;
        for shard in &self.shards {
            let empty = Counts::new()?;
            let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = std::mem::replace(&mut *counts, empty);
            drop(counts);
            total.add(taken);
        }
        Ok(total)
    }
}

fn bounded(counts: &mut BTreeMap<String, u64>, word: String) {
    let word = if counts.len() < ERRORS || counts.contains_key(&word) {
        word
    } else {
        "others".to_owned()
    };
    *counts.entry(word).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_once() {
        let tally = Tally::new().unwrap();
        for client in 0..100 {
            tally.count(client, Result::Committed, Duration::from_micros(client as u64));
        }
        tally.count(3, Result::Aborted("REFUSED".to_owned()), Duration::ZERO);
        tally.count(4, Result::Failed("lost".to_owned()), Duration::ZERO);
        let counts = tally.take().unwrap();
        assert_eq!((counts.committed(), counts.aborted, counts.failed()), (100, 1, 1));
        assert_eq!(counts.reasons["REFUSED"], 1);
        assert_eq!(counts.latencies.value_at_quantile(0.5), 49);
        assert_eq!(tally.take().unwrap().decided(), 0);
    }

    #[test]
    fn errors_that_differ_each_time_do_not_fill_the_memory() {
        let tally = Tally::new().unwrap();
        for number in 0..1000 {
            tally.count(0, Result::Failed(format!("error {number}")), Duration::ZERO);
        }
        let counts = tally.take().unwrap();
        assert_eq!((counts.failed(), counts.errors.len()), (1000, ERRORS + 1));
    }
}
