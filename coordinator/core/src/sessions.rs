//! Participants come, join transactions, and go.

use handfast_ids::{BranchId, TransactionId};

use crate::branch::{Branch, BranchState};
use crate::coordinator::Coordinator;
use crate::transaction::State;
use crate::{
    AbortReason, CloseReason, Effect, EnlistRefusal, EnlistmentId, Message, Record, SessionHello, SessionId,
    StopReason,
};

impl Coordinator {
    /// A participant dials in. The handshake is recovery: what is decided for its branches follows the welcome.
    ///
    /// If it has seen more of this log than there is, this coordinator runs on an old copy and answers nobody.
    pub(crate) fn session_up(&mut self, session: SessionId, hello: &SessionHello, effects: &mut Vec<Effect>) {
        for seen in hello.seen.iter().filter(|seen| seen.log == self.log) {
            // Of an epoch that is over, only what it had when it ended: what came later may be another history.
            let most = self.epoch_ends.most_seen(seen.epoch);
            if seen.epoch > self.mint.epoch() || seen.lsn > most.unwrap_or(self.cursors.durable) {
                let reason = StopReason::LogIsOld {
                    seen_epoch: seen.epoch,
                    seen_lsn: seen.lsn,
                };
                return self.stop(reason, effects);
            }
        }
        let admitted = match self.resources.admit(session, hello, &self.limits) {
            Ok(admitted) => admitted,
            Err(reason) => return effects.push(Effect::CloseSession { session, reason }),
        };
        if admitted.changed {
            let name = hello.resource.clone();
            let record = Record::Resource {
                name,
                store: hello.store,
                generation: hello.generation,
            };
            self.append(record, true, effects);
        }
        let welcome = Message::Welcome {
            log: self.log,
            epoch: self.mint.epoch(),
            durable: self.cursors.durable,
        };
        self.send(session, welcome, None, effects);
        // After the welcome: the aborts of what the old sessions worked on may go to the new one.
        for old in admitted.superseded {
            effects.push(Effect::CloseSession {
                session: old,
                reason: CloseReason::Superseded,
            });
            self.session_down(old, effects);
        }
        self.begin_redelivery(admitted.resource, effects);
    }

    /// A session is lost. Every branch that was pinned to it and has not voted dooms its transaction.
    pub(crate) fn session_down(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        let Some(index) = self.resources.remove(session) else {
            return;
        };
        let resource = self.resources.get(index).name.clone();
        let doomed: Vec<TransactionId> = self
            .table
            .iter()
            .filter(|(_, entry)| {
                entry
                    .branches
                    .iter()
                    .any(|branch| branch.state.pinned_to() == Some(session))
            })
            .map(|(transaction, _)| transaction)
            .collect();
        for transaction in doomed {
            self.abort(
                transaction,
                AbortReason::SessionLost {
                    resource: resource.clone(),
                },
                effects,
            );
        }
    }

    /// A service joins an interactive transaction. The answer comes before any work starts.
    pub(crate) fn enlist(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        enlistment: EnlistmentId,
        effects: &mut Vec<Effect>,
    ) {
        if self.resources.session(session).is_none() {
            return;
        }
        let result = self.join(session, transaction, enlistment);
        self.send(
            session,
            Message::Enlisted {
                transaction,
                enlistment,
                result,
            },
            None,
            effects,
        );
    }

    fn join(
        &mut self,
        session: SessionId,
        transaction: TransactionId,
        enlistment: EnlistmentId,
    ) -> Result<BranchId, EnlistRefusal> {
        let entry = self
            .table
            .get_mut(transaction)
            .ok_or(EnlistRefusal::UnknownTransaction)?;
        if entry.state != State::Active {
            return Err(EnlistRefusal::Sealed);
        }
        let joined = BranchState::Enlisted { session, enlistment };
        if let Some(branch) = entry.branches.iter().find(|branch| branch.state == joined) {
            return Ok(branch.id);
        }
        if entry.branches.len() >= self.limits.branches_per_transaction {
            return Err(EnlistRefusal::TooManyBranches);
        }
        let index = self
            .resources
            .session(session)
            .ok_or(EnlistRefusal::UnknownTransaction)?
            .resource;
        let resource = self.resources.get_mut(index);
        if resource.unfinished >= self.limits.unfinished_branches_per_resource {
            return Err(EnlistRefusal::ResourceBacklog);
        }
        resource.unfinished += 1;
        let id = BranchId(entry.branches.len() as u32);
        entry.branches.push(Branch {
            id,
            resource: index,
            store: resource.store,
            state: joined,
        });
        Ok(id)
    }
}
