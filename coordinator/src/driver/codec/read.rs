//! Bytes to records. Every error names the byte and what was expected there.

use handfast_core::{
    AbortReason, BranchRecord, Decision, DecisionRecord, Deviation, DeviationKind, FinishedTransaction,
    KeyRecord, Lsn, Outcome, Record, Refusal, RequestDigest,
};
use handfast_ids::{
    BranchId, Epoch, Generation, IdempotencyKey, LogId, ResourceName, StoreId, TransactionId,
};

use super::{VERSION, abort, decision, deviation, outcome, tag};

/// Bytes that are no record of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the record: {message}")]
pub struct DecodeError {
    /// Where in the record.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// The record in these bytes, which must be used up.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let mut input = Input::of_version(bytes)?;
    let record = match input.byte()? {
        kind @ (tag::EPOCH_STARTED | tag::EPOCH_STARTED_BY_CLOCK) => {
            let (log, epoch) = (LogId(input.u128()?), input.epoch()?);
            let (predecessor_end, wall_ms) = (Lsn(input.number()?), input.number()?);
            Record::EpochStarted {
                log,
                epoch,
                predecessor_end,
                wall_ms,
                key_ms: match kind {
                    tag::EPOCH_STARTED => input.number()?,
                    _ => wall_ms,
                },
            }
        }
        tag::RESOURCE => Record::Resource {
            name: input.resource()?,
            store: StoreId(input.u128()?),
            generation: Generation(input.number()?),
        },
        tag::REGISTERED => Record::Registered {
            transaction: input.id()?,
            branches: input.list(Input::branch)?,
        },
        tag::DELEGATED => Record::Delegated {
            transaction: input.id()?,
            branch: input.branch()?,
            key: input.option(Input::key_record)?.map(Box::new),
        },
        tag::DECIDED => Record::Decided {
            transaction: input.id()?,
            decision: input.decided()?,
            branches: input.list(Input::branch)?,
            key: input.option(Input::key_record)?.map(Box::new),
        },
        tag::DEVIATED => Record::Deviated {
            transaction: input.id()?,
            deviation: input.deviated()?,
        },
        tag::ENDED => Record::Ended {
            transaction: input.id()?,
        },
        tag::HORIZON => Record::Horizon {
            transaction: input.id()?,
            key_ms: input.number()?,
        },
        tag::KEY_HELD => Record::KeyHeld {
            key: input.key_record()?,
            transaction: input.id()?,
            outcome: input.outcome()?,
        },
        tag::ENDED_COMMITS => Record::EndedCommits {
            transactions: input.list(Input::id)?,
        },
        unknown => return Err(input.unknown("tag", unknown)),
    };
    input.end()?;
    Ok(record)
}

/// The ended transaction in these bytes, which must be used up.
pub fn decode_finished(bytes: &[u8]) -> Result<FinishedTransaction> {
    let mut input = Input::of_version(bytes)?;
    let finished = FinishedTransaction {
        transaction: input.id()?,
        outcome: input.outcome()?,
        key: input.option(Input::key)?,
        branches: input.list(Input::branch)?,
    };
    input.end()?;
    Ok(finished)
}

