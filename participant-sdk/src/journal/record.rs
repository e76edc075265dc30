//! What the journal's records look like. Numbers are little-endian, ids most significant byte first.
//!
//! ```text
//!   1 Store      store 16 · generation 8
//!   2 Prepared   branch · seen · operation, to the end
//!   3 Committed  branch · seen
//!   4 Aborted    branch · seen
//!   5 Forgotten  branch
//!   6 Seen       log 16 · epoch 4 · lsn 8                    in checkpoints only
//!   7 State      a record of the service, to the end         in checkpoints only
//!   8 CommittedAtOnce   branch · seen · operation, to the end
//!   9 Deviated   branch · seen · how 1 · evidence, UTF-8, to the end
//!
//!   branch = log 16 · transaction 16 · branch 4              seen = epoch 4 · lsn 8, of the same log
//! ```
//!
//! Each begins with its tag, one byte. Tags are never used again for something else. Length and checksum are the log's.

use bytes::Bytes;
use handfast_proto::ids::{BranchId, Epoch, Generation, LogId, StoreId, TransactionId};

use crate::resource::{BranchKey, Completion, Decision, SeenLog};

const STORE: u8 = 1;
const PREPARED: u8 = 2;
const COMMITTED: u8 = 3;
const ABORTED: u8 = 4;
const FORGOTTEN: u8 = 5;
const SEEN: u8 = 6;
const STATE: u8 = 7;
const COMMITTED_AT_ONCE: u8 = 8;
const DEVIATED: u8 = 9;

/// How the end of a branch differs from its decision, as far as that is known. The numbers are those of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deviation {
    /// It was to commit, and nobody can tell what became of it.
    UnknownCommit = 1,
    /// It was to commit, and it has not.
    RefusedCommit = 2,
    /// It was to abort, and it has not.
    RefusedAbort = 3,
}

impl Deviation {
    /// What a completion that is not "done" says of this decision; `None` for those that are not written down.
    pub fn of(decision: Decision, completion: &Completion) -> Option<(Self, &str)> {
        match (decision, completion) {
            (Decision::Commit, Completion::Hazard(evidence)) => Some((Deviation::UnknownCommit, evidence)),
            (Decision::Commit, Completion::Contrary(evidence)) => Some((Deviation::RefusedCommit, evidence)),
            (Decision::Abort, Completion::Contrary(evidence)) => Some((Deviation::RefusedAbort, evidence)),
            (Decision::Abort, Completion::Hazard(_)) | (_, Completion::Done) => None,
        }
    }

    /// What is said when the decision comes again. Of the other decision, nothing more is known than the evidence.
    pub fn completion(self, decision: Decision, evidence: &str) -> Completion {
        match (self, decision) {
            (Deviation::RefusedCommit, Decision::Commit) | (Deviation::RefusedAbort, Decision::Abort) => {
                Completion::Contrary(evidence.to_owned())
            }
            _ => Completion::Hazard(evidence.to_owned()),
        }
    }
}

/// A record of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Which store this is. The first record of a journal, and of each checkpoint.
    Store {
        /// Made of random bits with the journal.
        store: StoreId,
        /// Which life of it.
        generation: Generation,
    },
    /// The branch is promised.
    Prepared {
        /// Which one.
        branch: BranchKey,
        /// What its coordinator's log was.
        seen: SeenLog,
        /// What was promised.
        operation: Bytes,
    },
    /// The only branch of its transaction is promised, and kept, in one step; proves it until the branch is forgotten.
    CommittedAtOnce {
        /// Which one.
        branch: BranchKey,
        /// What its coordinator's log was.
        seen: SeenLog,
        /// What was done.
        operation: Bytes,
    },
    /// The promise was kept; proves it until the branch is forgotten.
    Committed {
        /// Which one.
        branch: BranchKey,
        /// What its coordinator's log was.
        seen: SeenLog,
    },
    /// The branch was let go, or never promised; keeps late work out until the branch is forgotten.
    Aborted {
        /// Which one.
        branch: BranchKey,
        /// What its coordinator's log was.
        seen: SeenLog,
    },
    /// The branch ended, and not as was decided; says so until it is forgotten. Only in the journals of resources that keep
    /// what they do outside of their journal.
    Deviated {
        /// Which one.
        branch: BranchKey,
        /// What its coordinator's log was.
        seen: SeenLog,
        /// How it ended.
        deviation: Deviation,
        /// What the store said.
        evidence: String,
    },
    /// Nobody will ask about the branch again.
    Forgotten {
        /// Which one.
        branch: BranchKey,
    },
    /// The most that was seen of a log.
    Seen(SeenLog),
    /// A part of the service's state.
    State(Bytes),
}

