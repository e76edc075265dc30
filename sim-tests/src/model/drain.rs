//! Liveness: once nothing goes wrong any more, everything is decided and nothing stays prepared.
//!
//! From a state, one fair schedule is run without faults: the log becomes durable, sessions are made, every message
//! arrives, participants finish their work, and, when all is quiet, timers fire and stores are scanned. Within a bound of
//! such rounds the table must be empty, no store may hold an open branch, marker or fence, and no client may wait.
//!
//! One schedule proves less than all of them, but it is run from very many states; the same rules are checked on its way.

use super::network::{Packet, short, short_part};
use super::participant::Slot;
use super::rules::Breach;
use super::state::State;
use super::step::{Action, apply, timers_pending, voluntary_vote};
use super::world::World;
use handfast_core::view::{InDoubtState, InDoubtView, StateView};

/// Rounds of timers and scans within which a world must come to rest.
const QUIET_ROUNDS: usize = 4;
/// Steps within one round; more means that it runs in circles.
const STEPS_PER_ROUND: usize = 300;

/// The steps to a state of rest.
pub fn drain(world: &World, from: &State) -> Result<(), (Vec<Action>, String)> {
    let mut state = from.clone();
    let mut path = Vec::new();
    for _ in 0..QUIET_ROUNDS {
        let mut steps = 0;
        while let Some(action) = next(world, &state) {
            take(world, &mut state, action, &mut path)?;
            steps += 1;
            if steps > STEPS_PER_ROUND {
                return Err((path, "the world never comes to rest".to_owned()));
            }
        }
        if unsettled(&state).is_none() {
            return Ok(());
        }
        if timers_pending(&state) {
            take(world, &mut state, Action::Tick, &mut path)?;
        }
        for participant in 0..state.participants.len() {
            take(world, &mut state, Action::Scan { participant }, &mut path)?;
        }
    }
    match unsettled(&state) {
        None => Ok(()),
        Some(why) => Err((path, why)),
    }
}

fn take(
    world: &World,
    state: &mut State,
    action: Action,
    path: &mut Vec<Action>,
) -> Result<(), (Vec<Action>, String)> {
    *state = apply(world, state, &action);
    path.push(action);
    match &state.memory.breach {
        None => Ok(()),
        Some(Breach { rule, text }) => Err((std::mem::take(path), format!("{rule:?}: {text}"))),
    }
}

/// The next step that has to happen by itself.
fn next(world: &World, state: &State) -> Option<Action> {
    if state.journal.durable() < state.journal.accepted() {
        return Some(Action::Sync(state.journal.accepted()));
    }
    let stale = |&(&session, &holder): &(&_, &usize)| state.participants[holder].session != Some(session);
    if let Some((&session, _)) = state.sessions.iter().find(stale) {
        return Some(Action::SessionDown(session));
    }
    if let Some(participant) = (0..state.participants.len()).find(|&it| !state.is_connected(it)) {
        return Some(Action::Connect { participant });
    }
    if let Some(packet) = state.network.iter().next() {
        return Some(Action::Deliver(Packet::clone(packet)));
    }
    state
        .participants
        .iter()
        .enumerate()
        .find_map(|(participant, it)| {
            let at_work = |slot: &Slot| matches!(slot, Slot::Working | Slot::Deciding);
            let working = it.branches.iter().find(|(_, slot)| at_work(slot));
            working.map(|(&part, slot)| Action::Vote {
                participant,
                part,
                vote: voluntary_vote(world, participant, *slot),
            })
        })
}

/// What is still open, in words.
fn unsettled(state: &State) -> Option<String> {
    let live = state.coordinator.live(state.now, None, usize::MAX);
    let open = live
        .iter()
        .find(|view| !matches!(view.state, StateView::Heuristic(_)));
    if let Some(view) = open {
        return Some(format!("a transaction stays in the table: {:?}", view.state));
    }
    let ended = live.is_empty();
    for participant in &state.participants {
        for (part, slot) in &participant.branches {
            // An operator's transaction keeps its markers.
            let kept = !ended && matches!(slot, Slot::Committed | Slot::Aborted);
            if slot.is_open() && !kept {
                return Some(format!("{} stays {slot:?}", short_part(*part)));
            }
            if *slot == Slot::Held && !state.memory.restored {
                return Some(format!("{} is held", short_part(*part)));
            }
        }
    }
    // A line of a scan that came late is held for an operator, but only until the next scan no longer shows it.
    let held = state.coordinator.in_doubt(state.now, None, usize::MAX);
    let is_false = |line: &InDoubtView| matches!(line.state, InDoubtState::Held(_)) && !state.memory.restored;
    if let Some(line) = held.into_iter().find(is_false) {
        return Some(format!(
            "{} stays on the operator's list",
            short(line.transaction)
        ));
    }
    (!state.calls.is_empty()).then(|| "a client is never answered".to_owned())
}
