//! How often something is tried that may fail again and again.

use handfast_core::Moment;

/// Each try waits twice as long as the one before, up to a bound, until one succeeds.
#[derive(Debug)]
pub struct Pace {
    first_ms: u64,
    longest_ms: u64,
    wait_ms: u64,
    next: Moment,
}

impl Pace {
    /// The first try at once, the second after `first_ms`, and never more than `longest_ms` between two.
    pub fn new(first_ms: u64, longest_ms: u64) -> Self {
        Pace {
            first_ms,
            longest_ms,
            wait_ms: first_ms,
            next: Moment(0),
        }
    }

    /// Whether it may be tried.
    pub fn is_due(&self, now: Moment) -> bool {
        now >= self.next
    }

    /// It is tried.
    pub fn tried(&mut self, now: Moment) {
        self.next = Moment(now.0.saturating_add(self.wait_ms));
        self.wait_ms = self.wait_ms.saturating_mul(2).min(self.longest_ms);
    }

    /// It succeeded, or has better chances now: the next try comes at once.
    pub fn reset(&mut self) {
        self.wait_ms = self.first_ms;
        self.next = Moment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rarer_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut pace = Pace::new(10, 50);
        let mut now = Moment(100);
        for wait_ms in [10, 20, 40, 50, 50] {
            assert!(pace.is_due(now));
            pace.tried(now);
            assert!(!pace.is_due(Moment(now.0 + wait_ms - 1)));
            now = Moment(now.0 + wait_ms);
        }
        pace.tried(now);
        pace.reset();
        assert!(pace.is_due(now));
        pace.tried(now);
        assert!(pace.is_due(Moment(now.0 + 10)));
    }
}
