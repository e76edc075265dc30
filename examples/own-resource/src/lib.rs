//! Resources of one's own under simulation.
//!
//! - [`vouchers`]: a [`Resource`](handfast_participant::Resource) that keeps its promises itself, in a file.
//! - the theatre of `examples/seats`: a [`Staged`](handfast_participant::Staged) service on the SDK's journal.
//! - `simulation`: how both are put into the simulated cluster. Only in the build that `cargo sim-own` makes.

#[cfg(madsim)]
pub mod simulation;
pub mod vouchers;
