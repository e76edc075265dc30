//! Views and outcomes of the core as messages of the wire.

use handfast_core::view::{
    BranchStateView, BranchView, InDoubtState, InDoubtView, ResourceView, StateView, StatusView,
    TransactionView,
};
use handfast_core::{
    AbortReason, AnswerKind, BranchRecord, Decision, Deviation, DeviationKind, FinishedTransaction, Outcome,
    Overdue, Reply,
};
use handfast_ids::{ResourceName, TransactionId};
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;

use crate::driver::{Found, ServiceStatus};

/// An outcome as the answer to Execute, Commit and Abort.
pub fn result(reply: Reply) -> Result<v1::TransactionResult, Failure> {
    let (transaction, outcome) = match reply {
        Reply::Outcome { transaction, outcome } => (transaction, outcome),
        Reply::Undecided { transaction } => return Ok(undecided(transaction)),
        _ => return Err(unexpected()),
    };
    let told = told(&outcome);
    Ok(v1::TransactionResult {
        transaction_id: transaction.to_string(),
        outcome: told.outcome.into(),
        reason: told.reason,
        message: told.message,
        retryable: told.retryable,
        evidence: told.evidence,
        decided: told.decided.into(),
        refusal: told.refusal,
    })
}

/// The time is over, and the participant that decides has not said how.
fn undecided(transaction: TransactionId) -> v1::TransactionResult {
    v1::TransactionResult {
        transaction_id: transaction.to_string(),
        outcome: v1::Outcome::Unknown.into(),
        reason: "DELEGATED".to_owned(),
        message: "the transaction was left to its only participant, which may have committed it and has not answered; it \
                  is being asked. Ask for the transaction by its id, or send the same request under the same key"
            .to_owned(),
        ..v1::TransactionResult::default()
    }
}

/// The answer to Begin.
pub fn begun(reply: Reply) -> Result<v1::BeginResponse, Failure> {
    let Reply::Begun {
        transaction,
        timeout_ms,
    } = reply
    else {
        return Err(unexpected());
    };
    Ok(v1::BeginResponse {
        transaction_id: transaction.to_string(),
        timeout_ms,
    })
}

/// What is known of a transaction. That it is another coordinator's is no knowledge.
pub fn transaction(found: Found) -> Result<v1::Transaction, Failure> {
    let Found { view, finished } = found;
    let mut told = v1::Transaction {
        transaction_id: view.transaction.to_string(),
        state: state(&view.state)?.into(),
        key: view.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        branches: view.branches.iter().map(branch).collect(),
        age_ms: view.age_ms,
        ..v1::Transaction::default()
    };
    match (&view.state, &finished) {
        (StateView::Committing, _) => told.outcome = v1::Outcome::Committed.into(),
        (StateView::Aborting, _) => told.outcome = v1::Outcome::Aborted.into(),
        (StateView::Heuristic(outcome) | StateView::Ended(outcome), None) => tell(&mut told, outcome),
        (StateView::Forgotten, None) | (StateView::Delegated, _) => {
            told.outcome = v1::Outcome::Unknown.into();
        }
        (StateView::Ended(_) | StateView::NoEffects | StateView::Forgotten, Some(finished)) => {
            remember(&mut told, finished);
        }
        _ => {}
    }
    Ok(told)
}

/// The same of a view only.
pub fn of_view(view: TransactionView) -> Result<v1::Transaction, Failure> {
    transaction(Found { view, finished: None })
}

/// How the coordinator is.
pub fn status(status: ServiceStatus) -> v1::StatusResponse {
    let ServiceStatus {
        core,
        overdue,
        log,
        uptime_ms,
    } = status;
    let StatusView { table, resources, .. } = &core;
    v1::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log_id: core.log.to_string(),
        epoch: core.epoch.0,
        uptime_ms,
        draining: core.draining,
        log: Some(v1::LogStatus {
            durable_lsn: core.durable.0,
            accepted_lsn: core.accepted.0,
            syncs: log.syncs,
            records: log.records,
            bytes: log.bytes,
            space_low: core.space_low,
        }),
        table: Some(v1::TableStatus {
            live: table.live as u64,
            capacity: table.capacity as u64,
            active: table.active as u64,
            preparing: table.preparing as u64,
            committing: table.committing as u64,
            aborting: table.aborting as u64,
            heuristic: table.heuristic as u64,
            keys: table.keys as u64,
            keys_capacity: table.keys_capacity as u64,
            committed_total: table.committed_total,
            aborted_total: table.aborted_total,
        }),
        resources: resources
            .iter()
            .map(|resource| of_resource(resource, overdue.get(&resource.name)))
            .collect(),
    }
}

