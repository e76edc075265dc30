//! What applications ask for.

use handfast_ids::TransactionId;

use crate::branch::{Branch, BranchState};
use crate::coordinator::Coordinator;
use crate::keys::Claimed;
use crate::resources::ResourceIndex;
use crate::transaction::{State, Transaction, Waiter};
use crate::{
    AbortReason, Call, Effect, ExecuteRequest, ExpectedBranch, KeyClaim, KeyRecord, LogSpace, Message,
    Moment, OperationRequest, Outcome, Rejection, Reply, Wait,
};

impl Coordinator {
    /// A whole transaction in one request: the operations travel in the prepares.
    pub(crate) fn execute(&mut self, call: Call, request: ExecuteRequest, effects: &mut Vec<Effect>) {
        if let Some(claim) = &request.key {
            match self.keys.claim(claim, self.mint.key_ms(self.now)) {
                Claimed::Held(held) => {
                    let (transaction, answer) = (held.transaction, held.answer.clone());
                    return self.attach_to_key(call, transaction, answer, request.wait, effects);
                }
                Claimed::Mismatch(transaction) => {
                    return self.reject(call, Rejection::KeyMismatch { transaction }, effects);
                }
                Claimed::Expired => return self.reject(call, Rejection::KeyExpired, effects),
                Claimed::Free => {}
            }
        }
        let resources = match self.admit(&request) {
            Ok(resources) => resources,
            Err(rejection) => return self.reject(call, rejection, effects),
        };

        let operation_bytes = operation_bytes(&request);
        let delegated = self.can_delegate(&resources);
        let transaction = match delegated && request.key.is_none() {
            true => self.mint.next_unrecorded(self.now),
            false => self.mint.next(self.now),
        };
        let timeout_ms = self.granted_timeout_ms(request.timeout_ms);
        let mut branches = Vec::with_capacity(resources.len());
        let mut messages = Vec::with_capacity(resources.len());
        for (ordinal, (index, operation)) in resources.into_iter().zip(request.operations).enumerate() {
            let id = handfast_ids::BranchId(ordinal as u32);
            let resource = self.resources.get_mut(index);
            resource.unfinished += 1;
            resource.awaited_bytes += operation_bytes;
            let session = resource.next_session().expect("admission found a session");
            let store = resource.store;
            let sent = self.now;
            let state = match delegated {
                true => BranchState::Delegated { session, sent },
                false => BranchState::Preparing { session, sent },
            };
            branches.push(Branch {
                id,
                resource: index,
                store,
                state,
            });
            let operation = Some(operation.operation);
            messages.push((
                session,
                Message::Prepare {
                    transaction,
                    branch: id,
                    operation,
                    operations: 0,
                    timeout_ms,
                    delegated,
                },
            ));
        }
        let mut entry = Transaction::new(
            State::Preparing {
                unvoted: branches.len(),
            },
            branches,
        );
        entry.operation_bytes = operation_bytes;
        self.operation_bytes += operation_bytes;
        entry.waiters.push(Waiter {
            call,
            wait: request.wait,
        });
        if let Some(claim) = request.key {
            let record = KeyRecord {
                key: claim.key,
                expires_at_ms: claim.expires_at_ms,
                digest: claim.digest,
            };
            self.keys.bind(record.clone(), transaction);
            entry.key = Some(Box::new(record));
        }
        self.table.insert(transaction, entry);
        self.set_timer(transaction, Some(Moment(self.now.0 + timeout_ms)));
        let after = match delegated {
            true => self.delegate(transaction, effects),
            false => {
                self.register(transaction, false, effects);
                None
            }
        };
        for (session, message) in messages {
            self.send(session, message, after, effects);
        }
    }

    /// Another request under a key that is in use: it hears what the first one hears.
    fn attach_to_key(
        &mut self,
        call: Call,
        transaction: TransactionId,
        answer: Option<(Outcome, crate::Lsn)>,
        wait: Wait,
        effects: &mut Vec<Effect>,
    ) {
        if self.table.contains(transaction) {
            self.wait_for(call, transaction, wait, effects);
        } else if let Some((outcome, after)) = answer {
            self.reply(
                call,
                Reply::Outcome { transaction, outcome },
                Some(after),
                effects,
            );
        }
    }

