//! The model checker on worlds that are small enough for every test run; `handfast-sim model` explores the large ones.

use handfast_core::Wait;
use handfast_sim::model::{Bounds, CALM, ClientRole, Role, World, check};

const EXECUTES: ClientRole = ClientRole::Executes {
    keyed: true,
    wait: Wait::Decided,
};

static CRASH: World = World {
    name: "small: a crash",
    about: "two branches, and the coordinator crashes",
    participants: &[Role::Updates, Role::Updates],
    clients: &[EXECUTES],
    bounds: Bounds { crashes: 1, ..CALM },
    history: 16,
};

static LOSSES: World = World {
    name: "small: losses",
    about: "one branch only reads; a message is lost, and timers fire",
    participants: &[Role::Updates, Role::Reads],
    clients: &[EXECUTES],
    bounds: Bounds {
        drops: 1,
        ticks: 1,
        ..CALM
    },
    history: 16,
};

static INTERACTIVE: World = World {
    name: "small: interactive",
    about: "a service enlists; one client commits, another aborts",
    participants: &[Role::Updates],
    clients: &[ClientRole::Commits { wait: Wait::Applied }, ClientRole::Aborts],
    bounds: Bounds {
        crashes: 1,
        session_losses: 1,
        ..CALM
    },
    history: 16,
};

static ONE_PHASE: World = World {
    name: "small: one phase",
    about: "one branch that decides; the coordinator crashes, its session breaks, timers fire",
    participants: &[Role::Decides],
    clients: &[EXECUTES],
    bounds: Bounds {
        crashes: 1,
        session_losses: 1,
        duplicates: 1,
        ticks: 1,
        ..CALM
    },
    history: 16,
};

#[test]
fn small_worlds_hold() {
    for world in [&CRASH, &LOSSES, &INTERACTIVE, &ONE_PHASE] {
        let finding = check(world, 2);
        assert!(finding.violation.is_none(), "{finding}");
        assert!(
            finding.unique_states > 1000,
            "hardly anything could happen: {finding}"
        );
    }
}
