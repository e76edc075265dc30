//! Waits between tries: doubling, bounded, and spread by chance so that a crowd does not come back at once.

use std::time::Duration;

use crate::runtime;

/// How long to wait before trying again.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    /// The next wait: between half and all of a bound that doubles each time.
    pub(crate) fn wait(&mut self) -> Duration {
        let bound = self.next.min(self.longest);
        self.next = bound.saturating_mul(2).min(self.longest);
        let half = bound / 2;
        let span = u128::max(half.as_nanos(), 1);
        half + Duration::from_nanos(u64::try_from(runtime::random_bits() % span).unwrap_or(u64::MAX))
    }

    /// After a success the next wait is the first one again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests;
