//! Bytes to records that are only folded: names and branches stay where they are.

use handfast_core::{BranchRef, ReplayedRecord};
use handfast_ids::StoreId;

use super::read::{Input, Result, decode};
use super::{decision, tag};

/// The branches of a record, one by one. Their lengths were checked.
#[derive(Clone, Debug)]
pub struct Branches<'a> {
    input: Input<'a>,
    left: u64,
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
        tag::ENDED => ReplayedRecord::Ended {
            transaction: input.id()?,
        },
        _ => return decode(bytes).map(ReplayedRecord::Other),
    };
    input.end()?;
    Ok(record)
}

#[inline]
fn branches<'a>(input: &mut Input<'a>) -> Result<Branches<'a>> {
    let left = input.length()?;
    let branches = Branches {
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
