//! What the records of the journal topic look like. Numbers are little-endian, ids most significant byte first.
//!
//! ```text
//!   key                                value
//!   1 Store    store 16                layout 1 · cluster, to the end
//!   2 Promise  branch                  seen · producer 8 · epoch 2 · transactional id · places · operation, to the end
//!   3 Fence    branch · nonce 16       0
//!   4 End      branch                  1 committed, 2 aborted, 3 lost · evidence, to the end
//!   5 Seen     log 16                  seen
//!   6 Reap     nonce 16                producer 8 · epoch 2 · transactional id
//!
//!   branch = log 16 · transaction 16 · branch 4          seen = epoch 4 · lsn 8, of the branch's log
//!   text   = length 4 · UTF-8                            places = text, for people: the partitions and the group that it holds
//! ```
//!
//! A key is that of a Kafka record, which compaction keeps the last value of. So what must not be replaced has a key of its
//! own: a second fence of a branch does not move the first one behind a promise. A record without a value takes its key out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use handfast_proto::ids::{BranchId, Epoch, LogId, StoreId, TransactionId};

use crate::resource::{BranchKey, SeenLog};

/// The layout that this build writes and reads.
pub(super) const LAYOUT: u8 = 1;

const STORE: u8 = 1;
const PROMISE: u8 = 2;
const FENCE: u8 = 3;
const END: u8 = 4;
const SEEN: u8 = 5;
const REAP: u8 = 6;

/// Which record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Store(StoreId),
    Promise(BranchKey),
    Fence(BranchKey, u128),
    End(BranchKey),
    Seen(LogId),
    Reap(u128),
}

/// Names one transaction for ever: the id is initialised before each branch, which raises the epoch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct KafkaTransaction {
    pub transactional_id: String,
    pub producer: i64,
    pub epoch: i16,
}

/// What a promise says. The operation stays in the topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Promise {
    pub seen: SeenLog,
    pub transaction: KafkaTransaction,
    /// For people: what it holds back.
    pub places: String,
}

/// How a branch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    Committed,
    Aborted,
    /// It was to be committed and could not be.
    Lost(String),
}

/// A record with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    Store {
        store: StoreId,
        layout: u8,
        cluster: String,
    },
    Promise {
        branch: BranchKey,
        promise: Promise,
    },
    Fence {
        branch: BranchKey,
        nonce: u128,
    },
    End {
        branch: BranchKey,
        end: End,
    },
    Seen(SeenLog),
    /// Nobody may promise this transaction any more: it is about to be aborted, and it is not known for whom it was begun.
    Reap {
        nonce: u128,
        transaction: KafkaTransaction,
    },
    /// The key is taken out.
    Gone(Key),
}

impl Key {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(64);
        match self {
            Key::Store(store) => {
                bytes.put_u8(STORE);
                bytes.put_u128(store.0);
            }
            Key::Promise(branch) => put_branch(&mut bytes, PROMISE, *branch),
            Key::Fence(branch, nonce) => {
                put_branch(&mut bytes, FENCE, *branch);
                bytes.put_u128(*nonce);
            }
            Key::End(branch) => put_branch(&mut bytes, END, *branch),
            Key::Seen(log) => {
                bytes.put_u8(SEEN);
                bytes.put_u128(log.0);
            }
            Key::Reap(nonce) => {
                bytes.put_u8(REAP);
                bytes.put_u128(*nonce);
            }
        }
        bytes.freeze()
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let key = match bytes.try_get_u8().ok()? {
            STORE => Key::Store(StoreId(bytes.try_get_u128().ok()?)),
            PROMISE => Key::Promise(get_branch(bytes)?),
            FENCE => {
                let branch = get_branch(bytes)?;
                Key::Fence(branch, bytes.try_get_u128().ok()?)
            }
            END => Key::End(get_branch(bytes)?),
            SEEN => Key::Seen(LogId(bytes.try_get_u128().ok()?)),
            REAP => Key::Reap(bytes.try_get_u128().ok()?),
            _ => return None,
        };
        bytes.is_empty().then_some(key)
    }
}

impl Record {
    pub fn key(&self) -> Key {
        match self {
            Record::Store { store, .. } => Key::Store(*store),
            Record::Promise { branch, .. } => Key::Promise(*branch),
            Record::Fence { branch, nonce } => Key::Fence(*branch, *nonce),
            Record::End { branch, .. } => Key::End(*branch),
            Record::Seen(seen) => Key::Seen(seen.log),
            Record::Reap { nonce, .. } => Key::Reap(*nonce),
            Record::Gone(key) => *key,
        }
    }

