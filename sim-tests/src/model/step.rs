//! What can happen next in a state, and what becomes of it.
//!
//! Every step is possible at any time at which it makes sense; what counts as a fault is paid for from the world's
//! bounds. Time is abstract: a tick lets all timers fire that are set, be they deadlines or redeliveries.

use std::collections::BTreeSet;
use std::sync::Arc;

use handfast_core::{
    Event, ExecuteRequest, ExpectedBranch, KeyClaim, Lsn, OperationRequest, RequestDigest, SessionId,
};
use handfast_ids::{IdempotencyKey, TransactionId};

use super::network::{Ballot, Body, Packet, Part, Up};
use super::participant::{Fate, Slot};
use super::state::{State, resource};
use super::world::{ClientRole, KEY, PERIOD_MS, Role, World};

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Ask {
        client: usize,
    },
    Enlist {
        participant: usize,
    },
    Deliver(Packet),
    Duplicate(Packet),
    Drop(Packet),
    /// A participant has done the work of a branch and votes.
    Vote {
        participant: usize,
        part: Part,
        vote: Ballot,
    },
    Sync(Lsn),
    BeginCheckpoint,
    Tick,
    /// The coordinator dies and is started again, with the log up to `kept`.
    Crash {
        kept: Lsn,
        from_checkpoint: bool,
    },
    /// The coordinator notices that a session is gone.
    SessionDown(SessionId),
    Connect {
        participant: usize,
    },
    CrashParticipant {
        participant: usize,
    },
    Scan {
        participant: usize,
    },
    /// A store is set back to where it prepared last, or what it prepared is lost.
    Restore {
        participant: usize,
        loses: bool,
    },
}

/// All that can happen.
pub fn actions(world: &World, state: &State, actions: &mut Vec<Action>) {
    let left = &state.left;
    for client in 0..state.clients.len() {
        if may_ask(world, state, client) {
            actions.push(Action::Ask { client });
        }
    }
    for packet in state.network.iter() {
        actions.push(Action::Deliver(packet.clone()));
        if left.drops > 0 {
            actions.push(Action::Drop(packet.clone()));
        }
        if left.duplicates > 0 {
            actions.push(Action::Duplicate(packet.clone()));
        }
    }
    let (durable, accepted) = (state.journal.durable(), state.journal.accepted());
    actions.extend((durable.0 + 1..=accepted.0).map(|lsn| Action::Sync(Lsn(lsn))));
    if left.checkpoints > 0 {
        actions.push(Action::BeginCheckpoint);
    }
    if left.ticks > 0 && timers_pending(state) {
        actions.push(Action::Tick);
    }
    if left.crashes > 0 {
        for from_checkpoint in [false, true] {
            if !from_checkpoint || state.journal.has_checkpoint() {
                let kept = (durable.0..=accepted.0).map(Lsn);
                actions.extend(kept.map(|kept| Action::Crash {
                    kept,
                    from_checkpoint,
                }));
            }
        }
    }
    for (&session, &participant) in &state.sessions {
        let left_it = state.participants[participant].session != Some(session);
        if left_it || left.session_losses > 0 {
            actions.push(Action::SessionDown(session));
        }
    }
    for participant in 0..state.participants.len() {
        participant_actions(world, state, participant, actions);
    }
}

fn participant_actions(world: &World, state: &State, participant: usize, actions: &mut Vec<Action>) {
    let left = &state.left;
    let connected = state.is_connected(participant);
    if !connected || left.session_losses > 0 {
        actions.push(Action::Connect { participant });
    }
    if connected && may_enlist(world, state, participant).is_some() {
        actions.push(Action::Enlist { participant });
    }
    let it = &state.participants[participant];
    for (&part, slot) in &it.branches {
        if matches!(slot, Slot::Working | Slot::Deciding) {
            let vote = voluntary_vote(world, participant, *slot);
            actions.push(Action::Vote {
                participant,
                part,
                vote,
            });
            if left.refusals > 0 && vote != Ballot::ReadOnly {
                let vote = Ballot::Refused;
                actions.push(Action::Vote {
                    participant,
                    part,
                    vote,
                });
            }
        }
    }
    if left.participant_crashes > 0 {
        actions.push(Action::CrashParticipant { participant });
    }
    if connected && left.scans > 0 && !it.scan().is_empty() {
        actions.push(Action::Scan { participant });
    }
    if left.restores > 0 {
        if it.backup.is_some() {
            actions.push(Action::Restore {
                participant,
                loses: false,
            });
        }
        if it.branches.values().any(|slot| *slot == Slot::Prepared) {
            actions.push(Action::Restore {
                participant,
                loses: true,
            });
        }
    }
}

