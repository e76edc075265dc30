//! Handfast under scrutiny: the protocol core under a model checker, and the real coordinator with the real participant
//! SDK under deterministic simulation.
//!
//! The simulation runs on one thread, with simulated disks, network, clock and crashes, from a seed that replays byte for
//! byte. It exists only in builds with `--cfg madsim`, which `cargo sim` makes.
//!
//! Whoever has a resource of his own imports `Suite`, and simulates it: see `docs/guide/own-resource.md`.
//!
//! What must never live here: anything that the product needs.

pub mod model;

mod say;

#[cfg(madsim)]
pub mod chaos;
#[cfg(madsim)]
pub mod clocks;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod commands;
#[cfg(madsim)]
pub mod coverage;
#[cfg(madsim)]
mod digest;
#[cfg(madsim)]
pub mod disk;
#[cfg(madsim)]
pub mod intent;
#[cfg(madsim)]
pub mod invariants;
#[cfg(madsim)]
pub mod nemesis;
#[cfg(madsim)]
pub mod oracle;
#[cfg(madsim)]
pub mod own;
#[cfg(madsim)]
pub mod plan;
#[cfg(madsim)]
pub mod processes;
#[cfg(madsim)]
pub mod random;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod scenario;
#[cfg(madsim)]
mod seeds;
#[cfg(madsim)]
pub mod shrink;
#[cfg(madsim)]
pub mod spy;
#[cfg(madsim)]
pub mod stores;
#[cfg(madsim)]
pub mod suite;
#[cfg(madsim)]
pub mod table;
#[cfg(madsim)]
pub mod timeline;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
#[cfg(madsim)]
pub mod world;

#[cfg(madsim)]
pub use own::{Site, Subject, Tag};
#[cfg(madsim)]
pub use suite::Suite;
