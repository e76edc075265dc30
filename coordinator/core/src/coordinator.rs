//! The coordinator as a value. (Under construction: the shape stands, the protocol comes next.)

use handfast_ids::{IdempotencyKey, TransactionId};

use crate::view::{InDoubtView, Snapshot, StatusView, TransactionView};
use crate::{Effect, Event, Lsn, Moment, Recovery};

/// One coordinator of one log partition in one epoch: the table of its live transactions and the protocol over it.
#[derive(Debug)]
pub struct Coordinator {}

impl Coordinator {
    /// Takes up a recovered log: `next_lsn` is the LSN that the next record gets, `wall_ms` Unix time at `now`.
    /// Appends the record of the new epoch, which must be durable before any session is accepted.
    pub fn start(
        recovery: Recovery,
        next_lsn: Lsn,
        now: Moment,
        wall_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Coordinator {
        let _ = (recovery, next_lsn, now, wall_ms, effects);
        unreachable!("under construction")
    }

    /// Takes one event; adds what is to be done to `effects`.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        let _ = (now, event, effects);
    }

    /// When to hand in [`Event::Tick`], at the latest.
    pub fn next_timeout(&self) -> Option<Moment> {
        None
    }

    /// How a transaction stands, as far as it may be told. Total: unknown ids have an answer too.
    pub fn view(&self, now: Moment, transaction: TransactionId) -> TransactionView {
        let _ = (now, transaction);
        unreachable!("under construction")
    }

    /// The transaction that holds a key, live or ended.
    pub fn find_key(&self, key: &IdempotencyKey) -> Option<TransactionId> {
        let _ = key;
        None
    }

    /// Up to `limit` live transactions with ids above `after`, in order.
    pub fn live(&self, now: Moment, after: Option<TransactionId>, limit: usize) -> Vec<TransactionView> {
        let _ = (now, after, limit);
        Vec::new()
    }

    /// Up to `limit` branches that wait for somebody, of transactions with ids above `after`, in order. All branches of
    /// one transaction come on one page.
    pub fn in_doubt(&self, now: Moment, after: Option<TransactionId>, limit: usize) -> Vec<InDoubtView> {
        let _ = (now, after, limit);
        Vec::new()
    }

    /// How the coordinator is.
    pub fn status(&self) -> StatusView {
        unreachable!("under construction")
    }

    /// The state as records, for a checkpoint.
    pub fn snapshot(&self) -> Snapshot {
        unreachable!("under construction")
    }

    /// Whether [`Event::Drain`] has been taken and nothing decided is left to deliver to connected resources.
    pub fn is_drained(&self) -> bool {
        false
    }
}