/// What is left to read.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn of_version(bytes: &'a [u8]) -> Result<Input<'a>> {
        let mut input = Input { bytes, at: 0 };
        match input.byte()? {
            VERSION => Ok(input),
            unknown => Err(input.unknown("version", unknown)),
        }
    }

    fn decided(&mut self) -> Result<DecisionRecord> {
        match self.byte()? {
            decision::COMMIT => Ok(DecisionRecord::Commit),
            decision::ABORT => Ok(DecisionRecord::Abort(self.abort_reason()?)),
            unknown => Err(self.unknown("decision", unknown)),
        }
    }

    fn outcome(&mut self) -> Result<Outcome> {
        match self.byte()? {
            outcome::COMMITTED => Ok(Outcome::Committed),
            outcome::ABORTED => Ok(Outcome::Aborted {
                reason: self.abort_reason()?,
            }),
            outcome::HEURISTIC_COMMIT => self.heuristic(Decision::Commit),
            outcome::HEURISTIC_ABORT => self.heuristic(Decision::Abort),
            unknown => Err(self.unknown("outcome", unknown)),
        }
    }

    fn heuristic(&mut self, decision: Decision) -> Result<Outcome> {
        let evidence = self.list(Input::deviated)?;
        Ok(Outcome::Heuristic { decision, evidence })
    }

    fn abort_reason(&mut self) -> Result<AbortReason> {
        Ok(match self.byte()? {
            abort::REQUESTED => AbortReason::Requested,
            abort::DEADLINE => AbortReason::Deadline,
            abort::REFUSED => AbortReason::Refused(Box::new(Refusal {
                resource: self.resource()?,
                reason: self.text()?,
                message: self.text()?,
                retryable: self.flag()?,
            })),
            abort::SESSION_LOST => AbortReason::SessionLost {
                resource: self.resource()?,
            },
            abort::BRANCH_MISMATCH => AbortReason::BranchMismatch {
                message: self.text()?,
            },
            abort::PROMISE_EXPIRED => AbortReason::PromiseExpired {
                resource: self.resource()?,
            },
            abort::PRESUMED => AbortReason::Presumed,
            unknown => return Err(self.unknown("reason of an abort", unknown)),
        })
    }

    fn deviated(&mut self) -> Result<Deviation> {
        Ok(Deviation {
            branch: self.branch_id()?,
            resource: self.resource()?,
            kind: match self.byte()? {
                deviation::MIXED => DeviationKind::Mixed,
                deviation::HAZARD => DeviationKind::Hazard,
                unknown => return Err(self.unknown("kind of a deviation", unknown)),
            },
            evidence: self.text()?,
        })
    }

    fn branch(&mut self) -> Result<BranchRecord> {
        Ok(BranchRecord {
            branch: self.branch_id()?,
            resource: self.resource()?,
            store: StoreId(self.u128()?),
        })
    }

    fn key_record(&mut self) -> Result<KeyRecord> {
        Ok(KeyRecord {
            key: self.key()?,
            expires_at_ms: self.number()?,
            digest: RequestDigest(self.array()?),
        })
    }

    #[inline]
    pub(super) fn branch_id(&mut self) -> Result<BranchId> {
        self.u32().map(BranchId)
    }

    fn epoch(&mut self) -> Result<Epoch> {
        let epoch = Epoch(self.u32()?);
        if epoch > Epoch::MAX {
            return Err(self.wrong(format!("epoch {epoch} is above the highest one")));
        }
        Ok(epoch)
    }

    #[inline]
    pub(super) fn id(&mut self) -> Result<TransactionId> {
        let number = self.u128()?;
        TransactionId::from_u128(number).map_err(|error| self.wrong(error.to_string()))
    }

    fn resource(&mut self) -> Result<ResourceName> {
        let name = self.str()?;
        ResourceName::new(name).map_err(|error| self.wrong(error.to_string()))
    }

    fn key(&mut self) -> Result<IdempotencyKey> {
        let key = self.str()?;
        IdempotencyKey::new(key).map_err(|error| self.wrong(error.to_string()))
    }

    #[inline]
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            unknown => Err(self.unknown("flag", unknown)),
        }
    }

    fn option<T>(&mut self, some: impl Fn(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.flag()? {
            some(self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn list<T>(&mut self, each: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let length = self.length()?;
        (0..length).map(|_| each(self)).collect()
    }

    /// How many elements a list has.
    #[inline]
    pub(super) fn length(&mut self) -> Result<u64> {
        let length = self.number()?;
        // Every element takes a byte at least, so a length that lies cannot ask for memory.
        if length > (self.bytes.len() - self.at) as u64 {
            return Err(self.wrong(format!("a list of {length} does not fit into the rest")));
        }
        Ok(length)
    }

    fn text(&mut self) -> Result<String> {
        self.str().map(str::to_owned)
    }

    fn str(&mut self) -> Result<&'a str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| self.wrong(error.to_string()))
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        let length = usize::try_from(length).map_err(|_| self.wrong("a text is too long".to_owned()))?;
        self.take(length)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.wrong(format!("{number} is too large")))
    }

    #[inline]
    fn number(&mut self) -> Result<u64> {
        // Nearly all numbers are small.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number is longer than 64 bits".to_owned()))
    }

    #[inline]
    pub(super) fn u128(&mut self) -> Result<u128> {
        self.array().map(u128::from_be_bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives as many bytes as asked for"))
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            return Err(self.wrong(format!("{length} bytes are wanted and {} are left", rest.len())));
        };
        self.at += length;
        Ok(taken)
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(super) fn end(&self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(self.wrong(format!("{left} bytes are left over"))),
        }
    }

    #[cold]
    fn unknown(&self, what: &str, number: u8) -> DecodeError {
        let message = format!("{what} {number} is unknown; a newer program wrote it");
        DecodeError {
            at: self.at - 1,
            message,
        }
    }

    #[cold]
    fn wrong(&self, message: String) -> DecodeError {
        DecodeError { at: self.at, message }
    }
}
