//! The SDK over real sockets, against a coordinator that says exactly what a test tells it to.

mod client;
mod fake;
mod ledger_session;
mod native_session;
mod processes;
