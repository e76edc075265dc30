//! Records to bytes.

use handfast_core::{
    AbortReason, BranchRecord, Decision, DecisionRecord, Deviation, DeviationKind, FinishedTransaction,
    KeyRecord, Outcome, Record,
};
use handfast_ids::{IdempotencyKey, TransactionId};

use super::{VERSION, abort, decision, deviation, outcome, tag};

/// Appends the record's bytes to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    out.push(VERSION);
    match record {
        Record::EpochStarted {
            log,
            epoch,
            predecessor_end,
            wall_ms,
            key_ms,
        } => {
            out.push(tag::EPOCH_STARTED);
            out.extend_from_slice(&log.to_bytes());
            number(epoch.0.into(), out);
            number(predecessor_end.0, out);
            number(*wall_ms, out);
            number(*key_ms, out);
        }
        Record::Resource {
            name,
            store,
            generation,
        } => {
            out.push(tag::RESOURCE);
            text(name.as_str(), out);
            out.extend_from_slice(&store.to_bytes());
            number(generation.0, out);
        }
        Record::Registered {
            transaction,
            branches,
        } => {
            out.push(tag::REGISTERED);
            id(*transaction, out);
            list(branches, out, branch);
        }
        Record::Delegated {
            transaction,
            branch: only,
            key,
        } => {
            out.push(tag::DELEGATED);
            id(*transaction, out);
            branch(only, out);
            option(key.as_deref(), out, key_record);
        }
        Record::Decided {
            transaction,
            decision,
            branches,
            key,
        } => {
            out.push(tag::DECIDED);
            id(*transaction, out);
            decided(decision, out);
            list(branches, out, branch);
            option(key.as_deref(), out, key_record);
        }
        Record::Deviated {
            transaction,
            deviation,
        } => {
            out.push(tag::DEVIATED);
            id(*transaction, out);
            deviated(deviation, out);
        }
        Record::Ended { transaction } => {
            out.push(tag::ENDED);
            id(*transaction, out);
        }
        Record::Horizon { transaction, key_ms } => {
            out.push(tag::HORIZON);
            id(*transaction, out);
            number(*key_ms, out);
        }
        Record::KeyHeld {
            key,
            transaction,
            outcome,
        } => {
            out.push(tag::KEY_HELD);
            key_record(key, out);
            id(*transaction, out);
            came_out(outcome, out);
        }
        Record::EndedCommits { transactions } => {
            out.push(tag::ENDED_COMMITS);
            list(transactions, out, |transaction, out| id(*transaction, out));
        }
    }
}

/// Appends the bytes of an ended transaction, as the index keeps it.
pub fn encode_finished(finished: &FinishedTransaction, out: &mut Vec<u8>) {
    out.push(VERSION);
    id(finished.transaction, out);
    came_out(&finished.outcome, out);
    option(finished.key.as_ref(), out, |key: &IdempotencyKey, out| {
        text(key.as_str(), out)
    });
    list(&finished.branches, out, branch);
}

fn decided(record: &DecisionRecord, out: &mut Vec<u8>) {
    match record {
        DecisionRecord::Commit => out.push(decision::COMMIT),
        DecisionRecord::Abort(reason) => {
            out.push(decision::ABORT);
            abort_reason(reason, out);
        }
    }
}

fn came_out(record: &Outcome, out: &mut Vec<u8>) {
    match record {
        Outcome::Committed => out.push(outcome::COMMITTED),
        Outcome::Aborted { reason } => {
            out.push(outcome::ABORTED);
            abort_reason(reason, out);
        }
        Outcome::Heuristic { decision, evidence } => {
            out.push(match decision {
                Decision::Commit => outcome::HEURISTIC_COMMIT,
                Decision::Abort => outcome::HEURISTIC_ABORT,
            });
            list(evidence, out, deviated);
        }
    }
}

fn abort_reason(reason: &AbortReason, out: &mut Vec<u8>) {
    match reason {
        AbortReason::Requested => out.push(abort::REQUESTED),
        AbortReason::Deadline => out.push(abort::DEADLINE),
        AbortReason::Refused(refusal) => {
            out.push(abort::REFUSED);
            text(refusal.resource.as_str(), out);
            text(&refusal.reason, out);
            text(&refusal.message, out);
            out.push(u8::from(refusal.retryable));
        }
        AbortReason::SessionLost { resource } => {
            out.push(abort::SESSION_LOST);
            text(resource.as_str(), out);
        }
        AbortReason::BranchMismatch { message } => {
            out.push(abort::BRANCH_MISMATCH);
            text(message, out);
        }
        AbortReason::PromiseExpired { resource } => {
            out.push(abort::PROMISE_EXPIRED);
            text(resource.as_str(), out);
        }
        AbortReason::Presumed => out.push(abort::PRESUMED),
    }
}

fn deviated(record: &Deviation, out: &mut Vec<u8>) {
    number(record.branch.0.into(), out);
    text(record.resource.as_str(), out);
    out.push(match record.kind {
        DeviationKind::Mixed => deviation::MIXED,
        DeviationKind::Hazard => deviation::HAZARD,
    });
    text(&record.evidence, out);
}

fn branch(record: &BranchRecord, out: &mut Vec<u8>) {
    number(record.branch.0.into(), out);
    text(record.resource.as_str(), out);
    out.extend_from_slice(&record.store.to_bytes());
}

fn key_record(record: &KeyRecord, out: &mut Vec<u8>) {
    text(record.key.as_str(), out);
    number(record.expires_at_ms, out);
    out.extend_from_slice(&record.digest.0);
}

fn id(transaction: TransactionId, out: &mut Vec<u8>) {
    out.extend_from_slice(&transaction.to_bytes());
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(value: &str, out: &mut Vec<u8>) {
    number(value.len() as u64, out);
    out.extend_from_slice(value.as_bytes());
}

fn list<T>(values: &[T], out: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    number(values.len() as u64, out);
    for value in values {
        each(value, out);
    }
}

fn option<T>(value: Option<&T>, out: &mut Vec<u8>, some: impl Fn(&T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        some(value, out);
    }
}
