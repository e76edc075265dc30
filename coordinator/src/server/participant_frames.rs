//! A participant's frames as events of the core. Every field is checked; a frame that breaks the rules ends the session.

use handfast_core::{
    Ack, AckKind, Decision, EnlistmentId, Event, InDoubtLine, InDoubtPhase, Lsn, Seen, SessionHello,
    SessionId, Vote,
};
use handfast_ids::{BranchId, Epoch, Generation, TransactionId};
use handfast_proto::status::{Failure, Reason};
use handfast_proto::{PROTOCOL_VERSION, convert, v1};

/// Logs, and epochs of them, that a hello may name as seen.
const SEEN_POSITIONS: usize = 1024;

/// Bytes of a stable reason, of words and of evidence; what is longer is cut.
const REASON_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 1024;
const EVIDENCE_BYTES: usize = 4096;

/// What a participant says of itself.
pub fn hello(hello: v1::Hello) -> Result<SessionHello, Failure> {
    if hello.protocol_version != PROTOCOL_VERSION {
        let message = format!(
            "the participant speaks version {} of the session protocol and the coordinator speaks {PROTOCOL_VERSION}; \
             upgrade the older one",
            hello.protocol_version
        );
        return Err(Failure::new(Reason::ProtocolVersion, message));
    }
    if hello.seen.len() > SEEN_POSITIONS {
        return Err(violation(format!(
            "hello.seen has {} entries; {SEEN_POSITIONS} are taken",
            hello.seen.len()
        )));
    }
    Ok(SessionHello {
        resource: convert::resource_name(&hello.resource)?,
        store: convert::store_id(&hello.store_id)?,
        generation: Generation(hello.generation),
        instance: convert::instance_id(&hello.instance_id)?,
        attached: hello.attached,
        one_phase: hello.one_phase,
        seen: hello.seen.into_iter().map(seen).collect::<Result<_, _>>()?,
    })
}

/// What a frame has besides the hello, in the order of the fields.
pub fn events(session: SessionId, frame: v1::SessionRequest) -> Result<Vec<Event>, Failure> {
    if frame.hello.is_some() {
        return Err(violation("hello was said already"));
    }
    let mut events = Vec::with_capacity(frame.enlistments.len() + frame.votes.len() + frame.acks.len() + 1);
    for enlist in frame.enlistments {
        events.push(Event::Enlist {
            session,
            transaction: id(&enlist.transaction_id)?,
            enlistment: EnlistmentId(enlist.enlistment),
        });
    }
    for vote in frame.votes {
        events.push(Event::Vote {
            session,
            transaction: id(&vote.transaction_id)?,
            branch: BranchId(vote.branch),
            vote: self::vote(vote)?,
        });
    }
    for ack in frame.acks {
        events.push(Event::Ack {
            session,
            transaction: id(&ack.transaction_id)?,
            branch: BranchId(ack.branch),
            ack: self::ack(ack)?,
        });
    }
    if !frame.in_doubt.is_empty() || frame.scan_complete {
        let lines = frame.in_doubt.iter().map(in_doubt).collect::<Result<_, _>>()?;
        events.push(Event::InDoubt {
            session,
            lines,
            complete: frame.scan_complete,
        });
    }
    Ok(events)
}

/// A frame that broke the rules.
pub fn violation(message: impl Into<String>) -> Failure {
    let message = format!("{}; the session ends, correct the participant", message.into());
    Failure::new(Reason::ProtocolViolation, message)
}

fn seen(seen: v1::Seen) -> Result<Seen, Failure> {
    if seen.epoch > Epoch::MAX.0 {
        return Err(violation(format!("hello.seen: there is no epoch {}", seen.epoch)));
    }
    Ok(Seen {
        log: convert::log_id(&seen.log_id)?,
        epoch: Epoch(seen.epoch),
        lsn: Lsn(seen.lsn),
    })
}

fn vote(vote: v1::Vote) -> Result<Vote, Failure> {
    match vote.kind() {
        v1::VoteKind::Prepared => Ok(Vote::Prepared {
            prepared_for_ms: (vote.prepared_for_ms > 0).then_some(vote.prepared_for_ms),
        }),
        v1::VoteKind::Committed => Ok(Vote::Committed),
        v1::VoteKind::ReadOnly => Ok(Vote::ReadOnly),
        v1::VoteKind::Refused => Ok(Vote::Refused {
            reason: cut(vote.reason, REASON_BYTES),
            message: cut(vote.message, MESSAGE_BYTES),
            retryable: vote.retryable,
        }),
        v1::VoteKind::Unspecified => Err(violation(format!("votes: kind {} is unknown", vote.kind))),
    }
}

fn ack(ack: v1::Ack) -> Result<Ack, Failure> {
    let decision = match ack.decision() {
        v1::DecisionKind::Commit => Decision::Commit,
        v1::DecisionKind::Abort => Decision::Abort,
        v1::DecisionKind::Resolve | v1::DecisionKind::Unspecified => {
            return Err(violation(format!("acks: decision {} is unknown", ack.decision)));
        }
    };
    let kind = match ack.kind() {
        v1::AckKind::Done => AckKind::Done,
        v1::AckKind::Hazard => AckKind::Hazard {
            evidence: cut(ack.evidence, EVIDENCE_BYTES),
        },
        v1::AckKind::Contrary => AckKind::Contrary {
            evidence: cut(ack.evidence, EVIDENCE_BYTES),
        },
        v1::AckKind::Unspecified => return Err(violation(format!("acks: kind {} is unknown", ack.kind))),
    };
    Ok(Ack { decision, kind })
}

fn in_doubt(line: &v1::InDoubt) -> Result<InDoubtLine, Failure> {
    Ok(InDoubtLine {
        transaction: id(&line.transaction_id)?,
        branch: BranchId(line.branch),
        log: convert::log_id(&line.log_id)?,
        phase: match line.phase() {
            v1::InDoubtPhase::Prepared => InDoubtPhase::Prepared,
            v1::InDoubtPhase::Preparing => InDoubtPhase::Preparing,
            v1::InDoubtPhase::Marker => InDoubtPhase::Marker,
            v1::InDoubtPhase::Committed => InDoubtPhase::Committed,
            v1::InDoubtPhase::Unspecified => {
                return Err(violation(format!("in_doubt: phase {} is unknown", line.phase)));
            }
        },
    })
}

fn id(bytes: &[u8]) -> Result<TransactionId, Failure> {
    convert::transaction_id(bytes).map_err(|failure| violation(failure.message))
}

/// At most `limit` bytes, cut at a character.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

#[cfg(test)]
mod tests;
