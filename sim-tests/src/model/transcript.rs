//! A path through a world, told step by step.

use std::fmt::{self, Write};

use handfast_core::Record;

use super::network::{Packet, short, short_part};
use super::state::State;
use super::step::{Action, apply};
use super::world::{RESOURCES, World};

/// Each step, and below it what came of it: records (`+`), messages (`>`), answers (`=`), and the breach (`!`).
pub fn transcript(world: &World, actions: &[Action]) -> String {
    let mut state = State::first(world);
    let mut text = String::new();
    for (number, action) in (1..).zip(actions) {
        let next = apply(world, &state, action);
        let _ = writeln!(text, "{number:>3}. {action}");
        for line in consequences(&state, &next) {
            let _ = writeln!(text, "       {line}");
        }
        state = next;
    }
    text
}

fn consequences(before: &State, after: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let found = before.journal.accepted().min(after.journal.accepted());
    for (lsn, record) in after.journal.numbered().filter(|(lsn, _)| *lsn > found) {
        lines.push(format!("+ {}: {}", lsn.0, told(record)));
    }
    let sent = |packet: &&Packet| !before.network.iter().any(|other| other == *packet);
    lines.extend(
        after
            .network
            .iter()
            .filter(sent)
            .map(|packet| format!("> {packet}")),
    );
    for (transaction, told) in after.memory.told.difference(&before.memory.told) {
        lines.push(format!("= a client is told of {}: {told:?}", short(*transaction)));
    }
    if let Some(breach) = &after.memory.breach {
        lines.push(format!("! {:?}: {}", breach.rule, breach.text));
    }
    lines
}

fn told(record: &Record) -> String {
    match record {
        Record::EpochStarted { epoch, .. } => format!("epoch {epoch} starts"),
        Record::Resource { name, .. } => format!("resource {name}"),
        Record::Registered {
            transaction,
            branches,
        } => {
            format!(
                "{} registered with {} branches",
                short(*transaction),
                branches.len()
            )
        }
        Record::Decided {
            transaction,
            decision,
            branches,
            key,
        } => {
            let heard = branches.len();
            let key = if key.is_some() { ", binds the key" } else { "" };
            format!(
                "{} decided: {decision:?}, to be heard by {heard}{key}",
                short(*transaction)
            )
        }
        Record::Deviated {
            transaction,
            deviation,
        } => {
            format!(
                "{} deviated at {}: {:?}",
                short(*transaction),
                deviation.resource,
                deviation.kind
            )
        }
        Record::Ended { transaction } => format!("{} ended", short(*transaction)),
        other => format!("{other:?}"),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |participant: &usize| RESOURCES[*participant];
        match self {
            Action::Ask { client } => write!(f, "client {} asks", client + 1),
            Action::Enlist { participant } => write!(f, "{} joins", name(participant)),
            Action::Deliver(packet) => write!(f, "delivered: {packet}"),
            Action::Duplicate(packet) => write!(f, "delivered, and will be again: {packet}"),
            Action::Drop(packet) => write!(f, "lost: {packet}"),
            Action::Vote {
                participant,
                part,
                vote,
            } => {
                write!(
                    f,
                    "{} has worked {}: {vote:?}",
                    name(participant),
                    short_part(*part)
                )
            }
            Action::Sync(lsn) => write!(f, "the log is durable to {}", lsn.0),
            Action::BeginCheckpoint => write!(f, "a checkpoint begins"),
            Action::Tick => write!(f, "the timers fire"),
            Action::Crash {
                kept,
                from_checkpoint,
            } => {
                let source = if *from_checkpoint {
                    ", and from the checkpoint"
                } else {
                    ""
                };
                write!(
                    f,
                    "the coordinator crashes and restarts with the log up to {}{source}",
                    kept.0
                )
            }
            Action::SessionDown(session) => write!(f, "the coordinator loses session {}", session.0),
            Action::Connect { participant } => write!(f, "{} dials in", name(participant)),
            Action::CrashParticipant { participant } => write!(f, "{} crashes", name(participant)),
            Action::Scan { participant } => write!(f, "{} scans", name(participant)),
            Action::Restore {
                participant,
                loses: true,
            } => write!(f, "{} loses its prepared branches", name(participant)),
            Action::Restore { participant, .. } => {
                write!(f, "{} is restored to where it had prepared", name(participant))
            }
        }
    }
}
