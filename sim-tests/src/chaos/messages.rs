//! Frames of the wire as messages of the trace.

use handfast_ids::{BranchId, Epoch, Generation, LogId, StoreId};
use handfast_proto::v1;
use tonic::Status;

use super::Wire;
use super::strays::Stray;
use crate::trace::{AckKind, Decision, Message, VoteKind};

/// Something that goes over a session.
pub(super) trait Frame: Clone {
    /// Tells the trace what is in it.
    fn record(&self, wire: &Wire);

    /// Whether nothing follows it.
    fn ends(&self) -> bool;

    /// Whether a marker goes by it.
    fn forgets(&self) -> bool;

    /// Somebody else hears which branches it asks for.
    fn is_overheard(&self, wire: &Wire);

    /// It takes a vote along for which its sender was not asked, if there is one.
    fn takes_stray(&mut self, wire: &Wire);
}

impl Frame for v1::SessionRequest {
    fn record(&self, wire: &Wire) {
        if let Some(hello) = &self.hello {
            let newest = hello.seen.iter().max_by_key(|seen| (seen.epoch, seen.lsn));
            let (epoch, seen_lsn) = newest.map_or((0, 0), |seen| (seen.epoch, seen.lsn));
            wire.record(Message::Hello {
                store: StoreId::from_slice(&hello.store_id).unwrap_or(StoreId(0)),
                generation: Generation(hello.generation),
                seen_epoch: Epoch(epoch),
                seen_lsn,
            });
        }
        for enlist in &self.enlistments {
            wire.record(Message::Enlist {
                transaction: wire.transaction(&enlist.transaction_id),
            });
        }
        for vote in &self.votes {
            let kind = match vote.kind() {
                v1::VoteKind::Prepared => VoteKind::Prepared,
                v1::VoteKind::ReadOnly => VoteKind::ReadOnly,
                v1::VoteKind::Committed => VoteKind::Committed,
                v1::VoteKind::Refused | v1::VoteKind::Unspecified => VoteKind::Refused,
            };
            let (transaction, branch) = (wire.transaction(&vote.transaction_id), BranchId(vote.branch));
            wire.record(Message::Vote {
                transaction,
                branch,
                vote: kind,
            });
        }
        for ack in &self.acks {
            let kind = match ack.kind() {
                v1::AckKind::Done => AckKind::Done,
                v1::AckKind::Contrary => AckKind::Contrary,
                v1::AckKind::Hazard | v1::AckKind::Unspecified => AckKind::Hazard,
            };
            let (transaction, branch) = (wire.transaction(&ack.transaction_id), BranchId(ack.branch));
            wire.record(Message::Ack {
                transaction,
                branch,
                decision: decision(ack.decision()),
                ack: kind,
            });
        }
        for line in &self.in_doubt {
            let log = LogId::from_slice(&line.log_id).unwrap_or(LogId(0));
            let (transaction, branch) = (
                wire.transaction_of(log, &line.transaction_id),
                BranchId(line.branch),
            );
            wire.record(Message::InDoubt {
                transaction,
                branch,
                phase: line.phase,
            });
        }
        if self.scan_complete {
            wire.record(Message::ScanComplete);
        }
        if self.goodbye.is_some() {
            wire.record(Message::Goodbye);
        }
    }

    fn ends(&self) -> bool {
        self.goodbye.is_some()
    }

    fn forgets(&self) -> bool {
        false
    }

    fn is_overheard(&self, _wire: &Wire) {}

    fn takes_stray(&mut self, wire: &Wire) {
        self.votes.extend(wire.stray());
    }
}

impl Frame for Result<v1::SessionResponse, Status> {
    fn record(&self, wire: &Wire) {
        let Ok(frame) = self else { return };
        if let Some(welcome) = &frame.welcome {
            let log = LogId::from_slice(&welcome.log_id).unwrap_or(LogId(0));
            wire.welcome(log);
            let (epoch, durable) = (Epoch(welcome.epoch), welcome.durable_lsn);
            wire.record(Message::Welcome { log, epoch, durable });
        }
        for result in &frame.enlistments {
            let (transaction, branch) = (wire.transaction(&result.transaction_id), BranchId(result.branch));
            let is_refused = !result.refusal.is_empty();
            wire.record(Message::Enlisted {
                transaction,
                branch,
                is_refused,
            });
        }
        let participant = wire.world.plan.participant_of(wire.node);
        for prepare in &frame.prepares {
            let (transaction, branch) = (
                wire.transaction(&prepare.transaction_id),
                BranchId(prepare.branch),
            );
            let operation = prepare.operation.as_deref();
            wire.record(Message::Prepare {
                transaction,
                branch,
                intent: operation.and_then(|operation| wire.world.intent_of(participant, operation)),
            });
        }
        for told in &frame.decisions {
            let (transaction, branch) = (wire.transaction(&told.transaction_id), BranchId(told.branch));
            if told.kind() == v1::DecisionKind::Commit {
                wire.is_told_to_commit();
            }
            wire.record(match told.kind() {
                v1::DecisionKind::Resolve => Message::Resolve { transaction, branch },
                kind => Message::Decision {
                    transaction,
                    branch,
                    decision: decision(kind),
                },
            });
        }
        for answer in &frame.answers {
            let (transaction, branch) = (wire.transaction(&answer.transaction_id), BranchId(answer.branch));
            wire.record(Message::Answer {
                transaction,
                branch,
                answer: answer.kind,
            });
        }
        for forget in &frame.forgets {
            let (transaction, branch) = (wire.transaction(&forget.transaction_id), BranchId(forget.branch));
            wire.record(Message::Forget { transaction, branch });
        }
        if frame.goodbye.is_some() {
            wire.record(Message::Goodbye);
        }
        wire.record(Message::Durable {
            durable: frame.durable_lsn,
        });
    }

    fn ends(&self) -> bool {
        self.as_ref().map_or(true, |frame| frame.goodbye.is_some())
    }

    fn forgets(&self) -> bool {
        self.as_ref().is_ok_and(|frame| !frame.forgets.is_empty())
    }

    fn is_overheard(&self, wire: &Wire) {
        let prepares = self.iter().flat_map(|frame| &frame.prepares);
        prepares.for_each(|prepare| wire.overheard(Stray::of(prepare)));
    }

    fn takes_stray(&mut self, _wire: &Wire) {}
}

fn decision(kind: v1::DecisionKind) -> Decision {
    match kind {
        v1::DecisionKind::Commit => Decision::Commit,
        v1::DecisionKind::Abort | v1::DecisionKind::Resolve | v1::DecisionKind::Unspecified => {
            Decision::Abort
        }
    }
}
