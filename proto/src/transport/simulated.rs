//! The simulator's transport: calls and streams of messages that stay as they are, each of which arrives some time later.
//!
//! ```text
//!   client's process                                       server's process
//!   Grpc ── Opening, then messages ──► line ──► a task for the call ──► service
//!        ◄───────── answers ───────── line ◄───────┘
//! ```
//!
//! A call is two lines, one each way. A [line](line) keeps the order, takes its time, and tells each of its ends that the other is gone
//! only as late as a message would: so does a connection. A process that dies drops its ends, and a call that its client has given
//! up is dropped by the server where it stands, as with gRPC.
//!
//! It is simpler than what it stands for: a connection is never lost while both its ends live, and a new process at the same address
//! takes calls of a channel that was made to the old one. What a network does to messages beyond their delay, such as losing them,
//! is the business of the layer above.
//!
//! What must never live here: anything of the protocol, and faults.

mod call;
mod endpoint;
mod line;
mod network;
mod server;
#[cfg(test)]
mod tests;

pub use call::Grpc;
pub use endpoint::{Channel, Endpoint, Error};
pub use network::Network;
pub use server::Server;
