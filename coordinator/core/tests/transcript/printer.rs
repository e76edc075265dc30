//! Effects as lines.

use handfast_core::view::{InDoubtState, InDoubtView, StateView, StatusView, TransactionView};
use handfast_core::{
    AbortReason, Alarm, AnswerKind, BranchRecord, CloseReason, Decision, DecisionRecord, Deviation,
    DeviationKind, Effect, KeyRecord, Message, Outcome, Record, Rejection, Reply, StopReason,
};

use super::names::Names;
use crate::world::{Happened, WALL_MS};

impl Names {
    pub fn happened(&mut self, happened: &Happened) -> String {
        match happened {
            Happened::Logged(lsn, record, force) => {
                let forced = if *force { " (forced)" } else { "" };
                format!("log {} {}{forced}", lsn.0, self.record(record))
            }
            Happened::Did(effect) => self.effect(effect),
            Happened::Held(after, effect) => format!("held until {}: {}", after.0, self.effect(effect)),
            Happened::Released(effect) => format!("released: {}", self.effect(effect)),
            Happened::Dropped(effect) => format!("dropped: {}", self.effect(effect)),
            Happened::Clock(moment) => format!("at {}ms", moment.0),
        }
    }

    fn effect(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Append { .. } => unreachable!("the world shows what is logged by itself"),
            Effect::Send { session, message, .. } => format!("send s{} {}", session.0, self.message(message)),
            Effect::Reply { call, reply, .. } => format!("reply c{} {}", call.0, self.reply(reply)),
            Effect::CloseSession { session, reason } => format!("close s{}: {}", session.0, close(reason)),
            Effect::Finished { transaction, .. } => {
                let outcome = self.outcome(&transaction.outcome);
                let key = transaction.key.as_ref();
                let key = key.map(|key| format!(" key={key}")).unwrap_or_default();
                format!("finished {} {outcome}{key}", self.of(transaction.transaction))
            }
            Effect::KeysExpired { keys, .. } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                format!("keys expired: {}", keys.join(", "))
            }
            Effect::Held {
                transaction,
                branch,
                resource,
                state,
            } => {
                let name = self.of(*transaction);
                format!("alarm: {name}/{branch} at {resource}: {}", in_doubt(state))
            }
            Effect::Stop { reason } => match reason {
                StopReason::LogIsOld { seen_epoch, seen_lsn } => {
                    format!(
                        "stop: the log is old, epoch {seen_epoch} lsn {} was seen",
                        seen_lsn.0
                    )
                }
                StopReason::Superseded { seen_epoch } => format!("stop: epoch {seen_epoch} has started"),
            },
        }
    }

    pub fn record(&mut self, record: &Record) -> String {
        match record {
            Record::EpochStarted { epoch, .. } => format!("EpochStarted epoch {epoch}"),
            Record::Resource {
                name,
                store,
                generation,
            } => {
                format!("Resource {name} store {} generation {generation}", store.0)
            }
            Record::Registered {
                transaction,
                branches,
            } => {
                format!("Registered {} {}", self.of(*transaction), records(branches))
            }
            Record::Delegated {
                transaction,
                branch,
                key,
            } => {
                let key = key
                    .as_ref()
                    .map(|key| format!(" {}", key_text(key)))
                    .unwrap_or_default();
                format!(
                    "Delegated {} {}{key}",
                    self.of(*transaction),
                    records(std::slice::from_ref(branch))
                )
            }
            Record::Decided {
                transaction,
                decision,
                branches,
                key,
            } => {
                let decision = match decision {
                    DecisionRecord::Commit => "commit".to_owned(),
                    DecisionRecord::Abort(reason) => format!("abort ({})", abort(reason)),
                };
                let key = key
                    .as_ref()
                    .map(|key| format!(" {}", key_text(key)))
                    .unwrap_or_default();
                format!(
                    "Decided {decision} {} {}{key}",
                    self.of(*transaction),
                    records(branches)
                )
            }
            Record::Deviated {
                transaction,
                deviation,
            } => {
                format!("Deviated {}: {}", self.of(*transaction), deviated(deviation))
            }
            Record::Ended { transaction } => format!("Ended {}", self.of(*transaction)),
            Record::Horizon { transaction, key_ms } => {
                let below = match *transaction {
                    handfast_ids::TransactionId::ZERO => "nothing".to_owned(),
                    transaction => self.of(transaction),
                };
                format!("Horizon {below} keys until {}", key_ms.saturating_sub(WALL_MS))
            }
            Record::KeyHeld {
                key,
                transaction,
                outcome,
            } => {
                let outcome = self.outcome(outcome);
                format!("KeyHeld {} by {} {outcome}", key_text(key), self.of(*transaction))
            }
            Record::EndedCommits { transactions } => {
                let names: Vec<String> = transactions.iter().map(|&id| self.of(id)).collect();
                format!("EndedCommits {}", names.join(", "))
            }
        }
    }

    fn message(&mut self, message: &Message) -> String {
        match message {
            Message::Welcome { epoch, durable, .. } => format!("Welcome epoch {epoch} durable {}", durable.0),
            Message::Enlisted {
                transaction,
                enlistment,
                result,
            } => {
                let name = self.of(*transaction);
                match result {
                    Ok(branch) => format!("Enlisted {} as {name}/{branch}", enlistment.0),
                    Err(refusal) => format!("Enlisted {} refused for {name}: {refusal:?}", enlistment.0),
                }
            }
            Message::Prepare {
                transaction,
                branch,
                operation,
                operations,
                timeout_ms,
                delegated,
            } => {
                let work = match operation {
                    Some(operation) => format!("{:?}", String::from_utf8_lossy(operation)),
                    None => format!("{operations} operations"),
                };
                let order = if *delegated {
                    "Prepare and commit"
                } else {
                    "Prepare"
                };
                format!(
                    "{order} {}/{branch} {work} within {timeout_ms}ms",
                    self.of(*transaction)
                )
            }
            Message::Resolve { transaction, branch } => {
                format!("Resolve {}/{branch}", self.of(*transaction))
            }
            Message::Decision {
                transaction,
                branch,
                decision,
            } => {
                let decision = match decision {
                    Decision::Commit => "Commit",
                    Decision::Abort => "Abort",
                };
                format!("{decision} {}/{branch}", self.of(*transaction))
            }
            Message::Answer {
                transaction,
                branch,
                answer,
            } => {
                format!("Answer {}/{branch} {}", self.of(*transaction), answered(*answer))
            }
            Message::Forget { transaction, branch } => format!("Forget {}/{branch}", self.of(*transaction)),
        }
    }

    fn reply(&mut self, reply: &Reply) -> String {
        match reply {
            Reply::Begun {
                transaction,
                timeout_ms,
            } => format!("begun {} within {timeout_ms}ms", self.of(*transaction)),
            Reply::Outcome { transaction, outcome } => {
                let outcome = self.outcome(outcome);
                format!("{} {outcome}", self.of(*transaction))
            }
            Reply::Undecided { transaction } => format!("{} undecided", self.of(*transaction)),
            Reply::Rejected(rejection) => format!("rejected: {}", self.rejection(rejection)),
            Reply::View { view, last } => {
                let last = if *last { " (last)" } else { "" };
                format!("view {}{last}", self.view(view))
            }
        }
    }

    fn outcome(&mut self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Committed => "committed".to_owned(),
            Outcome::Aborted { reason } => format!("aborted ({})", abort(reason)),
            Outcome::Heuristic { decision, evidence } => {
                let evidence: Vec<String> = evidence.iter().map(deviated).collect();
                format!("heuristic {} [{}]", decided(*decision), evidence.join("; "))
            }
        }
    }

    fn rejection(&mut self, rejection: &Rejection) -> String {
        match rejection {
            Rejection::KeyMismatch { transaction } => format!("key of {}", self.of(*transaction)),
            Rejection::UnknownTransaction { transaction } => format!("unknown {}", self.of(*transaction)),
            Rejection::Forgotten { transaction } => format!("forgotten {}", self.of(*transaction)),
            Rejection::NotMine { transaction } => format!("not mine {}", self.of(*transaction)),
            Rejection::TooManyWaiters { transaction } => {
                format!("too many wait for {}", self.of(*transaction))
            }
            Rejection::ResourceBacklog {
                resource,
                retry_after_ms,
            } => format!("backlog at {resource}, retry after {retry_after_ms}ms"),
            Rejection::TableFull { retry_after_ms } => {
                format!("table full, retry after {retry_after_ms}ms")
            }
            Rejection::KeysFull { retry_after_ms } => format!("keys full, retry after {retry_after_ms}ms"),
            Rejection::UnknownResource { resource } => format!("unknown resource {resource}"),
            Rejection::ResourceDown { resource } => format!("{resource} is down"),
            Rejection::OperationTooLarge {
                resource,
                found,
                limit,
            } => format!("operation of {found} bytes for {resource}, limit {limit}"),
            Rejection::TooManyBranches { found, limit } => format!("{found} branches, limit {limit}"),
            Rejection::KeyTooLong { limit_ms } => format!("key for longer than {limit_ms}ms"),
            Rejection::Draining | Rejection::LogSpaceLow | Rejection::NoBranches | Rejection::KeyExpired => {
                format!("{rejection:?}")
            }
        }
    }

    pub fn view(&mut self, view: &TransactionView) -> String {
        let state = match &view.state {
            StateView::Active => "active".to_owned(),
            StateView::Preparing => "preparing".to_owned(),
            StateView::Delegated => "delegated".to_owned(),
            StateView::Committing => "committing".to_owned(),
            StateView::Aborting => "aborting".to_owned(),
            StateView::Heuristic(outcome) => self.outcome(outcome),
            StateView::Ended(outcome) => format!("ended {}", self.outcome(outcome)),
            StateView::NoEffects => "no effects".to_owned(),
            StateView::Forgotten => "forgotten".to_owned(),
            StateView::NotMine => "not mine".to_owned(),
        };
        let branches = view.branches.iter().map(|branch| {
            let connected = if branch.connected { "" } else { " (down)" };
            format!(
                "{} {} {:?}{connected}",
                branch.branch, branch.resource, branch.state
            )
        });
        let branches: Vec<String> = branches.collect();
        let key = view
            .key
            .as_ref()
            .map(|key| format!(" key={key}"))
            .unwrap_or_default();
        format!(
            "{} {state} [{}]{key}",
            self.of(view.transaction),
            branches.join(", ")
        )
    }

    pub fn alarm(&mut self, alarm: &Alarm) -> String {
        match alarm {
            Alarm::Raised {
                resource,
                connected,
                overdue,
                repeats,
            } => {
                let connected = if *connected { "" } else { " (down)" };
                let (oldest, count) = (self.of(overdue.oldest), overdue.transactions);
                let ms = overdue.oldest_ms;
                format!("alarm {repeats}: {resource}{connected} owes {count}, the oldest {oldest} for {ms}ms")
            }
            Alarm::Over { resource, lasted_ms } => {
                format!("alarm over: {resource} after {lasted_ms}ms")
            }
        }
    }

    pub fn in_doubt(&mut self, view: &InDoubtView) -> String {
        let state = in_doubt(&view.state);
        let connected = if view.connected { "" } else { " (down)" };
        let name = self.of(view.transaction);
        format!("{name}/{} at {}{connected}: {state}", view.branch, view.resource)
    }
}

