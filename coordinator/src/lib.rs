//! The Handfast coordinator: the protocol core, its log, its index and its participants' sessions, joined into a service.
//!
//! ```text
//!   server/  gRPC: applications, participants, operators          cli/  one file a subcommand
//!      │ one handle
//!   driver/  the one event loop ── core (protocol) ── wal (log) ── index/ (history, rebuildable)
//! ```
//!
//! What must never live here: a protocol decision. Those are made in `handfast-core`.

pub mod cli;
pub mod config;
pub mod driver;
pub mod error;
pub mod failpoint;
pub mod index;
pub mod operators;
pub mod runtime;
pub mod server;
pub mod service;