/// What a participant votes when it does not refuse.
pub fn voluntary_vote(world: &World, participant: usize, slot: Slot) -> Ballot {
    match world.participants[participant] {
        Role::Decides if slot == Slot::Deciding => Ballot::Committed,
        Role::Updates | Role::Decides => Ballot::Prepared,
        Role::Reads => Ballot::ReadOnly,
    }
}

fn may_ask(world: &World, state: &State, client: usize) -> bool {
    let it = &state.clients[client];
    let commits_nothing = matches!(world.clients[client], ClientRole::Commits { .. }) && it.joined.is_empty();
    it.asks > 0 && !commits_nothing
}

/// The open transaction, if the participant has not joined it by this session.
fn may_enlist(world: &World, state: &State, participant: usize) -> Option<TransactionId> {
    let transaction = *state
        .memory
        .transactions
        .first()
        .filter(|_| world.is_interactive())?;
    let asked = state
        .network
        .iter()
        .any(|packet| packet.participant == participant && matches!(packet.body, Body::Up(Up::Enlist(_))));
    let joined = state.participants[participant]
        .branches
        .keys()
        .any(|part| part.0 == transaction);
    let sealed = state.clients.iter().any(|client| client.expected.is_some());
    (!asked && !joined && !sealed).then_some(transaction)
}

/// Whether a tick would do anything: a key's expiry is days away.
pub fn timers_pending(state: &State) -> bool {
    let due = state.now.0 + PERIOD_MS;
    state.coordinator.next_timeout().is_some_and(|at| at.0 <= due)
}

/// The state after a step.
pub fn apply(world: &World, before: &State, action: &Action) -> State {
    let mut state = before.clone();
    pay(&mut state, action);
    match action {
        Action::Ask { client } => ask(world, &mut state, *client),
        Action::Enlist { participant } => {
            if let Some(transaction) = may_enlist(world, before, *participant) {
                state.send_up(*participant, Up::Enlist(transaction));
            }
        }
        Action::Deliver(packet) => {
            state.network.remove(packet);
            deliver(world, &mut state, packet);
        }
        Action::Duplicate(packet) => deliver(world, &mut state, packet),
        Action::Drop(packet) => state.network.remove(packet),
        Action::Vote {
            participant,
            part,
            vote,
        } => cast(world, &mut state, *participant, *part, *vote),
        Action::Sync(lsn) => state.sync(world, *lsn),
        Action::BeginCheckpoint => {
            let snapshot = state.coordinator.snapshot();
            state.journal.begin_checkpoint(snapshot);
        }
        Action::Tick => {
            state.now.0 += PERIOD_MS;
            state.hand_in(world, Event::Tick);
        }
        Action::Crash {
            kept,
            from_checkpoint,
        } => state.crash(world, *kept, *from_checkpoint),
        Action::SessionDown(session) => {
            state.sessions.remove(session);
            state.network.ended_by_coordinator(*session);
            state.hand_in(world, Event::SessionDown { session: *session });
        }
        Action::Connect { participant } => state.connect(world, *participant),
        Action::CrashParticipant { participant } => crash(&mut state, *participant),
        Action::Scan { participant } => {
            let lines = state.participants[*participant].scan();
            state.send_up(*participant, Up::Scan(lines));
        }
        Action::Restore { participant, loses } => {
            crash(&mut state, *participant);
            state.memory.restored = true;
            let it = &mut state.participants[*participant];
            match it.backup.take().filter(|_| !loses) {
                Some(backup) => it.branches = backup,
                None => it.branches.retain(|_, slot| *slot != Slot::Prepared),
            }
        }
    }
    state.check_state();
    state
}

