//! What happened, in order: hashed always, and kept as text only for somebody who reads it.
//!
//! Two runs of a seed are the same if their hashes are.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use handfast_ids::{BranchId, Epoch, Generation, LogId, StoreId, TransactionId};

use crate::digest::Digest;
use crate::plan::Fault;
use crate::scenario::{Matter, Moment};

/// Who.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Node {
    /// A coordinator.
    Coordinator(u8),
    /// A participant.
    Participant(u8),
    /// A client.
    Client(u8),
}

/// A transaction. Ids are unique within a log only: two coordinators can mint the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Transaction {
    /// Whose.
    pub coordinator: u8,
    /// Its id.
    pub id: TransactionId,
}

/// A decision, as it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Decision {
    /// All happens.
    Commit,
    /// Nothing happens.
    Abort,
}

/// A vote, without its words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VoteKind {
    /// It can do both.
    Prepared,
    /// It has committed at once.
    Committed,
    /// It changed nothing.
    ReadOnly,
    /// It cannot commit.
    Refused,
}

/// An acknowledgement, without its words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AckKind {
    /// The effect is durable.
    Done,
    /// Nobody can tell.
    Hazard,
    /// It ended the other way.
    Contrary,
}

/// A message between a participant and a coordinator, seen at the participant's end of the wire: one to the coordinator
/// as it is handed to the network, one from the coordinator before the network has done anything to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the words of the protocol
pub enum Message {
    Hello {
        store: StoreId,
        generation: Generation,
        seen_epoch: Epoch,
        seen_lsn: u64,
    },
    Welcome {
        log: LogId,
        epoch: Epoch,
        durable: u64,
    },
    Durable {
        durable: u64,
    },
    Enlist {
        transaction: Transaction,
    },
    Enlisted {
        transaction: Transaction,
        branch: BranchId,
        is_refused: bool,
    },
    Prepare {
        transaction: Transaction,
        branch: BranchId,
        intent: Option<u32>,
    },
    Vote {
        transaction: Transaction,
        branch: BranchId,
        vote: VoteKind,
    },
    Decision {
        transaction: Transaction,
        branch: BranchId,
        decision: Decision,
    },
    Resolve {
        transaction: Transaction,
        branch: BranchId,
    },
    Ack {
        transaction: Transaction,
        branch: BranchId,
        decision: Decision,
        ack: AckKind,
    },
    InDoubt {
        transaction: Transaction,
        branch: BranchId,
        phase: i32,
    },
    ScanComplete,
    Answer {
        transaction: Transaction,
        branch: BranchId,
        answer: i32,
    },
    Forget {
        transaction: Transaction,
        branch: BranchId,
    },
    Goodbye,
}

/// What a client was told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    /// All of it happens.
    Committed(Transaction),
    /// Nothing of it happens; why.
    Aborted(Option<Transaction>, String),
    /// Nobody can tell the client.
    Unknown(Option<Transaction>),
    /// A participant deviated.
    Heuristic(Transaction),
    /// Nothing was executed; why.
    Rejected(String),
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A process begins.
    Started(Node),
    /// A coordinator serves.
    Serves(Node),
    /// A process ends by itself; why.
    Ended(Node, String),
    /// A fault is injected.
    Injected(Fault, Option<Node>),
    /// Which bit of a disk was flipped: file and bit. None, if there was nothing to flip.
    Flipped(Node, Option<(String, u64)>),
    /// A scenario does something, perhaps to a node.
    Scripted(Option<Node>, String),
    /// Something goes to a disk: what, and the first LSN of the batch. Only noted for whoever reads the trace.
    Logged(Node, Moment, Vec<Matter>, u64),
    /// The right store is back in the place of a copy that was too old.
    PutRight(Node),
    /// No faults from here on.
    Healed,
    /// A session's connection number, and a message over it.
    Message(Node, u32, Message),
    /// A session is over, at the participant's end.
    SessionOver(Node, u32),
    /// A client begins with an intent.
    Begun(Node, u32),
    /// An interactive transaction has an id.
    Opened(Node, u32, Transaction),
    /// A client was told how its intent came out.
    Told(Node, u32, Told),
    /// Somebody looked, and was told of a decision.
    Read(Node, Transaction, Decision),
    /// A property does not hold.
    Violation(String),
}

/// The running hash, and the lines if somebody wants to read them.
#[derive(Debug)]
pub struct Trace {
    digest: Digest,
    events: u64,
    lines: Option<Vec<(Duration, Event)>>,
}

impl Trace {
    /// An empty trace, kept if `is_kept`.
    pub fn new(is_kept: bool) -> Self {
        Trace {
            digest: Digest::default(),
            events: 0,
            lines: is_kept.then(Vec::new),
        }
    }

    /// Takes an event.
    pub fn take(&mut self, at: Duration, event: &Event) {
        (at, event).hash(&mut self.digest);
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push((at, event.clone()));
        }
    }

    /// Keeps an event for whoever reads, without counting it among those that two runs must have in common.
    pub fn note(&mut self, at: Duration, event: &Event) {
        if let Some(lines) = &mut self.lines {
            lines.push((at, event.clone()));
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.digest.finish()
    }

    /// Whether the events are kept.
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// How many events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The events, if they were kept.
    pub fn lines(&self) -> &[(Duration, Event)] {
        self.lines.as_deref().unwrap_or_default()
    }
}

impl Event {
    /// Which intent a transaction stands for, if the event tells.
    pub fn names(&self) -> Option<(Transaction, u32)> {
        match self {
            Event::Opened(_, intent, transaction) => Some((*transaction, *intent)),
            Event::Message(
                _,
                _,
                Message::Prepare {
                    transaction,
                    intent: Some(intent),
                    ..
                },
            ) => Some((*transaction, *intent)),
            _ => None,
        }
    }
}

