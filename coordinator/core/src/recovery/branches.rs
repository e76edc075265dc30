//! The branches that records name, by the places of their resources and stores.

use handfast_ids::{Generation, ResourceName, StoreId};

use super::Recovery;
use crate::branch::{Branch, BranchState};
use crate::few::Few;
use crate::hash;
use crate::resources::{ResourceIndex, StoreIndex};
use crate::{BranchRef, Decision};

/// Places of names that were met lately: so many, that names seldom take each other's.
const RECENT_NAMES: usize = 1024;

/// No name was met yet.
pub(super) fn none_met() -> Vec<Option<ResourceIndex>> {
    vec![None; RECENT_NAMES]
}

impl Recovery {
    pub(super) fn branch(&mut self, record: BranchRef<'_>, state: BranchState) -> Result<Branch, String> {
        let (resource, store) = self.place_of(record.resource, record.store)?;
        Ok(Branch {
            id: record.branch,
            resource,
            store,
            state,
        })
    }

    /// Branches that are still to be told of a commit, in the order of their ordinals.
    pub(super) fn read_branches<'a>(
        &mut self,
        branches: impl Iterator<Item = BranchRef<'a>>,
    ) -> Result<Few<Branch>, String> {
        let mut list = Few::default();
        for branch in branches {
            list.push(self.branch(branch, BranchState::Delivering(Decision::Commit))?);
        }
        if !list.is_sorted_by_key(|branch: &Branch| branch.id) {
            list.sort_by_key(|branch: &Branch| branch.id);
        }
        Ok(list)
    }

    /// The places of a resource and a store that a record names.
    fn place_of(&mut self, name: &[u8], store: StoreId) -> Result<(ResourceIndex, StoreIndex), String> {
        let at = hash::of_name(name) as usize % RECENT_NAMES;
        let met = self.recent[at].filter(|index| self.resources.get(*index).name.as_str().as_bytes() == name);
        let resource = match met {
            Some(resource) => resource,
            None => {
                let text = std::str::from_utf8(name).map_err(|error| error.to_string())?;
                let name = ResourceName::new(text).map_err(|error| error.to_string())?;
                match self.resources.find(&name) {
                    Some(resource) => resource,
                    None => self.resources.learn(name, store, Generation(0)),
                }
            }
        };
        self.recent[at] = Some(resource);
        Ok((resource, self.resources.store_index(resource, store)))
    }
}
