//! The coordinator as a value: what it owns, and where each event goes.
//!
//! The protocol stands in the sibling files, in the order in which a transaction flows through it: `clients` (requests),
//! `sessions` (participants come, join and go), `voting` (votes and the decision), `delivery` (acknowledgements and the
//! end), `inquiry` (what a scan is answered).

use std::collections::BTreeMap;

use handfast_ids::{BranchId, IdempotencyKey, LogId, TransactionId};

use crate::epochs::EpochEnds;
use crate::history::History;
use crate::inquiry::HeldBranch;
use crate::keys::{EXPIRY_PERIOD_MS, Keys};
use crate::mint::Mint;
use crate::resources::Resources;
use crate::table::Table;
use crate::timer::Timers;
use crate::{
    Call, Effect, Event, Limits, LogSpace, Lsn, Message, Moment, Record, Reply, SessionId, StopReason,
};

/// One coordinator of one log partition in one epoch: the table of its live transactions and the protocol over it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Coordinator {
    pub(crate) log: LogId,
    pub(crate) limits: Limits,
    pub(crate) mint: Mint,
    pub(crate) epoch_ends: EpochEnds,
    pub(crate) now: Moment,
    pub(crate) cursors: Cursors,
    pub(crate) table: Table,
    /// Of all operations whose votes are awaited.
    pub(crate) operation_bytes: usize,
    pub(crate) timers: Timers,
    pub(crate) resources: Resources,
    pub(crate) keys: Keys,
    pub(crate) next_key_expiry: Moment,
    pub(crate) history: History,
    pub(crate) held: BTreeMap<(TransactionId, BranchId), HeldBranch>,
    pub(crate) watchers: BTreeMap<TransactionId, Vec<Call>>,
    pub(crate) draining: bool,
    pub(crate) space: LogSpace,
    pub(crate) stopped: Option<StopReason>,
    pub(crate) totals: Totals,
}

/// How far the log is: `durable < next`, always.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Cursors {
    pub durable: Lsn,
    pub next: Lsn,
}

/// Counts since the start of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Totals {
    pub committed: u64,
    pub aborted: u64,
}

impl Cursors {
    /// The last record that was handed to the log.
    pub fn accepted(&self) -> Lsn {
        Lsn(self.next.0 - 1)
    }
}

