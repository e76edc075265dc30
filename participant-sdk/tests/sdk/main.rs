//! The SDK over real sockets, against a coordinator that says exactly what a test tells it to.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod client;
mod fake;
mod ledger_session;
mod native_session;
mod native_store;
mod processes;