fn of_resource(resource: &ResourceView, overdue: Option<&Overdue>) -> v1::ResourceStatus {
    v1::ResourceStatus {
        resource: resource.name.to_string(),
        store_id: resource.store.to_string(),
        generation: resource.generation.0,
        sessions: u32::try_from(resource.sessions).unwrap_or(u32::MAX),
        unfinished_branches: resource.unfinished_branches as u64,
        overdue_transactions: overdue.map_or(0, |overdue| overdue.transactions as u64),
        oldest_overdue_transaction_id: overdue.map_or_else(String::new, |overdue| overdue.oldest.to_string()),
        oldest_overdue_ms: overdue.map_or(0, |overdue| overdue.oldest_ms),
    }
}

/// A line of what is stuck, with what an operator can do.
pub fn in_doubt(view: InDoubtView) -> v1::InDoubtTransaction {
    let at = &view.resource;
    let presence = if view.connected {
        "it is connected"
    } else {
        "it has no session: start its participant"
    };
    let (state, message) = match &view.state {
        InDoubtState::Committing => (
            "COMMITTING",
            format!("waits for {at} to acknowledge the commit; {presence}"),
        ),
        InDoubtState::Aborting => (
            "ABORTING",
            format!("waits for {at} to acknowledge the abort; {presence}"),
        ),
        InDoubtState::Delegated => (
            "DELEGATED",
            format!("was left to {at}, which is asked whether it committed; {presence}"),
        ),
        InDoubtState::Deviated {
            decision,
            kind,
            evidence,
        } => ("HEURISTIC", deviated(at, *decision, *kind, evidence)),
        InDoubtState::Held(answer) => (
            "HELD",
            format!(
                "{at} shows the branch as prepared, and {}; compare its data with the other branches and resolve it there",
                held(*answer)
            ),
        ),
    };
    v1::InDoubtTransaction {
        transaction_id: view.transaction.to_string(),
        state: state.to_owned(),
        resource: view.resource.to_string(),
        branch: view.branch.0,
        age_ms: view.age_ms,
        message,
    }
}

/// What an operator must know to repair it: what was decided, and what is known to have happened instead.
fn deviated(at: &ResourceName, decision: Decision, kind: DeviationKind, evidence: &str) -> String {
    let decided = decided_to(decision);
    match kind {
        DeviationKind::Mixed => format!(
            "it was decided to {decided}, and {at} did the contrary: {evidence}; all other branches {decided}, repair the data at {at}"
        ),
        DeviationKind::Hazard => format!(
            "it was decided to {decided}, and {at} cannot prove that it did: {evidence}; all other branches {decided}, look at the \
             data at {at}"
        ),
    }
}

fn decided_to(decision: Decision) -> &'static str {
    match decision {
        Decision::Commit => "commit",
        Decision::Abort => "abort",
    }
}

fn held(answer: AnswerKind) -> &'static str {
    match answer {
        AnswerKind::Wait => "it is not decided yet",
        AnswerKind::Finished => "its commit has ended already (was the store restored, or failed over?)",
        AnswerKind::Forgotten => "it is older than what the coordinator keeps",
        AnswerKind::NotMine => "it belongs to another coordinator, or was never minted by this one",
    }
}

fn state(state: &StateView) -> Result<v1::TransactionState, Failure> {
    use v1::TransactionState as Wire;
    Ok(match state {
        StateView::Active => Wire::Active,
        StateView::Preparing => Wire::Preparing,
        StateView::Delegated => Wire::Delegated,
        StateView::Committing => Wire::Committing,
        StateView::Aborting => Wire::Aborting,
        StateView::Heuristic(_) => Wire::Heuristic,
        StateView::Ended(_) => Wire::Ended,
        StateView::NoEffects => Wire::NoEffects,
        StateView::Forgotten => Wire::Forgotten,
        StateView::NotMine => {
            let message = "the transaction belongs to another coordinator, or this one never minted its id; correct the id, or ask the \
                           other";
            return Err(Failure::new(Reason::NotMine, message));
        }
    })
}

fn branch(view: &BranchView) -> v1::Branch {
    use v1::BranchState as Wire;
    let state = match view.state {
        BranchStateView::Enlisted => Wire::Enlisted,
        BranchStateView::Preparing => Wire::Preparing,
        BranchStateView::Delegated => Wire::Delegated,
        BranchStateView::Prepared => Wire::Prepared,
        BranchStateView::ReadOnly => Wire::ReadOnly,
        BranchStateView::Refused => Wire::Refused,
        BranchStateView::Committing => Wire::Committing,
        BranchStateView::Committed => Wire::Committed,
        BranchStateView::Aborting => Wire::Aborting,
        BranchStateView::Aborted => Wire::Aborted,
        BranchStateView::Hazard => Wire::Hazard,
        BranchStateView::Contrary => Wire::Contrary,
    };
    v1::Branch {
        branch: view.branch.0,
        resource: view.resource.to_string(),
        state: state.into(),
        connected: view.connected,
    }
}

/// What the index remembers replaces what the core no longer holds.
fn remember(told: &mut v1::Transaction, finished: &FinishedTransaction) {
    told.state = v1::TransactionState::Ended.into();
    tell(told, &finished.outcome);
    if let Some(key) = &finished.key {
        told.key = key.to_string();
    }
    if told.branches.is_empty() {
        told.branches = finished
            .branches
            .iter()
            .map(|branch| ended_branch(branch, &finished.outcome))
            .collect();
    }
}

