//! Edges inside the coordinator's core, seen from above it: what a transaction and its branches read as when an event comes.
//!
//! What names a transaction counts for it, and what concerns none for the coordinator. What concerns many (a tick, a lost session, a log that has become durable) counts for
//! those that it changes.

use std::sync::Arc;

use handfast_coordinator::runtime::{CoreStep, install_core_watcher};
use handfast_core::view::{BranchStateView, StateView, TransactionView};
use handfast_core::{AckKind, Coordinator, Decision, Event, InDoubtPhase, LogSpace, Moment, Vote};
use handfast_ids::BranchId;

use super::{Layer, State, Trigger};
use crate::world::World;

/// From here on, edges inside every core of this thread count.
pub fn install(world: &Arc<World>) {
    let world = Arc::downgrade(world);
    let mut before = None;
    install_core_watcher(move |core, now, step| {
        let Some(world) = world.upgrade() else { return };
        match step {
            CoreStep::Takes(event) => before = takes(&world, core, now, event),
            CoreStep::Done => {
                if let Some((trigger, before)) = before.take() {
                    changed(&world, core, now, trigger, before);
                }
            }
        }
    });
}

/// All live transactions before an event that may concern any of them.
type Before = Vec<TransactionView>;

fn takes(world: &World, core: &Coordinator, now: Moment, event: &Event) -> Option<(Trigger, Before)> {
    let named = |transaction, branch, trigger| {
        hit(world, &core.view(now, transaction), branch, trigger);
        None
    };
    let of_all = |trigger| {
        world.takes_edge((Layer::Coordinator, of_coordinator(core), trigger));
        None
    };
    let trigger = match event {
        Event::Execute { request, .. } => {
            return match request.key.as_ref().and_then(|claim| core.find_key(&claim.key)) {
                Some(id) => named(id, None, Trigger::SameKey),
                None => of_all(Trigger::Execute),
            };
        }
        Event::Commit { transaction, .. } => return named(*transaction, None, Trigger::Commit),
        Event::Abort { transaction, .. } => return named(*transaction, None, Trigger::Abort),
        Event::Watch { transaction, .. } => return named(*transaction, None, Trigger::Watch),
        Event::Enlist { transaction, .. } => return named(*transaction, None, Trigger::Enlist),
        Event::Vote {
            transaction,
            branch,
            vote,
            ..
        } => {
            let trigger = match vote {
                Vote::Prepared { .. } => Trigger::VotePrepared,
                Vote::ReadOnly => Trigger::VoteReadOnly,
                Vote::Committed => Trigger::VoteCommitted,
                Vote::Refused { .. } => Trigger::VoteRefused,
            };
            return named(*transaction, Some(*branch), trigger);
        }
        Event::Ack {
            transaction,
            branch,
            ack,
            ..
        } => {
            let trigger = match (&ack.kind, ack.decision) {
                (AckKind::Done, Decision::Commit) => Trigger::DoneCommit,
                (AckKind::Done, Decision::Abort) => Trigger::DoneAbort,
                (AckKind::Hazard { .. }, _) => Trigger::Hazard,
                (AckKind::Contrary { .. }, _) => Trigger::Contrary,
            };
            return named(*transaction, Some(*branch), trigger);
        }
        Event::InDoubt { lines, .. } => {
            for line in lines {
                let trigger = match line.phase {
                    InDoubtPhase::Prepared => Trigger::ScanPrepared,
                    InDoubtPhase::Preparing => Trigger::ScanPreparing,
                    InDoubtPhase::Marker => Trigger::ScanMarker,
                    InDoubtPhase::Committed => Trigger::ScanCommitted,
                };
                named(line.transaction, Some(line.branch), trigger);
            }
            return None;
        }
        Event::Begin { .. } => return of_all(Trigger::Begin),
        Event::CallGone { .. } => return of_all(Trigger::CallGone),
        Event::Drain => return of_all(Trigger::Drain),
        Event::LogSpace(LogSpace::Low) => return of_all(Trigger::SpaceLow),
        Event::LogSpace(LogSpace::Ample) => return of_all(Trigger::SpaceAmple),
        Event::SessionUp { .. } => Trigger::SessionUp,
        Event::SessionDown { .. } => Trigger::SessionOver,
        Event::LogDurable(_) => Trigger::Durable,
        Event::Tick => Trigger::Tick,
    };
    Some((trigger, core.live(now, None, usize::MAX)))
}

fn hit(world: &World, view: &TransactionView, branch: Option<BranchId>, trigger: Trigger) {
    world.takes_edge((Layer::Transaction, of_transaction(&view.state), trigger));
    if let Some(id) = branch {
        let state = view
            .branches
            .iter()
            .find(|branch| branch.branch == id)
            .map_or(State::Unknown, |branch| of_branch(branch.state));
        world.takes_edge((Layer::Branch, state, trigger));
    }
}

fn changed(world: &World, core: &Coordinator, now: Moment, trigger: Trigger, before: Before) {
    if before.is_empty() {
        return;
    }
    // In order of their ids.
    let after = core.live(now, None, usize::MAX);
    for was in before {
        let found = after.binary_search_by_key(&was.transaction, |is| is.transaction);
        let is = found.ok().map(|found| &after[found]);
        if is.is_none_or(|is| is.state != was.state) {
            world.takes_edge((Layer::Transaction, of_transaction(&was.state), trigger));
        }
        for branch in &was.branches {
            let state_is = |is: &TransactionView| {
                let found = is.branches.iter().find(|one| one.branch == branch.branch);
                found.map(|one| one.state)
            };
            if is.and_then(state_is).is_some_and(|state| state != branch.state) {
                world.takes_edge((Layer::Branch, of_branch(branch.state), trigger));
            }
        }
    }
}

fn of_coordinator(core: &Coordinator) -> State {
    let status = core.status();
    match (status.draining, status.space_low) {
        (true, _) => State::Draining,
        (false, true) => State::ShortOfSpace,
        (false, false) => State::Serving,
    }
}

fn of_transaction(state: &StateView) -> State {
    match state {
        StateView::Active => State::Active,
        StateView::Preparing => State::Preparing,
        StateView::Delegated => State::Delegated,
        StateView::Committing => State::Committing,
        StateView::Aborting => State::Aborting,
        StateView::Heuristic(_) => State::Heuristic,
        StateView::Ended(_) => State::Ended,
        StateView::NoEffects => State::NoEffects,
        StateView::Forgotten => State::Forgotten,
        StateView::NotMine => State::NotMine,
    }
}

fn of_branch(state: BranchStateView) -> State {
    match state {
        BranchStateView::Enlisted => State::Enlisted,
        BranchStateView::Preparing => State::Preparing,
        BranchStateView::Delegated => State::Delegated,
        BranchStateView::Prepared => State::Prepared,
        BranchStateView::ReadOnly => State::ReadOnly,
        BranchStateView::Refused => State::Refused,
        BranchStateView::Committing => State::Committing,
        BranchStateView::Committed => State::Committed,
        BranchStateView::Aborting => State::Aborting,
        BranchStateView::Aborted => State::Aborted,
        BranchStateView::Hazard => State::Hazard,
        BranchStateView::Contrary => State::Contrary,
    }
}
