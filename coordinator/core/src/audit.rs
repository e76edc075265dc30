//! Recounts what the coordinator counts as it goes. For tests and the simulator, after each step: a counter that has
//! drifted would otherwise show only as a transaction that never ends.

use std::collections::BTreeMap;

use crate::branch::BranchState;
use crate::coordinator::Coordinator;
use crate::transaction::{State, Transaction};

impl Coordinator {
    /// Every count, timer and cross reference that does not add up, in words. Looks at the whole table.
    pub fn audit(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut unfinished = BTreeMap::new();
        let mut awaited_bytes = BTreeMap::new();
        for (transaction, entry) in self.table.iter() {
            for branch in entry
                .branches
                .iter()
                .filter(|branch| branch.state.is_unfinished())
            {
                *unfinished.entry(branch.resource).or_insert(0) += 1;
                if branch.state.pinned_to().is_some() {
                    *awaited_bytes.entry(branch.resource).or_insert(0) += entry.operation_bytes;
                }
            }
            if counted(&entry.state) != recounted(entry) {
                let (counted, found) = (counted(&entry.state), recounted(entry));
                wrong.push(format!(
                    "{transaction} counts {counted:?} open branches and has {found:?}"
                ));
            }
            if !entry.state.is_decided() && !entry.state.is_in_doubt() && entry.timer.is_none() {
                wrong.push(format!("{transaction} has no deadline"));
            }
        }
        for index in self.resources.indexes() {
            let resource = self.resources.get(index);
            let found = unfinished.get(&index).copied().unwrap_or(0);
            if resource.unfinished != found {
                let (name, counted) = (&resource.name, resource.unfinished);
                wrong.push(format!(
                    "{name} counts {counted} unfinished branches and has {found}"
                ));
            }
            let found = awaited_bytes.get(&index).copied().unwrap_or(0);
            if resource.awaited_bytes != found {
                let (name, counted) = (&resource.name, resource.awaited_bytes);
                wrong.push(format!(
                    "{name} counts {counted} bytes of operations that wait for it, and there are {found}"
                ));
            }
        }
        let found: usize = self.table.values().map(|entry| entry.operation_bytes).sum();
        if self.operation_bytes != found {
            let counted = self.operation_bytes;
            wrong.push(format!(
                "{counted} bytes of operations are counted and there are {found}"
            ));
        }
        let mut timers = BTreeMap::new();
        for at in self.table.values().filter_map(|entry| entry.timer) {
            *timers.entry(at).or_insert(0) += 1;
        }
        if !self.timers.counts().eq(timers) {
            wrong.push("the timers are not those of the transactions".to_owned());
        }
        if self
            .watchers
            .keys()
            .any(|transaction| !self.table.contains(*transaction))
        {
            wrong.push("somebody watches a transaction that is not live".to_owned());
        }
        if self.cursors.durable >= self.cursors.next {
            wrong.push("the log is durable past its end".to_owned());
        }
        wrong
    }
}

fn counted(state: &State) -> Option<usize> {
    match state {
        State::Active | State::Delegated { .. } => None,
        State::Preparing { unvoted } => Some(*unvoted),
        State::Committing { unacked, .. } | State::Aborting { unacked, .. } => Some(*unacked),
    }
}

fn recounted(entry: &Transaction) -> Option<usize> {
    let is_open = |state: BranchState| match entry.state {
        State::Active | State::Preparing { .. } | State::Delegated { .. } => state.pinned_to().is_some(),
        State::Committing { .. } | State::Aborting { .. } => matches!(state, BranchState::Delivering(_)),
    };
    let open = entry
        .branches
        .iter()
        .filter(|branch| is_open(branch.state))
        .count();
    (!matches!(entry.state, State::Active | State::Delegated { .. })).then_some(open)
}
