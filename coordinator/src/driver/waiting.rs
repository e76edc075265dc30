//! What waits for one session, and how much memory its operations take.
//!
//! The core counts the operations of what waits for votes, and gives their room back once a transaction is given up. Its
//! prepares may still wait here, for a participant that does not read. So what has been given up goes before it takes as much
//! memory again as what is wanted.

use std::collections::{BTreeSet, VecDeque};

use handfast_core::{Decision, Message};

/// Operations up to this many bytes are not looked through.
const SLACK_BYTES: usize = 16 << 20;

/// Messages in the order in which they are sent.
#[derive(Debug)]
pub struct Waiting {
    messages: VecDeque<Message>,
    /// Of the operations in them.
    bytes: usize,
    /// More bytes than this are looked through.
    sweep_above: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting {
            messages: VecDeque::new(),
            bytes: 0,
            sweep_above: SLACK_BYTES,
        }
    }
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Waiting::default();
    }

    /// False if what is wanted takes more than `most_bytes`: what was given up may have been told to another session.
    #[must_use]
    pub fn push(&mut self, message: Message, most_bytes: usize) -> bool {
        self.bytes += operation_bytes(&message);
        self.messages.push_back(message);
        if self.bytes > self.sweep_above.min(most_bytes) {
            self.sweep();
        }
        self.bytes <= most_bytes
    }

    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= operation_bytes(&message);
        Some(message)
    }

    /// Drops the prepares of branches whose abort, or the question how they came out, waits behind them: the participant will do
    /// as if the prepare had been lost.
    fn sweep(&mut self) {
        let given_up: BTreeSet<_> = self
            .messages
            .iter()
            .filter_map(|message| match *message {
                Message::Decision {
                    transaction,
                    branch,
                    decision: Decision::Abort,
                }
                | Message::Resolve { transaction, branch } => Some((transaction, branch)),
                _ => None,
            })
            .collect();
        self.messages.retain(|message| match message {
            Message::Prepare {
                transaction, branch, ..
            } => !given_up.contains(&(*transaction, *branch)),
            _ => true,
        });
        self.bytes = self.messages.iter().map(operation_bytes).sum();
        // Each look through the messages is paid for by as many bytes as it left.
        self.sweep_above = 2 * self.bytes + SLACK_BYTES;
    }
}

/// The bytes of the operation that a message carries.
pub fn operation_bytes(message: &Message) -> usize {
    match message {
        Message::Prepare {
            operation: Some(operation),
            ..
        } => operation.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
