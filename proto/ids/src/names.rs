//! Names that people choose: checked once, at the edge, and shared without copying afterwards.

use std::fmt;
use std::sync::Arc;

/// The longest resource name, in bytes.
pub const MAX_RESOURCE_NAME_BYTES: usize = 64;
/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// A name or key that cannot be used, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The resource name is empty, too long or has other characters than the accepted ones.
    #[error(
        "{0:?} is not a resource name: use 1 to {MAX_RESOURCE_NAME_BYTES} characters of a-z, 0-9, '-', '_' and '.', \
         beginning with a letter or digit, such as \"orders-db\""
    )]
    Resource(String),
    /// The idempotency key is empty, too long or has control characters.
    #[error(
        "an idempotency key of {0} bytes cannot be used: give 1 to {MAX_KEY_BYTES} bytes of printable text, \
         such as \"order-4711\""
    )]
    Key(usize),
}

/// The stable name under which a resource takes part, such as `orders-db`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let accepted =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let begins_well = name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if name.len() <= MAX_RESOURCE_NAME_BYTES && begins_well && name.bytes().all(accepted) {
            Ok(ResourceName(name.into()))
        } else {
            Err(InvalidName::Resource(
                name.chars().take(2 * MAX_RESOURCE_NAME_BYTES).collect(),
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an application calls one intent, so that a retry of it is never a second transaction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Checks and takes a key.
    pub fn new(key: &str) -> Result<Self, InvalidName> {
        if (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.chars().any(char::is_control) {
            Ok(IdempotencyKey(key.into()))
        } else {
            Err(InvalidName::Key(key.len()))
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    )*};
}
text!(ResourceName, IdempotencyKey);