impl Node {
    /// The node of its kind that is so many further.
    #[must_use]
    pub fn plus(self, count: u8) -> Node {
        match self {
            Node::Coordinator(number) => Node::Coordinator(number.saturating_add(count)),
            Node::Participant(number) => Node::Participant(number.saturating_add(count)),
            Node::Client(number) => Node::Client(number.saturating_add(count)),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Coordinator(number) => write!(f, "c{number}"),
            Node::Participant(number) => write!(f, "p{number}"),
            Node::Client(number) => write!(f, "a{number}"),
        }
    }
}

/// The part of an id that differs within a run.
impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transaction { coordinator, id } = self;
        write!(
            f,
            "c{coordinator}:{:05}.{}.{}",
            id.milliseconds() % 100_000,
            id.epoch(),
            id.sequence()
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started(node) => write!(f, "{node:<3} starts"),
            Event::Serves(node) => write!(f, "{node:<3} serves"),
            Event::Ended(node, why) => write!(f, "{node:<3} ends: {why}"),
            Event::Injected(fault, Some(node)) => write!(f, "{node:<3} ⚡ {}", fault.name()),
            Event::Injected(fault, None) => write!(f, "    ⚡ {}", fault.name()),
            Event::Flipped(node, Some((file, bit))) => write!(f, "{node:<3} bit {bit} of {file} is flipped"),
            Event::Flipped(node, None) => write!(f, "{node:<3} has no bit to flip"),
            Event::Scripted(Some(node), what) => write!(f, "{node:<3} ⚡ {what}"),
            Event::Scripted(None, what) => write!(f, "    ⚡ {what}"),
            Event::Logged(node, moment, matters, lsn) => {
                let matters: Vec<&str> = matters.iter().map(|matter| matter.word()).collect();
                write!(f, "{node:<3} ▤ {} {}", moment.word(), matters.join(", "))?;
                if *lsn > 0 {
                    write!(f, " from {lsn}")?;
                }
                Ok(())
            }
            Event::PutRight(node) => write!(f, "{node:<3} the right store is back"),
            Event::Healed => f.write_str("    no more faults"),
            Event::Message(node, session, message) => write!(f, "{node:<3} #{session:<3} {message}"),
            Event::SessionOver(node, session) => write!(f, "{node:<3} #{session:<3} over"),
            Event::Begun(node, intent) => write!(f, "{node:<3} intent {intent}"),
            Event::Opened(node, intent, id) => write!(f, "{node:<3} intent {intent} is {}", id),
            Event::Told(node, intent, told) => write!(f, "{node:<3} intent {intent}: {told}"),
            Event::Read(node, transaction, decision) => {
                write!(f, "{node:<3} reads {decision:?} of {transaction}")
            }
            Event::Violation(what) => write!(f, "    ✗ {what}"),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Committed(id) => write!(f, "{} committed", id),
            Told::Aborted(Some(id), why) => write!(f, "{} aborted, {why}", id),
            Told::Aborted(None, why) => write!(f, "aborted, {why}"),
            Told::Unknown(Some(id)) => write!(f, "{} unknown", id),
            Told::Unknown(None) => f.write_str("unknown"),
            Told::Heuristic(id) => write!(f, "{} heuristic", id),
            Told::Rejected(why) => write!(f, "rejected, {why}"),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = |transaction: &Transaction, branch: &BranchId| format!("{transaction}/{branch}");
        match self {
            Message::Hello {
                seen_epoch, seen_lsn, ..
            } => write!(f, "→ hello, seen {seen_epoch}:{seen_lsn}"),
            Message::Welcome { epoch, durable, .. } => write!(f, "← welcome {epoch}:{durable}"),
            Message::Durable { durable } => write!(f, "← durable {durable}"),
            Message::Enlist { transaction } => write!(f, "→ enlist {}", transaction),
            Message::Enlisted {
                transaction,
                branch: number,
                is_refused,
            } => {
                let how = if *is_refused { "refused" } else { "enlisted" };
                write!(f, "← {how} {}", branch(transaction, number))
            }
            Message::Prepare {
                transaction,
                branch: number,
                ..
            } => {
                write!(f, "← prepare {}", branch(transaction, number))
            }
            Message::Vote {
                transaction,
                branch: number,
                vote,
            } => {
                write!(f, "→ vote {} {vote:?}", branch(transaction, number))
            }
            Message::Decision {
                transaction,
                branch: number,
                decision,
            } => {
                write!(f, "← {decision:?} {}", branch(transaction, number))
            }
            Message::Resolve {
                transaction,
                branch: number,
            } => {
                write!(f, "← resolve {}", branch(transaction, number))
            }
            Message::Ack {
                transaction,
                branch: number,
                decision,
                ack,
            } => {
                write!(f, "→ ack {decision:?} {} {ack:?}", branch(transaction, number))
            }
            Message::InDoubt {
                transaction,
                branch: number,
                phase,
            } => {
                write!(f, "→ in doubt {} phase {phase}", branch(transaction, number))
            }
            Message::ScanComplete => f.write_str("→ scan complete"),
            Message::Answer {
                transaction,
                branch: number,
                answer,
            } => {
                write!(f, "← answer {} {answer}", branch(transaction, number))
            }
            Message::Forget {
                transaction,
                branch: number,
            } => {
                write!(f, "← forget {}", branch(transaction, number))
            }
            Message::Goodbye => f.write_str("goodbye"),
        }
    }
}
