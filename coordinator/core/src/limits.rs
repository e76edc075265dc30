//! Every bound of the core, named in one place.

/// How much the core takes on, and for how long. All durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Live transactions; more are refused.
    pub transactions: usize,
    /// Branches of one transaction.
    pub branches_per_transaction: usize,
    /// Bytes of one operation.
    pub operation_bytes: usize,
    /// Bytes of all operations whose votes are awaited; more are refused.
    pub live_operation_bytes: usize,
    /// Unfinished branches of one resource; more are refused, so that a stuck resource stays its own trouble.
    pub unfinished_branches_per_resource: usize,
    /// Bytes of the operations of transactions that wait for the vote of one resource; more are refused for it, so that a
    /// stuck one leaves room under `live_operation_bytes`.
    pub operation_bytes_per_resource: usize,
    /// Resource names that the log knows.
    pub resources: usize,
    /// Callers that wait for one transaction.
    pub waiters_per_transaction: usize,
    /// Idempotency keys that are held.
    pub keys: usize,
    /// The longest time that a key may ask to be kept.
    pub key_retention_ms: u64,
    /// Ended transactions whose outcome is kept; older ones are forgotten.
    pub history: usize,
    /// Deadline of a transaction whose client names none.
    pub default_timeout_ms: u64,
    /// The longest deadline that is granted.
    pub max_timeout_ms: u64,
    /// First wait before an unacknowledged decision is sent again; doubles.
    pub redelivery_min_ms: u64,
    /// Longest such wait.
    pub redelivery_max_ms: u64,
    /// No commit is decided when a promise has less than this left: room for a stalled sync and the delivery.
    pub promise_margin_ms: u64,
    /// The hint that goes with a refusal for lack of room.
    pub retry_hint_ms: u64,
    /// Transactions looked at, and decisions sent, in one step when a returned resource is sent what is open; at least one. The next step
    /// is taken once no more than half as many decisions are under way to it, so that new work need not wait behind all of
    /// them, or once nothing of them was acknowledged for `redelivery_min_ms`.
    pub redelivery_step: usize,
    /// Lines of scans that are kept for the operator because no decision can be given.
    pub held_branches: usize,
    /// How long a resource may owe an acknowledgement, or the answer how a delegated branch came out, before an alarm is raised.
    pub overdue_after_ms: u64,
}

impl Limits {
    /// How long to wait for an answer before a decision or a question is sent again for the nth time.
    pub(crate) fn redelivery_wait_ms(&self, attempts: u32) -> u64 {
        self.redelivery_min_ms
            .saturating_mul(1 << attempts.min(20))
            .min(self.redelivery_max_ms)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            transactions: 1_000_000,
            branches_per_transaction: 4096,
            operation_bytes: 1 << 20,
            live_operation_bytes: 512 << 20,
            unfinished_branches_per_resource: 125_000,
            operation_bytes_per_resource: 256 << 20,
            resources: 10_000,
            waiters_per_transaction: 1024,
            keys: 1_000_000,
            key_retention_ms: 7 * 24 * 3600 * 1000,
            history: 100_000,
            default_timeout_ms: 10_000,
            max_timeout_ms: 3600 * 1000,
            redelivery_min_ms: 1000,
            redelivery_max_ms: 60_000,
            promise_margin_ms: 5000,
            retry_hint_ms: 100,
            redelivery_step: 1024,
            held_branches: 10_000,
            overdue_after_ms: 5 * 60 * 1000,
        }
    }
}
