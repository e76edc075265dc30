//! The first error that is final.

use std::sync::{Arc, OnceLock};

use crate::{Result, WalError};

/// Holds the first final error for everyone who writes to one log. A sync that failed once proves nothing when it
/// succeeds later, so nobody gets to try.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<OnceLock<WalError>>);

impl Latch {
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Keeps `error` unless an earlier one is kept, and returns the one that is.
    pub(crate) fn set(&self, error: WalError) -> WalError {
        self.0.get_or_init(|| error).clone()
    }
}
