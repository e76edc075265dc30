//! What the simulator sees of events and disks, in the words of protocol points.

use std::sync::Arc;

use handfast_coordinator::driver::codec;
use handfast_core::Record;

use super::point::{Matter, Occurrence, Step};
use crate::disk::{Observed, Observer};
use crate::trace::{AckKind, Decision, Event, Message, Node, Told, Transaction, VoteKind};
use crate::world::World;

/// Sectors of the log's files, whose beginnings are tagged.
const SECTOR: u64 = 512;

/// Bytes of a frame's header.
const HEADER: usize = 64;

/// Lets the world see what goes to every disk.
pub fn observe_disks(world: &Arc<World>) {
    let plan = &world.plan;
    let coordinators = (0..plan.coordinators).map(Node::Coordinator);
    for node in coordinators.chain((0..plan.participants()).map(Node::Participant)) {
        let Some(machine) = world.machine(node) else {
            continue;
        };
        let world = Arc::downgrade(world);
        machine.observe(Observer::new(move |observed| {
            if let Some(world) = world.upgrade() {
                see(&world, node, observed);
            }
        }));
    }
}

fn see(world: &World, node: Node, observed: &Observed<'_>) {
    let node = match node {
        Node::Coordinator(number) => Node::Coordinator(world.active(number)),
        node => node,
    };
    let (moment, name) = (observed.moment, observed.name);
    let mut first_lsn = 0;
    let mut matters = Vec::new();
    if name.starts_with("checkpoint-") {
        matters.push(Matter::Checkpoint);
    } else if name == "spare.tmp" {
        matters.push(Matter::Spare);
    } else if name.starts_with("segment-") {
        match frame(observed.offset, observed.bytes) {
            Some(frame) => {
                first_lsn = frame.first_lsn;
                matters.push(Matter::Record);
                if matches!(node, Node::Coordinator(_)) {
                    matters.extend(frame.records.iter().filter_map(|record| matter(record)));
                }
            }
            None if is_zero(observed.bytes) => matters.push(Matter::Cut),
            None => matters.push(Matter::Segment),
        }
    } else {
        return;
    }
    world.note(&Event::Logged(node, moment, matters.clone(), first_lsn));
    let occurrences: Vec<Occurrence> = matters
        .into_iter()
        .map(|matter| Occurrence {
            step: Step::Disk(moment, matter),
            node: Some(node),
            transaction: None,
        })
        .collect();
    if let Some(script) = &world.script {
        script.take(world, &occurrences);
    }
}

/// Only what a crash has torn is written over with zeros; a segment is made of them under another name.
fn is_zero(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}

struct Frame {
    first_lsn: u64,
    records: Vec<Vec<u8>>,
}

/// The batch that is written at this offset of a segment; `docs/LOG_FORMAT.md` draws it.
fn frame(offset: u64, bytes: &[u8]) -> Option<Frame> {
    let header = bytes.get(..HEADER)?;
    let is_batch = header.starts_with(b"HFFR") && header[4] == 1;
    if !is_batch {
        return None;
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, count) = (number(8) as usize, number(12));
    let first_lsn = u64::from(number(16)) | u64::from(number(20)) << 32;
    let untagged = (offset + HEADER as u64..)
        .zip(&bytes[HEADER..])
        .filter(|(at, _)| at % SECTOR != 0)
        .map(|(_, byte)| *byte);
    let payload: Vec<u8> = untagged.take(length).collect();
    let mut rest = payload.as_slice();
    let mut records = Vec::new();
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (record, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        records.push(record.to_vec());
        rest = behind;
    }
    Some(Frame { first_lsn, records })
}

fn matter(record: &[u8]) -> Option<Matter> {
    Some(match codec::decode(record).ok()? {
        Record::EpochStarted { .. } => Matter::Epoch,
        Record::Resource { .. } => Matter::Resource,
        Record::Registered { .. } => Matter::Registered,
        Record::Delegated { .. } => Matter::Delegated,
        Record::Decided { .. } => Matter::Decided,
        Record::Deviated { .. } => Matter::Deviated,
        Record::Ended { .. } => Matter::Ended,
        Record::Horizon { .. } => Matter::Horizon,
        Record::KeyHeld { .. } | Record::EndedCommits { .. } => return None,
    })
}

