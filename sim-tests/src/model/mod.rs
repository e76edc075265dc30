//! The protocol core under a model checker: small worlds, explored to their end.
//!
//! The coordinator in every state is the real one, `handfast_core::Coordinator`, with its real records and its real
//! recovery. Around it stands the smallest world that can hurt it:
//!
//! ```text
//!   clients ──ask──► coordinator ──effects──► journal (durable prefix | tail) ──► gate
//!                        ▲                                                        │
//!                        └────── network: a set, in no order ◄────────────────────┘
//!                                  │ ▲
//!                              participants (session | store)
//! ```
//!
//! What is abstracted away: time (all timers that are set may fire at any time, together), bytes (records and messages are
//! values), the driver's batches, and the contents of operations. `docs/MODEL.md` lists what is shown and what is not.
//!
//! What must never live here: a protocol decision. Where the model knows better than the core, one of them is wrong.

mod check;
mod command;
mod drain;
mod effects;
mod journal;
mod network;
mod participant;
mod rules;
mod state;
mod step;
mod transcript;
mod world;

pub use check::{Finding, check};
pub use command::ModelArgs;
pub use world::{Bounds, CALM, ClientRole, Role, WORLDS, World};
