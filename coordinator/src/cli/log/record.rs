//! Records of the log as people and programs read them.

use handfast_core::{
    AbortReason, BranchRecord, DecisionRecord, Deviation, DeviationKind, KeyRecord, Outcome, Record,
};
use serde_json::{Value, json};

/// One line.
pub fn text(record: &Record) -> String {
    match record {
        Record::EpochStarted {
            epoch,
            predecessor_end,
            wall_ms,
            key_ms,
            ..
        } => format!(
            "EPOCH       {epoch}, predecessor ended at {}, wall clock {wall_ms} ms, keys' clock {key_ms} ms",
            predecessor_end.0
        ),
        Record::Resource {
            name,
            store,
            generation,
        } => format!("RESOURCE    {name}, store {store}, generation {generation}"),
        Record::Registered {
            transaction,
            branches,
        } => format!("REGISTERED  {transaction} {}", branches_text(branches)),
        Record::Delegated {
            transaction,
            branch,
            key,
        } => {
            let key = key
                .as_ref()
                .map(|key| format!(" under key {:?}", key.key.as_str()))
                .unwrap_or_default();
            let branch = branches_text(std::slice::from_ref(branch));
            format!("DELEGATED   {transaction}{key} {branch}")
        }
        Record::Decided {
            transaction,
            decision,
            branches,
            key,
        } => {
            let key = key
                .as_ref()
                .map(|key| format!(" under key {:?}", key.key.as_str()))
                .unwrap_or_default();
            format!(
                "DECIDED     {transaction} {}{key} {}",
                decision_text(decision),
                branches_text(branches)
            )
        }
        Record::Deviated {
            transaction,
            deviation,
        } => format!(
            "DEVIATED    {transaction} branch {} at {}: {}: {}",
            deviation.branch,
            deviation.resource,
            deviation_kind(deviation.kind),
            deviation.evidence
        ),
        Record::Ended { transaction } => format!("ENDED       {transaction}"),
        Record::Horizon { transaction, key_ms } => format!("HORIZON     {transaction}, keys to {key_ms} ms"),
        Record::KeyHeld {
            key,
            transaction,
            outcome,
        } => format!(
            "KEY         {:?} names {transaction}, {}",
            key.key.as_str(),
            outcome_text(outcome)
        ),
        Record::EndedCommits { transactions } => format!("COMMITS     {} ended", transactions.len()),
    }
}

/// One object.
pub fn json(record: &Record) -> Value {
    match record {
        Record::EpochStarted {
            log,
            epoch,
            predecessor_end,
            wall_ms,
            key_ms,
        } => json!({
            "record": "epoch_started",
            "log_id": log.to_string(),
            "epoch": epoch.0,
            "predecessor_end": predecessor_end.0,
            "wall_ms": wall_ms,
            "key_ms": key_ms,
        }),
        Record::Resource {
            name,
            store,
            generation,
        } => json!({
            "record": "resource",
            "resource": name.as_str(),
            "store_id": store.to_string(),
            "generation": generation.0,
        }),
        Record::Registered {
            transaction,
            branches,
        } => json!({
            "record": "registered",
            "transaction_id": transaction.to_string(),
            "branches": branches_json(branches),
        }),
        Record::Delegated {
            transaction,
            branch,
            key,
        } => json!({
            "record": "delegated",
            "transaction_id": transaction.to_string(),
            "branches": branches_json(std::slice::from_ref(branch)),
            "key": key.as_deref().map(key_json),
        }),
        Record::Decided {
            transaction,
            decision,
            branches,
            key,
        } => json!({
            "record": "decided",
            "transaction_id": transaction.to_string(),
            "decision": match decision {
                DecisionRecord::Commit => json!({"kind": "commit"}),
                DecisionRecord::Abort(reason) => json!({"kind": "abort", "reason": abort_text(reason)}),
            },
            "branches": branches_json(branches),
            "key": key.as_deref().map(key_json),
        }),
        Record::Deviated {
            transaction,
            deviation,
        } => json!({
            "record": "deviated",
            "transaction_id": transaction.to_string(),
            "deviation": deviation_json(deviation),
        }),
        Record::Ended { transaction } => json!({
            "record": "ended",
            "transaction_id": transaction.to_string(),
        }),
        Record::Horizon { transaction, key_ms } => json!({
            "record": "horizon",
            "transaction_id": transaction.to_string(),
            "key_ms": key_ms,
        }),
        Record::KeyHeld {
            key,
            transaction,
            outcome,
        } => json!({
            "record": "key_held",
            "key": key_json(key),
            "transaction_id": transaction.to_string(),
            "outcome": outcome_text(outcome),
        }),
        Record::EndedCommits { transactions } => json!({
            "record": "ended_commits",
            "transaction_ids": transactions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
    }
}

fn branches_text(branches: &[BranchRecord]) -> String {
    let all: Vec<_> = branches
        .iter()
        .map(|branch| format!("{}:{}", branch.branch, branch.resource))
        .collect();
    format!("[{}]", all.join(" "))
}

fn branches_json(branches: &[BranchRecord]) -> Vec<Value> {
    let one = |branch: &BranchRecord| {
        json!({
            "branch": branch.branch.0,
            "resource": branch.resource.as_str(),
            "store_id": branch.store.to_string(),
        })
    };
    branches.iter().map(one).collect()
}

fn key_json(key: &KeyRecord) -> Value {
    let digest: String = key.digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"key": key.key.as_str(), "expires_at_ms": key.expires_at_ms, "digest": digest})
}

fn decision_text(decision: &DecisionRecord) -> String {
    match decision {
        DecisionRecord::Commit => "commit".to_owned(),
        DecisionRecord::Abort(reason) => format!("abort ({})", abort_text(reason)),
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Committed => "committed".to_owned(),
        Outcome::Aborted { reason } => format!("aborted ({})", abort_text(reason)),
        Outcome::Heuristic { decision, evidence } => {
            format!("heuristic (decided: {decision:?}, {} deviations)", evidence.len())
        }
    }
}

fn abort_text(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Requested => "requested".to_owned(),
        AbortReason::Deadline => "deadline".to_owned(),
        AbortReason::Refused(refusal) => format!("{} refused: {}", refusal.resource, refusal.reason),
        AbortReason::SessionLost { resource } => format!("session of {resource} lost"),
        AbortReason::BranchMismatch { message } => format!("branch mismatch: {message}"),
        AbortReason::PromiseExpired { resource } => format!("promise of {resource} expired"),
        AbortReason::Presumed => "presumed".to_owned(),
    }
}

fn deviation_json(deviation: &Deviation) -> Value {
    json!({
        "branch": deviation.branch.0,
        "resource": deviation.resource.as_str(),
        "kind": deviation_kind(deviation.kind),
        "evidence": deviation.evidence,
    })
}

fn deviation_kind(kind: DeviationKind) -> &'static str {
    match kind {
        DeviationKind::Mixed => "mixed",
        DeviationKind::Hazard => "hazard",
    }
}