pub fn status(status: &StatusView) -> Vec<String> {
    let table = &status.table;
    let mut lines = vec![format!(
        "epoch {} durable {} accepted {}{}{}",
        status.epoch,
        status.durable.0,
        status.accepted.0,
        if status.draining { " draining" } else { "" },
        if status.space_low { " space low" } else { "" },
    )];
    lines.push(format!(
        "live {}: active {} preparing {} committing {} aborting {} heuristic {}; keys {}; committed {} aborted {}",
        table.live,
        table.active,
        table.preparing,
        table.committing,
        table.aborting,
        table.heuristic,
        table.keys,
        table.committed_total,
        table.aborted_total,
    ));
    lines.extend(status.resources.iter().map(|resource| {
        format!(
            "{} store {} generation {}: {} sessions, {} unfinished",
            resource.name,
            resource.store.0,
            resource.generation,
            resource.sessions,
            resource.unfinished_branches
        )
    }));
    lines
}

fn records(branches: &[BranchRecord]) -> String {
    let branches = branches.iter();
    let texts: Vec<String> = branches
        .map(|branch| format!("{} {}", branch.branch, branch.resource))
        .collect();
    format!("[{}]", texts.join(", "))
}

fn key_text(key: &KeyRecord) -> String {
    format!(
        "key={} expires={}",
        key.key,
        key.expires_at_ms.saturating_sub(WALL_MS)
    )
}

