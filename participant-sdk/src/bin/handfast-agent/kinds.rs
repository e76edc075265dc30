//! The kinds of resource that a `[[resource]]` table can name. One file a kind: what its table may say, what is looked at
//! before it takes part, and how it takes part.
#![allow(dead_code, reason = "the agent's file is read by the next change")]

#[cfg(feature = "kafka")]
mod kafka;

use std::future::Future;
use std::pin::Pin;

use handfast_participant::resources::Finding;

/// What is the same for every kind: who takes part, where, and until when.
pub struct Seat {
    /// The stable name of the resource.
    pub name: String,
    /// Addresses of the coordinator.
    pub coordinators: Vec<String>,
    /// Completes when the agent is asked to stop.
    pub stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A `[[resource]]` table of one kind, with `kind`, `name` and `coordinator` taken out. Implemented by serde structs that deny
/// unknown fields, so that a slip of the pen is told with its line.
pub trait Kind {
    /// Connects and looks at every precondition, and changes nothing. What cannot be reached is a broken finding.
    fn check(&self) -> impl Future<Output = Vec<Finding>> + Send;

    /// Takes part until the seat's `stopped` completes. An error is what only a person can mend.
    fn run(self, seat: Seat) -> impl Future<Output = anyhow::Result<()>> + Send;
}
