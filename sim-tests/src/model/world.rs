//! The worlds: who takes part, what may go wrong, and how often.
//!
//! A bound is a budget for the whole life of a world: a world with one crash shows everything that one crash can do, at
//! every point and together with everything else that the world allows.

use handfast_core::Wait;

/// The names of the resources, by number: at most so many take part.
pub const RESOURCES: [&str; 3] = ["a", "b", "c"];
/// The one idempotency key.
pub const KEY: &str = "order-4711";
/// Each timer of the coordinator is set for this long, so that one tick fires all that are pending. Short enough that
/// redeliveries are not spread.
pub const PERIOD_MS: u64 = 3;

/// A small world, to be explored to its end.
#[derive(Debug)]
pub struct World {
    /// What `--world` calls it.
    pub name: &'static str,
    /// What it is there to show.
    pub about: &'static str,
    /// One branch of each transaction at each.
    pub participants: &'static [Role],
    /// Who asks.
    pub clients: &'static [ClientRole],
    /// How often each thing may happen.
    pub bounds: Bounds,
    /// Ended transactions that the coordinator remembers.
    pub history: usize,
}

/// What the work of a participant amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It changes something: votes prepared, or refuses.
    Updates,
    /// It changes nothing: votes read-only.
    Reads,
    /// It changes something in an attached store that can promise and commit at once: alone in its transaction, it decides.
    Decides,
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientRole {
    /// A one-shot transaction, under `KEY` if it is keyed.
    Executes { keyed: bool, wait: Wait },
    /// Commits the interactive transaction that the world begins with.
    Commits { wait: Wait },
    /// Aborts that transaction.
    Aborts,
}

/// What is left of each budget.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    /// Messages that are lost.
    pub drops: u8,
    /// Messages that are delivered and stay on the way.
    pub duplicates: u8,
    /// Crashes of the coordinator.
    pub crashes: u8,
    /// Crashes of participants.
    pub participant_crashes: u8,
    /// Sessions that break without a crash.
    pub session_losses: u8,
    /// Ticks: each fires all timers that are set, deadlines and redeliveries.
    pub ticks: u8,
    /// Requests of each client, the first one included.
    pub asks: u8,
    /// Scans besides those of the handshakes.
    pub scans: u8,
    /// Votes that are a refusal.
    pub refusals: u8,
    /// Checkpoints that are begun.
    pub checkpoints: u8,
    /// Stores that are set back to an older state, or lose a prepared branch.
    pub restores: u8,
}

/// Nothing goes wrong, and each client asks once.
pub const CALM: Bounds = Bounds {
    drops: 0,
    duplicates: 0,
    crashes: 0,
    participant_crashes: 0,
    session_losses: 0,
    ticks: 0,
    asks: 1,
    scans: 0,
    refusals: 0,
    checkpoints: 0,
    restores: 0,
};

const EXECUTE: ClientRole = ClientRole::Executes {
    keyed: false,
    wait: Wait::Decided,
};
const EXECUTE_KEYED: ClientRole = ClientRole::Executes {
    keyed: true,
    wait: Wait::Decided,
};
const EXECUTE_KEYED_APPLIED: ClientRole = ClientRole::Executes {
    keyed: true,
    wait: Wait::Applied,
};
const PLENTY: usize = 16;