    /// Its value, with the operation behind a promise.
    pub fn value(&self, operation: &[u8]) -> Option<Bytes> {
        let mut bytes = BytesMut::with_capacity(128 + operation.len());
        match self {
            Record::Store { layout, cluster, .. } => {
                bytes.put_u8(*layout);
                bytes.put_slice(cluster.as_bytes());
            }
            Record::Promise { promise, .. } => {
                put_seen(&mut bytes, promise.seen);
                put_transaction(&mut bytes, &promise.transaction);
                put_text(&mut bytes, &promise.places);
                bytes.put_slice(operation);
            }
            Record::Fence { .. } => bytes.put_u8(0),
            Record::End { end, .. } => match end {
                End::Committed => bytes.put_u8(1),
                End::Aborted => bytes.put_u8(2),
                End::Lost(evidence) => {
                    bytes.put_u8(3);
                    bytes.put_slice(evidence.as_bytes());
                }
            },
            Record::Seen(seen) => put_seen(&mut bytes, *seen),
            Record::Reap { transaction, .. } => put_transaction(&mut bytes, transaction),
            Record::Gone(_) => return None,
        }
        Some(bytes.freeze())
    }

    /// Reads a record; `None` if it is none of ours, or of a later layout.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self> {
        let key = Key::decode(key)?;
        let Some(mut value) = value else {
            return Some(Record::Gone(key));
        };
        let bytes = &mut value;
        Some(match key {
            Key::Store(store) => Record::Store {
                store,
                layout: bytes.try_get_u8().ok()?,
                cluster: rest(bytes)?,
            },
            Key::Promise(branch) => {
                let seen = get_seen(bytes, branch.log)?;
                let transaction = get_transaction(bytes)?;
                let places = get_text(bytes)?;
                let promise = Promise {
                    seen,
                    transaction,
                    places,
                };
                Record::Promise { branch, promise }
            }
            Key::Fence(branch, nonce) => Record::Fence { branch, nonce },
            Key::End(branch) => {
                let end = match bytes.try_get_u8().ok()? {
                    1 => End::Committed,
                    2 => End::Aborted,
                    3 => End::Lost(rest(bytes)?),
                    _ => return None,
                };
                Record::End { branch, end }
            }
            Key::Seen(log) => Record::Seen(get_seen(bytes, log)?),
            Key::Reap(nonce) => Record::Reap {
                nonce,
                transaction: get_transaction(bytes)?,
            },
        })
    }
}

fn put_branch(bytes: &mut BytesMut, tag: u8, branch: BranchKey) {
    bytes.put_u8(tag);
    bytes.put_u128(branch.log.0);
    bytes.put_u128(branch.transaction.as_u128());
    bytes.put_u32(branch.branch.0);
}

fn get_branch(bytes: &mut &[u8]) -> Option<BranchKey> {
    Some(BranchKey {
        log: LogId(bytes.try_get_u128().ok()?),
        transaction: TransactionId::from_u128(bytes.try_get_u128().ok()?).ok()?,
        branch: BranchId(bytes.try_get_u32().ok()?),
    })
}

fn put_seen(bytes: &mut BytesMut, seen: SeenLog) {
    bytes.put_u32_le(seen.epoch.0);
    bytes.put_u64_le(seen.lsn);
}

fn get_seen(bytes: &mut &[u8], log: LogId) -> Option<SeenLog> {
    Some(SeenLog {
        log,
        epoch: Epoch(bytes.try_get_u32_le().ok()?),
        lsn: bytes.try_get_u64_le().ok()?,
    })
}

fn put_transaction(bytes: &mut BytesMut, transaction: &KafkaTransaction) {
    bytes.put_i64_le(transaction.producer);
    bytes.put_i16_le(transaction.epoch);
    put_text(bytes, &transaction.transactional_id);
}

fn get_transaction(bytes: &mut &[u8]) -> Option<KafkaTransaction> {
    let (producer, epoch) = (bytes.try_get_i64_le().ok()?, bytes.try_get_i16_le().ok()?);
    Some(KafkaTransaction {
        transactional_id: get_text(bytes)?,
        producer,
        epoch,
    })
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    let length = u32::try_from(text.len()).expect("ids and lists of places are far shorter than 4 GiB");
    bytes.put_u32_le(length);
    bytes.put_slice(text.as_bytes());
}

fn get_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn rest(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(std::mem::take(bytes).to_vec()).ok()
}

#[cfg(test)]
mod tests;
