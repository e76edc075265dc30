//! Bytes to records that are only folded: names and branches stay where they are.

use handfast_core::{BranchRef, KnownRecord, ReplayedRecord};
use handfast_ids::{StoreId, TransactionId};

use super::lists::Lists;
use super::read::{Input, Result, decode};
use super::{VERSION, decision, tag};

/// The branches of a record, one by one. Their lengths were checked.
#[derive(Clone, Debug)]
pub struct Branches<'a> {
    /// From the length of the list to the end of the record.
    bytes: &'a [u8],
    input: Input<'a>,
    left: u64,
}

impl<'a> Branches<'a> {
    /// What [`Lists`] knows the list by.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Branches<'a> {
    type Item = BranchRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<BranchRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(branch(&mut self.input).expect("these bytes were read before"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left as usize;
        (left, Some(left))
    }
}

/// The record in these bytes, if it is one of those that a log is full of, and its list of branches was met before: the
/// bytes of the list are not read again. Says nothing of any other bytes.
#[inline]
pub fn recognize(bytes: &[u8], lists: &mut Lists) -> Option<KnownRecord> {
    let (id, rest) = bytes.get(2..)?.split_first_chunk::<16>()?;
    let transaction = TransactionId::from_u128(u128::from_be_bytes(*id)).ok()?;
    match (bytes[0], bytes[1], rest) {
        (VERSION, tag::ENDED, []) => Some(KnownRecord::Ended { transaction }),
        (VERSION, tag::REGISTERED, rest) => {
            let list = lists.find(rest)?;
            Some(KnownRecord::Registered { transaction, list })
        }
        (VERSION, tag::DECIDED, [decision::COMMIT, rest @ ..]) => {
            let list = lists.find(rest)?;
            Some(KnownRecord::Committed { transaction, list })
        }
        _ => None,
    }
}

/// The record in these bytes, which must be used up. Accepts what [`decode`] does, except that whoever takes up a name
/// must check it.
pub fn decode_replayed(bytes: &[u8]) -> Result<ReplayedRecord<Branches<'_>>> {
    let mut input = Input::of_version(bytes)?;
    let record = match input.byte()? {
        tag::REGISTERED => ReplayedRecord::Registered {
            transaction: input.id()?,
            branches: branches(&mut input)?,
        },
        tag::DECIDED => {
            let transaction = input.id()?;
            if input.byte()? != decision::COMMIT {
                return decode(bytes).map(ReplayedRecord::Other);
            }
            let branches = branches(&mut input)?;
            if input.flag()? {
                return decode(bytes).map(ReplayedRecord::Other);
            }
            ReplayedRecord::Committed {
                transaction,
                branches,
            }
        }
        _ => return decode(bytes).map(ReplayedRecord::Other),
    };
    input.end()?;
    Ok(record)
}

#[inline]
fn branches<'a>(input: &mut Input<'a>) -> Result<Branches<'a>> {
    let bytes = input.rest();
    let left = input.length()?;
    let branches = Branches {
        bytes,
        input: input.clone(),
        left,
    };
    for _ in 0..left {
        branch(input)?;
    }
    Ok(branches)
}

#[inline]
fn branch<'a>(input: &mut Input<'a>) -> Result<BranchRef<'a>> {
    Ok(BranchRef {
        branch: input.branch_id()?,
        resource: input.bytes()?,
        store: StoreId(input.u128()?),
    })
}