/// Faults cost; what follows from one is free.
fn pay(state: &mut State, action: &Action) {
    let free_connect = |participant: &usize| !state.is_connected(*participant);
    let free_down = |session: &SessionId| {
        let holder = state.sessions.get(session);
        holder.is_some_and(|&holder| state.participants[holder].session != Some(*session))
    };
    let is_free = match action {
        Action::Connect { participant } => free_connect(participant),
        Action::SessionDown(session) => free_down(session),
        _ => false,
    };
    let left = &mut state.left;
    let budget = match action {
        _ if is_free => return,
        Action::Connect { .. } | Action::SessionDown(_) => &mut left.session_losses,
        Action::Duplicate(_) => &mut left.duplicates,
        Action::Drop(_) => &mut left.drops,
        Action::Vote {
            vote: Ballot::Refused,
            ..
        } => &mut left.refusals,
        Action::BeginCheckpoint => &mut left.checkpoints,
        Action::Tick => &mut left.ticks,
        Action::Crash { .. } => &mut left.crashes,
        Action::CrashParticipant { .. } => &mut left.participant_crashes,
        Action::Scan { .. } => &mut left.scans,
        Action::Restore { .. } => &mut left.restores,
        Action::Ask { client } => &mut state.clients[*client].asks,
        Action::Enlist { .. } | Action::Deliver(_) | Action::Vote { .. } | Action::Sync(_) => return,
    };
    *budget = budget.saturating_sub(1);
}

fn ask(world: &World, state: &mut State, client: usize) {
    let call = state.next_call(client);
    let open = state.memory.transactions.first().copied();
    match (world.clients[client], open) {
        (ClientRole::Executes { keyed, wait }, _) => {
            let operation = |index| OperationRequest {
                resource: resource(index),
                operation: Arc::from([]),
            };
            let request = ExecuteRequest {
                key: keyed.then(claim),
                operations: (0..world.participants.len()).map(operation).collect(),
                timeout_ms: None,
                wait,
            };
            state.hand_in(world, Event::Execute { call, request });
        }
        (ClientRole::Commits { wait }, Some(transaction)) => {
            let joined = state.clients[client].joined.clone();
            let counted: &BTreeSet<_> = state.clients[client].expected.get_or_insert(joined);
            let expected = |&branch| ExpectedBranch {
                branch,
                operations: 1,
            };
            let event = Event::Commit {
                call,
                transaction,
                expected: counted.iter().map(expected).collect(),
                wait,
            };
            state.hand_in(world, event);
        }
        (ClientRole::Aborts, Some(transaction)) => state.hand_in(world, Event::Abort { call, transaction }),
        (ClientRole::Commits { .. } | ClientRole::Aborts, None) => {}
    }
    state.watch(world);
}

fn claim() -> KeyClaim {
    KeyClaim {
        key: IdempotencyKey::new(KEY).expect("the key is well formed"),
        expires_at_ms: 1_000_000,
        digest: RequestDigest([7; 32]),
    }
}

fn cast(world: &World, state: &mut State, participant: usize, part: Part, vote: Ballot) {
    match vote {
        Ballot::Prepared => state.memory.prepared.insert(part),
        Ballot::ReadOnly => state.memory.read_only.insert(part),
        Ballot::Committed => {
            state.came_out(Fate::Committed(part));
            false
        }
        Ballot::Refused => false,
    };
    let it = &mut state.participants[participant];
    let up = it.vote(part, vote);
    if world.restores() {
        it.backup = Some(it.branches.clone());
    }
    state.send_up(participant, up);
}

fn crash(state: &mut State, participant: usize) {
    if let Some(session) = state.participants[participant].session {
        state.network.left_by_participant(session);
    }
    state.participants[participant].crash();
}

fn deliver(world: &World, state: &mut State, packet: &Packet) {
    let (participant, session) = (packet.participant, packet.session);
    match &packet.body {
        Body::Up(up) => {
            if let Up::Vote {
                part,
                vote: Ballot::Prepared | Ballot::ReadOnly,
            } = up
            {
                state.memory.heard.insert(*part);
            }
            state.hand_in(world, up.event(session));
        }
        Body::Down(down) => {
            let (answer, fate) = state.participants[participant].take(down);
            if let super::network::Down::Enlisted(part) = down {
                for client in &mut state.clients {
                    client.joined.insert(part.1);
                }
            }
            if let Some(fate) = fate {
                state.came_out(fate);
            }
            if let Some(up) = answer {
                state.send_up(participant, up);
            }
        }
    }
}
