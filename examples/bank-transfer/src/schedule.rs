//! When transfers are made.

use std::time::{Duration, Instant};

use crate::transfers::{Source, Transfer};

/// A source, and the time that it is to fill.
///
/// Random transfers follow each other until the time is over. The transfers of a file are spread evenly over it, so that a
/// short file meets as many kills as a long one, and all of them are made.
pub struct Schedule {
    source: Source,
    began: Instant,
    length: Duration,
    given: u32,
    of_file: Option<u32>,
    is_closed: bool,
}

impl Schedule {
    pub fn new(source: Source, began: Instant, length: Duration) -> Self {
        Schedule {
            of_file: source.count_known(),
            source,
            began,
            length,
            given: 0,
            is_closed: false,
        }
    }

    /// The next transfer, and when to begin it; `None` at the end.
    pub fn next(&mut self, now: Instant) -> Option<(Transfer, Instant)> {
        let due = match self.of_file {
            Some(count) => self.began + self.length * self.given / count,
            None if now < self.began + self.length => now,
            None => return None,
        };
        if self.is_closed {
            return None;
        }
        self.given += 1;
        Some((self.source.next()?, due))
    }

    /// Gives no transfer any more.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// How many steps of progress there are: transfers of a file, or seconds.
    pub fn steps(&self) -> u64 {
        self.of_file.map_or(self.length.as_secs(), u64::from)
    }

    /// How many of them are done, with so many transfers made.
    pub fn progress(&self, now: Instant, made: usize) -> u64 {
        let steps = self.of_file.map_or_else(
            || now.saturating_duration_since(self.began).as_secs(),
            |_| made as u64,
        );
        steps.min(self.steps())
    }
}

#[cfg(test)]
mod tests;
