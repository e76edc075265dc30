//! The position of a record.

use std::fmt;

/// The ordinal of a record in its log: the first record is 1, and there are no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record: nothing.
    pub const ZERO: Lsn = Lsn(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        self.advance(1)
    }

    /// The position `records` later.
    pub(crate) fn advance(self, records: u64) -> Lsn {
        Lsn(self
            .0
            .checked_add(records)
            .expect("a log of 2^64 records cannot be written"))
    }

    /// The position before this one; the one before nothing is nothing.
    pub(crate) fn previous(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
