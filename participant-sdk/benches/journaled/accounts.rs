//! A service of one's own, as small as one can be that has something to refuse: balances, and one undecided post for each.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use handfast_participant::{BranchKey, Refusal, Reservation, ResourceError, Staged};

/// An operation that changes nothing.
pub const NOTHING: &[u8] = b"nothing";

/// Adds an amount to an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Post {
    pub account: u64,
    pub amount: i64,
}

impl Post {
    /// As it travels, and as it is kept.
    pub fn encode(self) -> Bytes {
        [self.account.to_le_bytes(), self.amount.to_le_bytes()]
            .concat()
            .into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (account, amount) = bytes.split_first_chunk()?;
        Some(Post {
            account: u64::from_le_bytes(*account),
            amount: i64::from_le_bytes(amount.try_into().ok()?),
        })
    }
}

/// All balances.
#[derive(Default)]
pub struct Accounts {
    balances: BTreeMap<u64, i64>,
    promised: BTreeSet<u64>,
}

impl Accounts {
    /// Whether the account takes a post now; if so, it takes no other until this one is decided.
    pub fn promise(&mut self, post: Post) -> bool {
        self.promised.insert(post.account)
    }

    /// The post counts.
    pub fn post(&mut self, post: Post) {
        self.promised.remove(&post.account);
        *self.balances.entry(post.account).or_default() += post.amount;
    }

    /// It does not.
    pub fn let_go(&mut self, post: Post) {
        self.promised.remove(&post.account);
    }
}

impl Staged for Accounts {
    fn reserve(&mut self, _: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        if operation == NOTHING {
            return Ok(Reservation::Nothing);
        }
        let post = Post::decode(operation)
            .ok_or_else(|| Refusal::permanent("MALFORMED", "a post is an account and an amount"))?;
        match self.promise(post) {
            true => Ok(Reservation::Reserved),
            false => Err(Refusal::retryable(
                "PROMISED",
                "the account waits for another transaction",
            )),
        }
    }

    fn apply(&mut self, _: u64, _: BranchKey, operation: &[u8]) {
        self.post(Post::decode(operation).expect("it was reserved"));
    }

    fn release(&mut self, _: BranchKey, operation: &[u8]) {
        self.let_go(Post::decode(operation).expect("it was reserved"));
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let balance = |(account, amount): (&u64, &i64)| {
            Post {
                account: *account,
                amount: *amount,
            }
            .encode()
        };
        self.balances.iter().map(balance).collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let post = Post::decode(record).ok_or_else(|| ResourceError::permanent("not a balance"))?;
        self.balances.insert(post.account, post.amount);
        Ok(())
    }
}