fn ended_branch(record: &BranchRecord, outcome: &Outcome) -> v1::Branch {
    let deviation = match outcome {
        Outcome::Heuristic { evidence, .. } => evidence
            .iter()
            .find(|deviation| deviation.branch == record.branch),
        _ => None,
    };
    let state = match (outcome, deviation.map(|deviation| deviation.kind)) {
        (_, Some(DeviationKind::Mixed)) => v1::BranchState::Contrary,
        (_, Some(DeviationKind::Hazard)) => v1::BranchState::Hazard,
        (Outcome::Aborted { .. }, None)
        | (
            Outcome::Heuristic {
                decision: Decision::Abort,
                ..
            },
            None,
        ) => v1::BranchState::Aborted,
        (Outcome::Committed | Outcome::Heuristic { .. }, None) => v1::BranchState::Committed,
    };
    v1::Branch {
        branch: record.branch.0,
        resource: record.resource.to_string(),
        state: state.into(),
        connected: false,
    }
}

fn tell(transaction: &mut v1::Transaction, outcome: &Outcome) {
    let told = told(outcome);
    transaction.outcome = told.outcome.into();
    transaction.reason = told.reason;
    transaction.message = told.message;
    transaction.evidence = told.evidence;
    transaction.decided = told.decided.into();
    transaction.refusal = told.refusal;
}

struct Told {
    outcome: v1::Outcome,
    reason: String,
    message: String,
    retryable: bool,
    evidence: Vec<v1::Evidence>,
    decided: v1::Outcome,
    refusal: Option<v1::RefusedBy>,
}

fn told(outcome: &Outcome) -> Told {
    let mut told = Told {
        outcome: v1::Outcome::Committed,
        reason: String::new(),
        message: String::new(),
        retryable: false,
        evidence: Vec::new(),
        decided: v1::Outcome::Unspecified,
        refusal: None,
    };
    match outcome {
        Outcome::Committed => {}
        Outcome::Aborted { reason } => {
            let (stable, message, retryable) = abort(reason);
            told.outcome = v1::Outcome::Aborted;
            told.reason = stable.to_owned();
            told.message = message;
            told.retryable = retryable;
            told.refusal = refused_by(reason);
        }
        Outcome::Heuristic { decision, evidence } => {
            told.outcome = v1::Outcome::Heuristic;
            told.decided = match decision {
                Decision::Commit => v1::Outcome::Committed,
                Decision::Abort => v1::Outcome::Aborted,
            };
            told.reason = "DEVIATED".to_owned();
            told.message = format!(
                "decided to {}, but a participant deviated or could prove nothing; an operator must look at the evidence",
                decided_to(*decision)
            );
            told.evidence = evidence.iter().map(deviation).collect();
        }
    }
    told
}

fn abort(reason: &AbortReason) -> (&str, String, bool) {
    match reason {
        AbortReason::Requested => ("REQUESTED", "a client asked for the abort".to_owned(), false),
        AbortReason::Deadline => (
            "DEADLINE",
            "its time was over before it was decided".to_owned(),
            true,
        ),
        AbortReason::Refused(refusal) => (
            "REFUSED",
            format!(
                "{} refused: {}: {}",
                refusal.resource, refusal.reason, refusal.message
            ),
            refusal.retryable,
        ),
        AbortReason::SessionLost { resource } => (
            "SESSION_LOST",
            format!("the session of {resource} was lost before its vote"),
            true,
        ),
        AbortReason::BranchMismatch { message } => (
            "BRANCH_MISMATCH",
            format!("the branches are not those that the application expected: {message}"),
            false,
        ),
        AbortReason::PromiseExpired { resource } => (
            "PROMISE_EXPIRED",
            format!("the promise of {resource} would have expired before the decision could reach it"),
            true,
        ),
        AbortReason::Presumed => (
            "PRESUMED",
            "the coordinator was restarted before it was decided, or there is no record of it".to_owned(),
            true,
        ),
    }
}

fn refused_by(reason: &AbortReason) -> Option<v1::RefusedBy> {
    let AbortReason::Refused(refusal) = reason else {
        return None;
    };
    Some(v1::RefusedBy {
        resource: refusal.resource.to_string(),
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
    })
}

fn deviation(deviation: &Deviation) -> v1::Evidence {
    let kind = match deviation.kind {
        DeviationKind::Mixed => "MIXED",
        DeviationKind::Hazard => "HAZARD",
    };
    v1::Evidence {
        resource: deviation.resource.to_string(),
        branch: deviation.branch.0,
        kind: kind.to_owned(),
        message: deviation.evidence.clone(),
    }
}

fn unexpected() -> Failure {
    Failure::new(
        Reason::Stopped,
        "the coordinator gave an answer of another kind than was asked for, which is a defect; ask for the transaction",
    )
}

#[cfg(test)]
mod tests;