impl Coordinator {
    /// Takes one event; adds what is to be done to `effects`.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        if self.stopped.is_some() {
            return;
        }
        match event {
            Event::Execute { call, request } => self.execute(call, request, effects),
            Event::Begin { call, timeout_ms } => self.begin(call, timeout_ms, effects),
            Event::Commit {
                call,
                transaction,
                expected,
                wait,
            } => {
                self.commit(call, transaction, &expected, wait, effects);
            }
            Event::Abort { call, transaction } => self.abort_requested(call, transaction, effects),
            Event::Watch { call, transaction } => self.watch(call, transaction, effects),
            Event::CallGone { call } => self.call_gone(call),
            Event::SessionUp { session, hello } => self.session_up(session, &hello, effects),
            Event::SessionDown { session } => self.session_down(session, effects),
            Event::Enlist {
                session,
                transaction,
                enlistment,
            } => {
                self.enlist(session, transaction, enlistment, effects);
            }
            Event::Vote {
                session,
                transaction,
                branch,
                vote,
            } => {
                self.vote(session, transaction, branch, vote, effects);
            }
            Event::Ack {
                session,
                transaction,
                branch,
                ack,
            } => {
                self.ack(session, transaction, branch, ack, effects);
            }
            Event::InDoubt {
                session,
                lines,
                complete,
            } => self.in_doubt_lines(session, &lines, complete, effects),
            Event::LogDurable(lsn) => self.log_durable(lsn),
            Event::LogSpace(space) => self.log_space(space, effects),
            Event::Drain => self.draining = true,
            Event::Tick => self.tick(effects),
        }
    }

    /// When to hand in [`Event::Tick`], at the latest.
    pub fn next_timeout(&self) -> Option<Moment> {
        let timer = self.timers.next();
        let expiry = self
            .keys
            .next_expiry_ms()
            .map(|ms| self.mint.moment_of(ms).max(self.next_key_expiry));
        let redelivery = self
            .resources
            .iter()
            .filter_map(|resource| resource.next_redelivery(&self.limits))
            .min();
        [timer, expiry, redelivery].into_iter().flatten().min()
    }

    /// Whether [`Event::Drain`] has been taken and nothing decided is left to deliver to connected resources.
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.table.values().all(|transaction| {
                (transaction.state.is_decided() || transaction.state.is_in_doubt())
                    && transaction.branches.iter().all(|branch| {
                        !branch.state.is_unfinished() || !self.resources.get(branch.resource).is_connected()
                    })
            })
    }

    /// The transaction that holds a key, live or ended.
    pub fn find_key(&self, key: &IdempotencyKey) -> Option<TransactionId> {
        self.keys.find(key).map(|held| held.transaction)
    }

    fn log_durable(&mut self, lsn: Lsn) {
        assert!(
            lsn < self.cursors.next,
            "the log cannot be durable past what was appended"
        );
        self.cursors.durable = self.cursors.durable.max(lsn);
    }

    /// Segments go once two checkpoints cover them, and a log that takes nothing new does not grow to a second one by itself. So
    /// whoever hears once more that room is low writes down the horizon, which is true at any time.
    fn log_space(&mut self, space: LogSpace, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.space, space);
        if (before, space) == (LogSpace::Low, LogSpace::Low) {
            let horizon = Record::Horizon {
                transaction: self.history.horizon(),
                key_ms: self.keys.horizon_ms(),
            };
            self.append(horizon, false, effects);
        }
    }

    fn tick(&mut self, effects: &mut Vec<Effect>) {
        while let Some((moment, mut due)) = self.timers.pop(self.now) {
            due.retain(|&transaction| match self.table.get_mut(transaction) {
                Some(entry) => entry.timer.take_if(|at| *at == moment).is_some(),
                None => false,
            });
            for transaction in due {
                self.timer_fired(transaction, effects);
            }
        }
        self.expire_keys(effects);
        for resource in self.resources.indexes() {
            self.redeliver_step(resource, effects);
        }
    }

    fn expire_keys(&mut self, effects: &mut Vec<Effect>) {
        if self.now < self.next_key_expiry {
            return;
        }
        let keys = self.keys.expire(self.mint.key_ms(self.now));
        self.next_key_expiry = Moment(self.now.0 + EXPIRY_PERIOD_MS);
        if !keys.is_empty() {
            effects.push(Effect::KeysExpired { keys, after: None });
        }
    }

    /// Sets the one timer of a transaction, taking back the one before.
    pub(crate) fn set_timer(&mut self, transaction: TransactionId, at: Option<Moment>) {
        if let Some(entry) = self.table.get_mut(transaction) {
            if let Some(old) = std::mem::replace(&mut entry.timer, at) {
                self.timers.take_back(old);
            }
            if let Some(at) = at {
                self.timers.set(at, transaction);
            }
        }
    }

    /// Hands a record to the log.
    pub(crate) fn append(&mut self, record: Record, force: bool, effects: &mut Vec<Effect>) -> Lsn {
        let lsn = self.cursors.next;
        self.cursors.next = lsn.next();
        effects.push(Effect::Append { lsn, record, force });
        lsn
    }

    /// What must be durable before something that depends on the record at `lsn` may be told.
    pub(crate) fn after(&self, lsn: Option<Lsn>) -> Option<Lsn> {
        lsn.filter(|&lsn| lsn > self.cursors.durable)
    }

    pub(crate) fn reply(&self, call: Call, reply: Reply, after: Option<Lsn>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Reply {
            call,
            reply,
            after: self.after(after),
        });
    }

    pub(crate) fn send(
        &self,
        session: SessionId,
        message: Message,
        after: Option<Lsn>,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Send {
            session,
            message,
            after: self.after(after),
        });
    }

    pub(crate) fn stop(&mut self, reason: StopReason, effects: &mut Vec<Effect>) {
        self.stopped = Some(reason);
        effects.push(Effect::Stop { reason });
    }
}
