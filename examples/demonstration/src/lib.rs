//! What the demonstrations share: the [`processes`] that they start, the [`storm`] that kills them, what the [`coordinator`] says of
//! itself while they are waited for, the [`folder`] that keeps their data, and the [`table`] of the verdict.
//!
//! What must never live here: anything that knows what is demonstrated, or that judges it.
#![allow(clippy::disallowed_methods, reason = "a demonstration lives in real time")]

pub mod coordinator;
pub mod folder;
pub mod processes;
pub mod progress;
pub mod roles;
pub mod storm;
pub mod table;
