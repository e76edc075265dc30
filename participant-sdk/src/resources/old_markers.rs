//! Which old markers a scan lists.
//!
//! A scan shows only so many. The markers of a coordinator that is gone for good stay, because nobody says Forget about them,
//! and they must not hide those of all others. So each list goes on where the one before it ended, and the one after the last
//! begins anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the next list begins: behind a key, or with the first.
pub(in crate::resources) struct OldMarkers<K>(Mutex<Option<K>>);

impl<K> Default for OldMarkers<K> {
    fn default() -> Self {
        OldMarkers(Mutex::default())
    }
}

impl<K: Clone> OldMarkers<K> {
    fn key(&self) -> MutexGuard<'_, Option<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key behind which the next list begins.
    pub fn after(&self) -> Option<K> {
        self.key().clone()
    }

    /// A list ended with this key; `None` if nothing is behind it.
    pub fn ended_with(&self, last: Option<K>) {
        *self.key() = last;
    }
}
