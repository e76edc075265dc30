//! What waits to be sent: answers gather here while the last frame is being written, and go out as one frame.

use std::collections::VecDeque;

use handfast_proto::{convert, v1};

use crate::resource::{BranchKey, Completion, Decision, ScanLine, ScanPhase, Vote};

/// Lines of a scan in one frame.
pub(crate) const LINES_PER_FRAME: usize = 10_000;
/// Votes, acknowledgements and enlistments in one frame.
const ANSWERS_PER_FRAME: usize = 10_000;
/// With more answers waiting than this, no more is taken in until the peer has read some.
const ANSWERS_WAITING: usize = 50_000;
/// What a message costs beside its texts: ids, tags, lengths.
const MESSAGE_BYTES: usize = 64;
/// Longest text of a vote or an acknowledgement; the rest is cut off.
const TEXT_BYTES: usize = 2048;

/// Messages in the order in which they are to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    enlistments: VecDeque<v1::Enlist>,
    votes: VecDeque<v1::Vote>,
    acks: VecDeque<v1::Ack>,
    lines: VecDeque<v1::InDoubt>,
    /// A complete scan ends with the last of `lines`.
    scan_to_complete: bool,
}

impl Outbox {
    pub(crate) fn enlist(&mut self, enlist: v1::Enlist) {
        self.enlistments.push_back(enlist);
    }

    pub(crate) fn vote(&mut self, branch: BranchKey, vote: &Vote) {
        let mut wire = v1::Vote {
            transaction_id: convert::transaction_id_bytes(branch.transaction),
            branch: branch.branch.0,
            ..v1::Vote::default()
        };
        match vote {
            Vote::Prepared { prepared_for } => {
                wire.set_kind(v1::VoteKind::Prepared);
                // 0 means for ever, so a promise that is all but over lasts a millisecond.
                let millis = |promise: &std::time::Duration| {
                    u64::try_from(promise.as_millis()).unwrap_or(u64::MAX).max(1)
                };
                wire.prepared_for_ms = prepared_for.as_ref().map_or(0, millis);
            }
            Vote::Committed => wire.set_kind(v1::VoteKind::Committed),
            Vote::ReadOnly => wire.set_kind(v1::VoteKind::ReadOnly),
            Vote::Refused(refusal) => {
                wire.set_kind(v1::VoteKind::Refused);
                wire.reason = cut(&refusal.reason);
                wire.message = cut(&refusal.message);
                wire.retryable = refusal.retryable;
            }
        }
        self.votes.push_back(wire);
    }

    pub(crate) fn ack(&mut self, branch: BranchKey, decision: Decision, completion: &Completion) {
        let (kind, evidence) = match completion {
            Completion::Done => (v1::AckKind::Done, ""),
            Completion::Hazard(evidence) => (v1::AckKind::Hazard, evidence.as_str()),
            Completion::Contrary(evidence) => (v1::AckKind::Contrary, evidence.as_str()),
        };
        let decision = match decision {
            Decision::Commit => v1::DecisionKind::Commit,
            Decision::Abort => v1::DecisionKind::Abort,
        };
        self.acks.push_back(v1::Ack {
            transaction_id: convert::transaction_id_bytes(branch.transaction),
            branch: branch.branch.0,
            decision: decision.into(),
            kind: kind.into(),
            evidence: cut(evidence),
        });
    }

    /// Queues a complete scan. Not while one is being sent.
    pub(crate) fn scan(&mut self, lines: &[ScanLine]) {
        assert!(!self.is_sending_scan(), "one scan is sent at a time");
        self.lines.extend(lines.iter().map(line));
        self.scan_to_complete = true;
    }

    pub(crate) fn is_sending_scan(&self) -> bool {
        self.scan_to_complete
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.answers() == 0 && !self.scan_to_complete
    }

    pub(crate) fn has_room(&self) -> bool {
        self.answers() < ANSWERS_WAITING
    }

    /// Whatever has gathered, as far as it fits a frame of this many bytes.
    pub(crate) fn take_frame(&mut self, frame_bytes: usize) -> v1::SessionRequest {
        let mut room = Room {
            messages: ANSWERS_PER_FRAME,
            bytes: frame_bytes,
        };
        let enlistments = room.fill(&mut self.enlistments, |_| 0);
        let votes = room.fill(&mut self.votes, |vote| vote.reason.len() + vote.message.len());
        let acks = room.fill(&mut self.acks, |ack| ack.evidence.len());
        room.messages = LINES_PER_FRAME;
        let in_doubt = room.fill(&mut self.lines, |_| 0);
        let scan_complete = self.scan_to_complete && self.lines.is_empty();
        self.scan_to_complete &= !scan_complete;
        v1::SessionRequest {
            enlistments,
            votes,
            acks,
            in_doubt,
            scan_complete,
            ..v1::SessionRequest::default()
        }
    }

    fn answers(&self) -> usize {
        self.enlistments.len() + self.votes.len() + self.acks.len()
    }
}

struct Room {
    messages: usize,
    bytes: usize,
}

impl Room {
    /// Takes messages from the front. Whatever fits now leaves now; the rest leaves later.
    fn fill<T>(&mut self, queue: &mut VecDeque<T>, text_bytes: impl Fn(&T) -> usize) -> Vec<T> {
        let mut taken = 0;
        for message in queue.iter() {
            let bytes = MESSAGE_BYTES + text_bytes(message);
            if self.messages == 0 || bytes > self.bytes {
                break;
            }
            self.messages -= 1;
            self.bytes -= bytes;
            taken += 1;
        }
        queue.drain(..taken).collect()
    }
}

fn line(line: &ScanLine) -> v1::InDoubt {
    let phase = match line.phase {
        ScanPhase::Prepared => v1::InDoubtPhase::Prepared,
        ScanPhase::Preparing => v1::InDoubtPhase::Preparing,
        ScanPhase::Marker => v1::InDoubtPhase::Marker,
        ScanPhase::Committed => v1::InDoubtPhase::Committed,
    };
    v1::InDoubt {
        transaction_id: convert::transaction_id_bytes(line.branch.transaction),
        branch: line.branch.branch.0,
        log_id: line.branch.log.to_bytes().to_vec().into(),
        phase: phase.into(),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES {
        return text.to_owned();
    }
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}

#[cfg(test)]
mod tests;
