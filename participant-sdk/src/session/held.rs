//! Branches that are still prepared although the coordinator says that they ended long ago, or no longer knows them.
//!
//! A restore, a failover or a lost write can bring such a branch back. Nobody can tell from here what is right for it, so
//! it is held and an operator is called; it is never finished by the SDK.
//!
//! 1. A scan shows the branch as prepared, and the coordinator answers FINISHED or FORGOTTEN.
//! 2. Perhaps its decision was carried out between the scan and the answer, so the store is looked at again.
//! 3. Still prepared: it is held.

use std::collections::BTreeSet;

use crate::resource::{BranchKey, ScanLine, ScanPhase};

/// How many branches are looked at again at once. Others are when they are answered again.
const SUSPECTS: usize = 10_000;

/// What is suspected and what is held.
#[derive(Debug, Default)]
pub(crate) struct HeldBranches {
    suspects: BTreeSet<BranchKey>,
    held: BTreeSet<BranchKey>,
}

impl HeldBranches {
    /// The coordinator cannot say what becomes of this branch. Whether the store has to be looked at again.
    pub(crate) fn suspect(&mut self, branch: BranchKey) -> bool {
        !self.held.contains(&branch) && self.suspects.len() < SUSPECTS && self.suspects.insert(branch)
    }

    /// A complete scan after the answers. Returns the branches that are held from now on.
    pub(crate) fn scanned(&mut self, lines: &[ScanLine]) -> Vec<BranchKey> {
        let prepared = |line: &&ScanLine| line.phase == ScanPhase::Prepared;
        let known = |branch: &BranchKey| self.suspects.contains(branch) || self.held.contains(branch);
        let still: BTreeSet<BranchKey> = lines
            .iter()
            .filter(prepared)
            .map(|line| line.branch)
            .filter(known)
            .collect();
        let new = still.difference(&self.held).copied().collect();
        self.held = still;
        self.suspects.clear();
        new
    }

    /// How many branches wait for an operator.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}
