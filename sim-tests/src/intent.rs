//! What applications want: the parts of a transaction, and how a part is written as an operation.

use bytes::Bytes;

use crate::workload::LONG_AGO_MS;

/// One thing that an application wants done, whatever it takes.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Its number, unique in a run.
    pub number: u32,
    /// Who wants it.
    pub client: u8,
    /// Which coordinator is asked.
    pub coordinator: u8,
    /// How it is asked for.
    pub style: Style,
    /// What is to be done where.
    pub parts: Vec<Part>,
    /// Milliseconds that the transaction may take.
    pub timeout_ms: u64,
    /// Whether the answer waits for all participants.
    pub waits_for_all: bool,
    /// Whether its client goes on to the next without waiting for the answer.
    pub does_not_wait: bool,
    /// Whether somebody looks meanwhile.
    pub is_watched: bool,
    /// Milliseconds until the client begins with it.
    pub pause_ms: u64,
    /// Whether it stands in a scenario, and was not made by chance.
    pub is_scripted: bool,
}

/// How it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Style {
    /// One request without a key.
    OneShot,
    /// One request under a key, asked again until its outcome is known.
    Keyed {
        /// The key.
        key: String,
        /// How many send it at once.
        at_once: u8,
        /// When the key expires, in Unix milliseconds.
        expires_at_ms: u64,
    },
    /// Begin, work, and then this.
    Interactive(Finish),
}

/// How an interactive transaction is finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// Commit what was done.
    Commit,
    /// Abort.
    Abort,
    /// Both at once.
    CommitAndAbort,
    /// Commit something else than what was done.
    Miscount,
    /// Neither.
    Leave,
    /// Commit the branches that have joined, without those that were too late.
    CommitWhatJoined,
}

/// What is to be done at one participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where.
    pub participant: u8,
    /// What.
    pub work: Work,
    /// Milliseconds that preparing takes.
    pub slow_ms: u16,
    /// Milliseconds for which the promise holds; 0 for ever.
    pub promise_ms: u16,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Add to an account. It is refused if the account would fall below zero.
    Add {
        /// Which.
        account: u8,
        /// How much; negative to take away.
        amount: i32,
    },
    /// Look, and change nothing.
    Read,
    /// Be refused.
    Refuse,
}

/// An operation, as a store reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Operation {
    /// Of which intent.
    pub intent: u32,
    /// Which part of it.
    pub part: u8,
    /// 0 to add, 1 to read, 2 to refuse.
    kind: u8,
    /// Of what is added to.
    pub account: u8,
    /// What is added.
    pub amount: i32,
    /// Milliseconds that preparing takes.
    pub slow_ms: u16,
    /// Milliseconds for which the promise holds; 0 for ever.
    pub promise_ms: u16,
}

impl Intent {
    /// The operation of a part.
    pub fn operation(&self, part: usize) -> Operation {
        let Part {
            work,
            slow_ms,
            promise_ms,
            ..
        } = self.parts[part];
        let (kind, account, amount) = match work {
            Work::Add { account, amount } => (0, account, amount),
            Work::Read => (1, 0, 0),
            Work::Refuse => (2, 0, 0),
        };
        let part = u8::try_from(part).expect("a transaction has few parts");
        Operation {
            intent: self.number,
            part,
            kind,
            account,
            amount,
            slow_ms,
            promise_ms,
        }
    }

    /// Parts that leave an effect.
    pub fn effects(&self) -> impl Iterator<Item = (u8, &Part)> {
        (0..)
            .zip(&self.parts)
            .filter(|(_, part)| matches!(part.work, Work::Add { .. }))
    }

    /// Whether some store is asked to refuse, so that it must not commit.
    pub fn must_abort(&self) -> bool {
        self.parts.iter().any(|part| part.work == Work::Refuse)
    }

    /// Whether it is asked for under a key that has expired.
    pub fn is_expired(&self) -> bool {
        matches!(self.style, Style::Keyed { expires_at_ms, .. } if expires_at_ms == LONG_AGO_MS)
    }

    /// The key that an intent of this number has of its own.
    pub fn key_of(number: u32) -> String {
        format!("intent-{number}")
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&str> {
        match &self.style {
            Style::Keyed { key, .. } => Some(key),
            Style::OneShot | Style::Interactive(_) => None,
        }
    }
}

impl Operation {
    /// One that only looks.
    pub const READ: Operation = Operation {
        intent: u32::MAX,
        part: 0,
        kind: 1,
        account: 0,
        amount: 0,
        slow_ms: 0,
        promise_ms: 0,
    };

    /// How many bytes one takes.
    const BYTES: usize = 15;

    /// Whether it leaves an effect.
    pub fn adds(&self) -> bool {
        self.kind == 0
    }

    /// Whether it asks to be refused.
    pub fn refuses(&self) -> bool {
        self.kind == 2
    }

    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend(self.intent.to_le_bytes());
        bytes.extend([self.part, self.kind, self.account]);
        bytes.extend(self.amount.to_le_bytes());
        bytes.extend(self.slow_ms.to_le_bytes());
        bytes.extend(self.promise_ms.to_le_bytes());
        bytes.into()
    }

    /// From bytes; `None` if they are no operation.
    pub fn decode(bytes: &[u8]) -> Option<Operation> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Operation {
            intent: u32::from_le_bytes(bytes[0..4].try_into().ok()?),
            part: bytes[4],
            kind: bytes[5],
            account: bytes[6],
            amount: i32::from_le_bytes(bytes[7..11].try_into().ok()?),
            slow_ms: u16::from_le_bytes(bytes[11..13].try_into().ok()?),
            promise_ms: u16::from_le_bytes(bytes[13..15].try_into().ok()?),
        })
    }
}