/// All worlds.
pub const WORLDS: &[World] = &[
    World {
        name: "two-branches",
        about: "a message lost, a refusal, timers, a crash of the coordinator",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            crashes: 1,
            ticks: 1,
            refusals: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "participant-crash",
        about: "a message lost, a refusal, timers, a crash of a participant",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            participant_crashes: 1,
            ticks: 1,
            refusals: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "both-crash",
        about: "a crash of either side",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            crashes: 1,
            participant_crashes: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "bad-network",
        about: "messages lost and doubled, a session that breaks, a scan that comes late",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            duplicates: 1,
            session_losses: 1,
            scans: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "crash-twice",
        about: "the coordinator crashes twice and takes a checkpoint at any time",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE_KEYED],
        bounds: Bounds {
            crashes: 2,
            checkpoints: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "three-branches",
        about: "three branches, a refusal, a crash of the coordinator",
        participants: &[Role::Updates, Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            crashes: 1,
            refusals: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "one-key",
        about: "two clients with one key, before and after a crash of the coordinator",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE_KEYED, EXECUTE_KEYED_APPLIED],
        bounds: Bounds { crashes: 1, ..CALM },
        history: PLENTY,
    },
    World {
        name: "one-key-retries",
        about: "the same without a crash, each asking twice, with a refusal and timers",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE_KEYED, EXECUTE_KEYED_APPLIED],
        bounds: Bounds {
            asks: 2,
            ticks: 1,
            refusals: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "interactive",
        about: "services enlist, one client commits while another aborts, each twice, over a crash",
        participants: &[Role::Updates, Role::Updates],
        clients: &[ClientRole::Commits { wait: Wait::Decided }, ClientRole::Aborts],
        bounds: Bounds {
            asks: 2,
            crashes: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "interactive-lost",
        about: "the same with a session that breaks, each asking once",
        participants: &[Role::Updates, Role::Updates],
        clients: &[ClientRole::Commits { wait: Wait::Decided }, ClientRole::Aborts],
        bounds: Bounds {
            session_losses: 1,
            crashes: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "read-only",
        about: "one branch only reads: a message lost, timers, a crash of the coordinator",
        participants: &[Role::Updates, Role::Reads],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            crashes: 1,
            ticks: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "read-only-lost",
        about: "the same with a session that breaks and a late scan in place of the crash",
        participants: &[Role::Updates, Role::Reads],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            session_losses: 1,
            ticks: 1,
            scans: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "all-read",
        about: "both branches only read, under a key: its answer survives a crash all the same",
        participants: &[Role::Reads, Role::Reads],
        clients: &[EXECUTE_KEYED, EXECUTE_KEYED],
        bounds: Bounds { crashes: 1, ..CALM },
        history: PLENTY,
    },
    World {
        name: "restored",
        about: "a store is set back to where it had only prepared, or loses its prepared branch",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            restores: 1,
            ticks: 1,
            scans: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "restored-crash",
        about: "the same with a crash of the coordinator",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            restores: 1,
            crashes: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "forgotten",
        about: "the same at a coordinator that remembers no ended transaction",
        participants: &[Role::Updates, Role::Updates],
        clients: &[EXECUTE],
        bounds: Bounds {
            restores: 1,
            crashes: 1,
            ..CALM
        },
        history: 0,
    },
    World {
        name: "one-phase",
        about: "one branch that decides: a message lost and one doubled, a refusal, timers, a crash of the coordinator",
        participants: &[Role::Decides],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            duplicates: 1,
            crashes: 1,
            ticks: 2,
            refusals: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "one-phase-lost",
        about: "the same with a session that breaks, a crash of the participant and a late scan in place of that crash",
        participants: &[Role::Decides],
        clients: &[EXECUTE],
        bounds: Bounds {
            drops: 1,
            duplicates: 1,
            participant_crashes: 1,
            session_losses: 1,
            ticks: 1,
            scans: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "one-phase-key",
        about: "one branch that decides, two clients with one key, crashes of both sides, a checkpoint",
        participants: &[Role::Decides],
        clients: &[EXECUTE_KEYED, EXECUTE_KEYED_APPLIED],
        bounds: Bounds {
            crashes: 2,
            participant_crashes: 1,
            checkpoints: 1,
            ticks: 1,
            ..CALM
        },
        history: PLENTY,
    },
    World {
        name: "one-phase-interactive",
        about: "a service that decides enlists; one client commits while another aborts, over crashes and a lost session",
        participants: &[Role::Decides],
        clients: &[ClientRole::Commits { wait: Wait::Applied }, ClientRole::Aborts],
        bounds: Bounds {
            session_losses: 1,
            crashes: 1,
            participant_crashes: 1,
            ticks: 1,
            ..CALM
        },
        history: PLENTY,
    },
];

impl World {
    /// Whether a store may lose what it has promised, so that a deviation is the right report.
    pub fn restores(&self) -> bool {
        self.bounds.restores > 0
    }

    /// Whether the world begins with an open interactive transaction.
    pub fn is_interactive(&self) -> bool {
        self.clients
            .iter()
            .any(|role| !matches!(role, ClientRole::Executes { .. }))
    }
}
