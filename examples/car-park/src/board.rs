//! What readers see: only what is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Which car stands where. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<BTreeMap<u32, String>>>);

impl Board {
    /// Whose space it is.
    pub fn plate(&self, space: u32) -> Option<String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&space)
            .cloned()
    }

    /// All spaces that are taken.
    pub fn all(&self) -> BTreeMap<u32, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All changes at once, so that no reader sees one of a transaction without the others.
    pub(crate) fn show(&self, changes: impl IntoIterator<Item = (u32, Option<String>)>) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (space, plate) in changes {
            match plate {
                Some(plate) => board.insert(space, plate),
                None => board.remove(&space),
            };
        }
    }
}