/// What an event is, in the words of points, and of which transaction.
pub(super) fn of(event: &Event) -> Option<(Step, Node, Option<Transaction>)> {
    Some(match event {
        Event::Started(node) => (Step::Starts, *node, None),
        Event::Serves(node) => (Step::Serves, *node, None),
        Event::Ended(node, _) => (Step::Ends, *node, None),
        Event::SessionOver(node, _) => (Step::SessionOver, *node, None),
        Event::Message(node, _, message) => {
            let (step, transaction) = of_message(message)?;
            (step, *node, transaction)
        }
        Event::Begun(node, _) => (Step::Begun, *node, None),
        Event::Opened(node, _, transaction) => (Step::Opened, *node, Some(*transaction)),
        Event::Read(node, transaction, decision) => {
            let step = match decision {
                Decision::Commit => Step::ReadCommitted,
                Decision::Abort => Step::ReadAborted,
            };
            (step, *node, Some(*transaction))
        }
        Event::Told(node, _, told) => {
            let step = match told {
                Told::Committed(_) => Step::ToldCommitted,
                Told::Aborted(..) => Step::ToldAborted,
                Told::Unknown(_) => Step::ToldUnknown,
                Told::Heuristic(_) => Step::ToldHeuristic,
                Told::Rejected(_) => Step::ToldRejected,
            };
            (step, *node, None)
        }
        _ => return None,
    })
}

/// Of which transaction of the file an event tells itself.
pub(super) fn intent_of(event: &Event) -> Option<u32> {
    match event {
        Event::Begun(_, intent) | Event::Opened(_, intent, _) | Event::Told(_, intent, _) => Some(*intent),
        _ => None,
    }
}

fn of_message(message: &Message) -> Option<(Step, Option<Transaction>)> {
    Some(match *message {
        Message::Hello { .. } => (Step::Hello, None),
        Message::Welcome { .. } => (Step::Welcome, None),
        Message::Durable { .. } => return None,
        Message::Enlist { transaction } => (Step::Enlist, Some(transaction)),
        Message::Enlisted {
            transaction,
            is_refused,
            ..
        } => {
            let step = if is_refused {
                Step::EnlistRefused
            } else {
                Step::Enlisted
            };
            (step, Some(transaction))
        }
        Message::Prepare { transaction, .. } => (Step::Prepare, Some(transaction)),
        Message::Vote {
            transaction, vote, ..
        } => {
            let step = match vote {
                VoteKind::Prepared => Step::VotePrepared,
                VoteKind::ReadOnly => Step::VoteReadOnly,
                VoteKind::Committed => Step::VoteCommitted,
                VoteKind::Refused => Step::VoteRefused,
            };
            (step, Some(transaction))
        }
        Message::Decision {
            transaction,
            decision,
            ..
        } => {
            let step = match decision {
                Decision::Commit => Step::Commit,
                Decision::Abort => Step::Abort,
            };
            (step, Some(transaction))
        }
        Message::Resolve { transaction, .. } => (Step::Resolve, Some(transaction)),
        Message::Ack { transaction, ack, .. } => {
            let step = match ack {
                AckKind::Done => Step::AckDone,
                AckKind::Hazard => Step::AckHazard,
                AckKind::Contrary => Step::AckContrary,
            };
            (step, Some(transaction))
        }
        Message::InDoubt {
            transaction, phase, ..
        } => {
            let step = match phase {
                1 => Step::InDoubtPrepared,
                2 => Step::InDoubtPreparing,
                4 => Step::InDoubtCommitted,
                _ => Step::InDoubtMarker,
            };
            (step, Some(transaction))
        }
        Message::ScanComplete => (Step::ScanComplete, None),
        Message::Answer {
            transaction, answer, ..
        } => {
            let step = match answer {
                1 => Step::AnswerWait,
                2 => Step::AnswerFinished,
                3 => Step::AnswerForgotten,
                _ => Step::AnswerNotMine,
            };
            (step, Some(transaction))
        }
        Message::Forget { transaction, .. } => (Step::Forget, Some(transaction)),
        Message::Goodbye => (Step::Goodbye, None),
    })
}
