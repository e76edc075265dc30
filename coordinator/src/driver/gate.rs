//! Effects that wait for the log. They leave in the order of their LSNs, those of one LSN in the order in which they came.

use std::collections::VecDeque;

use handfast_core::{Effect, Lsn};

/// Holds effects back until the log is durable to their LSN. Bounded by the core: it has as many as it has transactions,
/// callers and branches.
#[derive(Debug, Default)]
pub struct Gate {
    held: VecDeque<(Lsn, Effect)>,
}

impl Gate {
    /// Holds `effect` until the log is durable to `after`.
    pub fn hold(&mut self, after: Lsn, effect: Effect) {
        // Nearly always the newest LSN, so this searches from a likely end and moves little.
        let at = match self.held.back() {
            Some((last, _)) if *last > after => self.held.partition_point(|(lsn, _)| *lsn <= after),
            _ => self.held.len(),
        };
        self.held.insert(at, (after, effect));
    }

    /// The next effect that the log, durable to `durable`, lets go.
    pub fn release(&mut self, durable: Lsn) -> Option<Effect> {
        let (after, _) = self.held.front()?;
        if *after > durable {
            return None;
        }
        self.held.pop_front().map(|(_, effect)| effect)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use handfast_core::{Call, Rejection, Reply};

    use super::*;

    fn reply(call: u64) -> Effect {
        Effect::Reply {
            call: Call(call),
            reply: Reply::Rejected(Rejection::Draining),
            after: None,
        }
    }

    fn released(gate: &mut Gate, durable: u64) -> Vec<Effect> {
        std::iter::from_fn(|| gate.release(Lsn(durable))).collect()
    }

    #[test]
    fn effects_leave_in_the_order_of_their_lsns_and_then_of_their_coming() {
        let mut gate = Gate::default();
        for (after, call) in [(5, 1), (7, 2), (5, 3), (6, 4), (5, 5)] {
            gate.hold(Lsn(after), reply(call));
        }
        assert_eq!(released(&mut gate, 4), []);
        assert_eq!(released(&mut gate, 5), [reply(1), reply(3), reply(5)]);
        assert_eq!(released(&mut gate, 9), [reply(4), reply(2)]);
        assert!(gate.is_empty());
    }
}