impl Record {
    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        match self {
            Record::Store { store, generation } => {
                bytes.push(STORE);
                bytes.extend_from_slice(&store.to_bytes());
                bytes.extend_from_slice(&generation.0.to_le_bytes());
            }
            Record::Prepared {
                branch,
                seen,
                operation,
            } => {
                put_branch(&mut bytes, PREPARED, branch);
                put_seen(&mut bytes, seen);
                bytes.extend_from_slice(operation);
            }
            Record::CommittedAtOnce {
                branch,
                seen,
                operation,
            } => {
                put_branch(&mut bytes, COMMITTED_AT_ONCE, branch);
                put_seen(&mut bytes, seen);
                bytes.extend_from_slice(operation);
            }
            Record::Committed { branch, seen } => {
                put_branch(&mut bytes, COMMITTED, branch);
                put_seen(&mut bytes, seen);
            }
            Record::Aborted { branch, seen } => {
                put_branch(&mut bytes, ABORTED, branch);
                put_seen(&mut bytes, seen);
            }
            Record::Deviated {
                branch,
                seen,
                deviation,
                evidence,
            } => {
                put_branch(&mut bytes, DEVIATED, branch);
                put_seen(&mut bytes, seen);
                bytes.push(*deviation as u8);
                bytes.extend_from_slice(evidence.as_bytes());
            }
            Record::Forgotten { branch } => put_branch(&mut bytes, FORGOTTEN, branch),
            Record::Seen(seen) => {
                bytes.push(SEEN);
                bytes.extend_from_slice(&seen.log.to_bytes());
                put_seen(&mut bytes, seen);
            }
            Record::State(state) => {
                bytes.push(STATE);
                bytes.extend_from_slice(state);
            }
        }
        bytes
    }

    /// The record in these bytes, or what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        let (tag, rest) = bytes.split_first().ok_or("it is empty")?;
        let mut rest = Rest(rest);
        let record = match *tag {
            STORE => Record::Store {
                store: StoreId(rest.id()?),
                generation: Generation(rest.u64()?),
            },
            PREPARED => {
                let branch = rest.branch()?;
                let seen = rest.seen(branch.log)?;
                Record::Prepared {
                    branch,
                    seen,
                    operation: rest.all(),
                }
            }
            COMMITTED_AT_ONCE => {
                let branch = rest.branch()?;
                let seen = rest.seen(branch.log)?;
                Record::CommittedAtOnce {
                    branch,
                    seen,
                    operation: rest.all(),
                }
            }
            COMMITTED => {
                let branch = rest.branch()?;
                Record::Committed {
                    branch,
                    seen: rest.seen(branch.log)?,
                }
            }
            ABORTED => {
                let branch = rest.branch()?;
                Record::Aborted {
                    branch,
                    seen: rest.seen(branch.log)?,
                }
            }
            DEVIATED => {
                let branch = rest.branch()?;
                Record::Deviated {
                    branch,
                    seen: rest.seen(branch.log)?,
                    deviation: rest.deviation()?,
                    evidence: String::from_utf8(rest.all().into()).map_err(|error| error.to_string())?,
                }
            }
            FORGOTTEN => Record::Forgotten {
                branch: rest.branch()?,
            },
            SEEN => {
                let log = LogId(rest.id()?);
                Record::Seen(rest.seen(log)?)
            }
            STATE => Record::State(rest.all()),
            unknown => return Err(format!("its tag {unknown} is unknown")),
        };
        match rest.0 {
            [] => Ok(record),
            more => Err(format!("{} bytes are left over", more.len())),
        }
    }
}

fn put_branch(bytes: &mut Vec<u8>, tag: u8, branch: &BranchKey) {
    bytes.push(tag);
    bytes.extend_from_slice(&branch.log.to_bytes());
    bytes.extend_from_slice(&branch.transaction.to_bytes());
    bytes.extend_from_slice(&branch.branch.0.to_le_bytes());
}

fn put_seen(bytes: &mut Vec<u8>, seen: &SeenLog) {
    bytes.extend_from_slice(&seen.epoch.0.to_le_bytes());
    bytes.extend_from_slice(&seen.lsn.to_le_bytes());
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.0.split_first_chunk().ok_or("it is too short")?;
        self.0 = rest;
        Ok(*array)
    }

    fn id(&mut self) -> Result<u128, String> {
        self.array().map(u128::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn branch(&mut self) -> Result<BranchKey, String> {
        let log = LogId(self.id()?);
        let transaction = TransactionId::from_u128(self.id()?).map_err(|error| error.to_string())?;
        Ok(BranchKey {
            log,
            transaction,
            branch: BranchId(self.u32()?),
        })
    }

    fn seen(&mut self, log: LogId) -> Result<SeenLog, String> {
        Ok(SeenLog {
            log,
            epoch: Epoch(self.u32()?),
            lsn: self.u64()?,
        })
    }

    fn deviation(&mut self) -> Result<Deviation, String> {
        let known = [
            Deviation::UnknownCommit,
            Deviation::RefusedCommit,
            Deviation::RefusedAbort,
        ];
        let [number] = self.array()?;
        known
            .into_iter()
            .find(|deviation| *deviation as u8 == number)
            .ok_or_else(|| format!("its deviation {number} is unknown"))
    }

    fn all(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.0))
    }
}
