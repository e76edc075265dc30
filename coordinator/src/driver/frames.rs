//! Messages of the core as frames of the wire.

use bytes::Bytes;
use handfast_core::{AnswerKind, Decision, EnlistRefusal, Message};
use handfast_ids::TransactionId;
use handfast_proto::convert::transaction_id_bytes;
use handfast_proto::v1;

use super::waiting::{self, Waiting};

/// A frame ends once it holds about as many bytes: with one more operation of the longest kind it still fits what
/// participants take.
const FRAME_TARGET_BYTES: usize = 1 << 20;

/// And once it holds as many messages.
const FRAME_MESSAGES: usize = 16_384;

/// What a message takes beside its operation, roughly.
const MESSAGE_BYTES: usize = 32;

/// Takes messages from the front of `waiting` into a frame.
pub fn build(waiting: &mut Waiting, limits: &v1::Limits) -> v1::SessionResponse {
    let mut frame = v1::SessionResponse::default();
    let mut bytes = 0;
    for _ in 0..FRAME_MESSAGES {
        if bytes >= FRAME_TARGET_BYTES {
            break;
        }
        let Some(message) = waiting.pop() else { break };
        bytes += MESSAGE_BYTES;
        bytes += waiting::operation_bytes(&message);
        put(message, limits, &mut frame);
    }
    frame
}

fn put(message: Message, limits: &v1::Limits, frame: &mut v1::SessionResponse) {
    match message {
        Message::Welcome { log, epoch, durable } => {
            frame.welcome = Some(v1::Welcome {
                log_id: Bytes::copy_from_slice(&log.to_bytes()),
                epoch: epoch.0,
                durable_lsn: durable.0,
                limits: Some(*limits),
            });
        }
        Message::Enlisted {
            transaction,
            enlistment,
            result,
        } => {
            let (branch, refusal) = match result {
                Ok(branch) => (branch.0, ""),
                Err(refusal) => (0, refusal_reason(refusal)),
            };
            frame.enlistments.push(v1::EnlistResult {
                transaction_id: transaction_id_bytes(transaction),
                enlistment: enlistment.0,
                branch,
                refusal: refusal.to_owned(),
            });
        }
        Message::Prepare {
            transaction,
            branch,
            operation,
            operations,
            timeout_ms,
            delegated,
        } => frame.prepares.push(v1::Prepare {
            transaction_id: transaction_id_bytes(transaction),
            branch: branch.0,
            operation: operation.map(Bytes::from_owner),
            operations,
            timeout_ms,
            delegated,
        }),
        Message::Resolve { transaction, branch } => frame.decisions.push(v1::Decision {
            transaction_id: transaction_id_bytes(transaction),
            branch: branch.0,
            kind: v1::DecisionKind::Resolve.into(),
        }),
        Message::Decision {
            transaction,
            branch,
            decision,
        } => frame.decisions.push(v1::Decision {
            transaction_id: transaction_id_bytes(transaction),
            branch: branch.0,
            kind: decision_kind(decision).into(),
        }),
        Message::Answer {
            transaction,
            branch,
            answer,
        } => frame.answers.push(v1::Answer {
            transaction_id: transaction_id_bytes(transaction),
            branch: branch.0,
            kind: answer_kind(answer).into(),
        }),
        Message::Forget { transaction, branch } => {
            frame.forgets.push(forget(transaction, branch.0));
        }
    }
}

fn forget(transaction: TransactionId, branch: u32) -> v1::Forget {
    v1::Forget {
        transaction_id: transaction_id_bytes(transaction),
        branch,
    }
}

fn refusal_reason(refusal: EnlistRefusal) -> &'static str {
    match refusal {
        EnlistRefusal::UnknownTransaction => "UNKNOWN_TRANSACTION",
        EnlistRefusal::Sealed => "SEALED",
        EnlistRefusal::TooManyBranches => "TOO_MANY_BRANCHES",
        EnlistRefusal::ResourceBacklog => "RESOURCE_BACKLOG",
    }
}

fn decision_kind(decision: Decision) -> v1::DecisionKind {
    match decision {
        Decision::Commit => v1::DecisionKind::Commit,
        Decision::Abort => v1::DecisionKind::Abort,
    }
}

fn answer_kind(answer: AnswerKind) -> v1::AnswerKind {
    match answer {
        AnswerKind::Wait => v1::AnswerKind::Wait,
        AnswerKind::Finished => v1::AnswerKind::Finished,
        AnswerKind::Forgotten => v1::AnswerKind::Forgotten,
        AnswerKind::NotMine => v1::AnswerKind::NotMine,
    }
}