    /// Opens an interactive transaction. It lives in memory only until it is sealed.
    pub(crate) fn begin(&mut self, call: Call, timeout_ms: Option<u64>, effects: &mut Vec<Effect>) {
        if let Err(rejection) = self.admit_any() {
            return self.reject(call, rejection, effects);
        }
        let transaction = self.mint.next(self.now);
        let timeout_ms = self.granted_timeout_ms(timeout_ms);
        self.table
            .insert(transaction, Transaction::new(State::Active, Vec::new()));
        self.set_timer(transaction, Some(Moment(self.now.0 + timeout_ms)));
        self.reply(
            call,
            Reply::Begun {
                transaction,
                timeout_ms,
            },
            None,
            effects,
        );
    }

    /// Seals the set of branches. A set other than the expected one aborts: a lost enlistment can never become half a
    /// commit.
    pub(crate) fn commit(
        &mut self,
        call: Call,
        transaction: TransactionId,
        expected: &[ExpectedBranch],
        wait: Wait,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return self.answer_ended(call, transaction, effects);
        };
        if entry.state != State::Active {
            return self.wait_for(call, transaction, wait, effects);
        }
        let (found, limit) = (expected.len(), self.limits.branches_per_transaction);
        if found > limit {
            return self.reject(call, Rejection::TooManyBranches { found, limit }, effects);
        }
        entry.waiters.push(Waiter { call, wait });
        match mismatch(&entry.branches, expected) {
            Some(message) => self.abort(transaction, AbortReason::BranchMismatch { message }, effects),
            None => self.seal(transaction, expected, effects),
        }
    }

    /// Aborts what is undecided; otherwise tells what was decided.
    pub(crate) fn abort_requested(
        &mut self,
        call: Call,
        transaction: TransactionId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get_mut(transaction) else {
            return self.answer_ended(call, transaction, effects);
        };
        if matches!(entry.state, State::Delegated { .. }) {
            self.doubt(transaction, AbortReason::Requested, effects);
            return self.wait_for(call, transaction, Wait::Decided, effects);
        }
        if entry.state.is_decided() {
            return self.wait_for(call, transaction, Wait::Decided, effects);
        }
        entry.waiters.push(Waiter {
            call,
            wait: Wait::Decided,
        });
        self.abort(transaction, AbortReason::Requested, effects);
    }

    pub(crate) fn watch(&mut self, call: Call, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let view = Box::new(self.view(self.now, transaction));
        let live = self.table.contains(transaction);
        if live {
            let watchers = self.watchers.entry(transaction).or_default();
            if watchers.len() >= self.limits.waiters_per_transaction {
                return self.reject(call, Rejection::TooManyWaiters { transaction }, effects);
            }
            watchers.push(call);
        }
        let told_after = match self.table.get(transaction) {
            Some(entry) => entry.state.told_after(),
            None => self
                .history
                .outcome(transaction)
                .map(|(_, told_after)| told_after),
        };
        let on_its_way = self.after(told_after);
        let last = !live && on_its_way.is_none();
        self.reply(call, Reply::View { view, last }, None, effects);
        // Those who watched before hear of the decision once it is durable, and so does this one.
        if on_its_way.is_some() {
            let view = Box::new(self.view_once_durable(transaction));
            self.reply(call, Reply::View { view, last: !live }, on_its_way, effects);
        }
    }

    /// Only watchers are looked for: an outcome for a caller that is gone is dropped by the driver, and its place among those who
    /// wait goes to the next.
    pub(crate) fn call_gone(&mut self, call: Call) {
        self.watchers.retain(|_, calls| {
            calls.retain(|&other| other != call);
            !calls.is_empty()
        });
    }

    /// Tells the watchers of a transaction how it stands, once that may be told.
    pub(crate) fn notify_watchers(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        let Some(calls) = self.watchers.get(&transaction).cloned() else {
            return;
        };
        let (told_after, live) = match self.table.get(transaction) {
            Some(entry) => (entry.state.told_after(), true),
            None => (Some(self.cursors.accepted()), false),
        };
        let view = self.view_once_durable(transaction);
        for call in calls {
            self.reply(
                call,
                Reply::View {
                    view: Box::new(view.clone()),
                    last: !live,
                },
                told_after,
                effects,
            );
        }
        if !live {
            self.watchers.remove(&transaction);
        }
    }

    /// Answers a live transaction's outcome, now or when there is one.
    fn wait_for(&mut self, call: Call, transaction: TransactionId, wait: Wait, effects: &mut Vec<Effect>) {
        let limit = self.limits.waiters_per_transaction;
        let Some(entry) = self.table.get_mut(transaction) else {
            return;
        };
        let settled = match (&entry.state, wait) {
            (State::Active | State::Preparing { .. } | State::Delegated { .. }, _) => false,
            (State::Committing { unacked, .. }, Wait::Applied) => *unacked == 0,
            (State::Committing { .. }, Wait::Decided) | (State::Aborting { .. }, _) => true,
        };
        // Not so if somebody deviated: then something may well have been executed.
        let presumed = matches!(
            entry.outcome(),
            Some(Outcome::Aborted {
                reason: AbortReason::Presumed
            })
        );
        if presumed {
            self.reject(call, Rejection::UnknownTransaction { transaction }, effects);
        } else if settled {
            let outcome = entry.outcome().expect("it is decided");
            let after = entry.state.told_after();
            self.reply(call, Reply::Outcome { transaction, outcome }, after, effects);
        } else {
            let waiter = Waiter { call, wait };
            match entry.waiters.len() < limit {
                true => entry.waiters.push(waiter),
                // Whoever has waited for longest is the likeliest to have gone.
                false => {
                    let mut sent_away = waiter;
                    for place in entry.waiters.iter_mut().rev() {
                        std::mem::swap(place, &mut sent_away);
                    }
                    self.reject(sent_away.call, Rejection::TooManyWaiters { transaction }, effects);
                }
            }
            self.answer_in_time(transaction);
        }
    }

    /// The answer about a transaction that is not in the table. "Not found" is never an outcome.
    fn answer_ended(&mut self, call: Call, transaction: TransactionId, effects: &mut Vec<Effect>) {
        if let Some((outcome, told_after)) = self.history.outcome(transaction) {
            let reply = Reply::Outcome {
                transaction,
                outcome: outcome.clone(),
            };
            return self.reply(call, reply, Some(told_after), effects);
        }
        let rejection = if !self.is_mine(transaction) {
            Rejection::NotMine { transaction }
        } else if transaction <= self.history.horizon() || transaction.is_unrecorded() {
            Rejection::Forgotten { transaction }
        } else {
            Rejection::UnknownTransaction { transaction }
        };
        self.reject(call, rejection, effects);
    }

    /// Whether this coordinator, in this epoch or an earlier one, has minted the id.
    pub(crate) fn is_mine(&self, transaction: TransactionId) -> bool {
        transaction.partition() == self.mint.partition()
            && (transaction.epoch() < self.mint.epoch()
                || transaction.epoch() == self.mint.epoch() && transaction <= self.mint.last())
    }

    fn admit(&self, request: &ExecuteRequest) -> Result<Vec<ResourceIndex>, Rejection> {
        self.admit_any()?;
        if let Some(claim) = &request.key {
            self.admit_key(claim)?;
        }
        let (found, limit) = (request.operations.len(), self.limits.branches_per_transaction);
        if found == 0 {
            return Err(Rejection::NoBranches);
        } else if found > limit {
            return Err(Rejection::TooManyBranches { found, limit });
        }
        if self.operation_bytes.saturating_add(operation_bytes(request)) > self.limits.live_operation_bytes {
            return Err(Rejection::TableFull {
                retry_after_ms: self.limits.retry_hint_ms,
            });
        }
        let mut indexes = Vec::with_capacity(found);
        for operation in &request.operations {
            indexes.push(self.admit_operation(operation, operation_bytes(request), &indexes)?);
        }
        Ok(indexes)
    }

    fn admit_any(&self) -> Result<(), Rejection> {
        let retry_after_ms = self.limits.retry_hint_ms;
        if self.draining {
            Err(Rejection::Draining)
        } else if self.space == LogSpace::Low {
            Err(Rejection::LogSpaceLow)
        } else if self.table.len() >= self.limits.transactions {
            Err(Rejection::TableFull { retry_after_ms })
        } else {
            Ok(())
        }
    }

    fn admit_key(&self, claim: &KeyClaim) -> Result<(), Rejection> {
        let limit_ms = self.limits.key_retention_ms;
        if claim.expires_at_ms > self.mint.wall_ms(self.now).saturating_add(limit_ms) {
            Err(Rejection::KeyTooLong { limit_ms })
        } else if self.keys.len() >= self.limits.keys {
            Err(Rejection::KeysFull {
                retry_after_ms: self.limits.retry_hint_ms,
            })
        } else {
            Ok(())
        }
    }

    fn admit_operation(
        &self,
        operation: &OperationRequest,
        operation_bytes: usize,
        before: &[ResourceIndex],
    ) -> Result<ResourceIndex, Rejection> {
        let name = &operation.resource;
        let (found, limit) = (operation.operation.len(), self.limits.operation_bytes);
        if found > limit {
            return Err(Rejection::OperationTooLarge {
                resource: name.clone(),
                found,
                limit,
            });
        }
        let Some(index) = self.resources.find(name) else {
            return Err(Rejection::UnknownResource {
                resource: name.clone(),
            });
        };
        let resource = self.resources.get(index);
        if !resource.is_connected() {
            return Err(Rejection::ResourceDown {
                resource: name.clone(),
            });
        }
        let of_this_transaction = before.iter().filter(|&&other| other == index).count();
        let awaited_bytes = resource.awaited_bytes + (of_this_transaction + 1) * operation_bytes;
        if resource.unfinished + of_this_transaction >= self.limits.unfinished_branches_per_resource
            // One that is alone may be as large as any.
            || resource.awaited_bytes > 0 && awaited_bytes > self.limits.operation_bytes_per_resource
        {
            let retry_after_ms = self.limits.retry_hint_ms;
            return Err(Rejection::ResourceBacklog {
                resource: name.clone(),
                retry_after_ms,
            });
        }
        Ok(index)
    }

    fn granted_timeout_ms(&self, asked: Option<u64>) -> u64 {
        asked
            .unwrap_or(self.limits.default_timeout_ms)
            .clamp(1, self.limits.max_timeout_ms)
    }

    fn reject(&self, call: Call, rejection: Rejection, effects: &mut Vec<Effect>) {
        self.reply(call, Reply::Rejected(rejection), None, effects);
    }
}

fn operation_bytes(request: &ExecuteRequest) -> usize {
    request
        .operations
        .iter()
        .map(|operation| operation.operation.len())
        .sum()
}

/// What differs between the branches that joined and those that the application counts.
fn mismatch(branches: &[Branch], expected: &[ExpectedBranch]) -> Option<String> {
    let mut joined: Vec<u32> = branches.iter().map(|branch| branch.id.0).collect();
    let mut counted: Vec<u32> = expected.iter().map(|branch| branch.branch.0).collect();
    joined.sort_unstable();
    counted.sort_unstable();
    (joined != counted).then(|| {
        format!(
            "branches {} joined, the application expected {}",
            listed(&joined),
            listed(&counted)
        )
    })
}

/// The message is kept with the outcome: it must not grow with the lists.
const MOST_LISTED: usize = 16;

fn listed(branches: &[u32]) -> String {
    match branches.get(..MOST_LISTED) {
        Some(first) if branches.len() > MOST_LISTED => {
            format!("{first:?} and {} more", branches.len() - MOST_LISTED)
        }
        _ => format!("{branches:?}"),
    }
}