fn deviated(deviation: &Deviation) -> String {
    let kind = deviation_kind(deviation.kind);
    let (branch, resource, evidence) = (deviation.branch, &deviation.resource, &deviation.evidence);
    format!("{branch} {resource} {kind} {evidence:?}")
}

fn deviation_kind(kind: DeviationKind) -> &'static str {
    match kind {
        DeviationKind::Mixed => "mixed",
        DeviationKind::Hazard => "hazard",
    }
}

fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::Commit => "commit",
        Decision::Abort => "abort",
    }
}

fn abort(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Requested => "requested".to_owned(),
        AbortReason::Deadline => "deadline".to_owned(),
        AbortReason::Refused(refusal) => {
            let retryable = if refusal.retryable { ", retryable" } else { "" };
            format!("{} refused: {}{retryable}", refusal.resource, refusal.reason)
        }
        AbortReason::SessionLost { resource } => format!("session of {resource} lost"),
        AbortReason::BranchMismatch { message } => format!("mismatch: {message}"),
        AbortReason::PromiseExpired { resource } => format!("promise of {resource} expired"),
        AbortReason::Presumed => "presumed".to_owned(),
    }
}

fn answered(answer: AnswerKind) -> String {
    match answer {
        AnswerKind::Wait => "wait",
        AnswerKind::Finished => "finished",
        AnswerKind::Forgotten => "forgotten",
        AnswerKind::NotMine => "not mine",
    }
    .to_owned()
}

fn in_doubt(state: &InDoubtState) -> String {
    match state {
        InDoubtState::Committing => "committing".to_owned(),
        InDoubtState::Aborting => "aborting".to_owned(),
        InDoubtState::Delegated => "delegated".to_owned(),
        InDoubtState::Deviated {
            decision,
            kind,
            evidence,
        } => format!(
            "deviated from {} {} {evidence:?}",
            decided(*decision),
            deviation_kind(*kind)
        ),
        InDoubtState::Held(answer) => format!("held {}", answered(*answer)),
    }
}

fn close(reason: &CloseReason) -> String {
    match reason {
        CloseReason::StoreHasAnotherName { store, name } => format!("store {} is {name}", store.0),
        CloseReason::StoreMismatch { expected, found } => {
            format!("store {} expected, found {}", expected.0, found.0)
        }
        CloseReason::GenerationLower { expected, found } => {
            format!("generation {expected} expected, found {found}")
        }
        CloseReason::Superseded => "superseded".to_owned(),
        CloseReason::TooManyResources { limit } => format!("more than {limit} resources"),
    }
}
