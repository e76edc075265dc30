//! How calls get from one process to another: gRPC over TCP, or what the simulator has in its place.

#[cfg(madsim)]
pub mod simulated;

#[cfg(madsim)]
pub use simulated::{Channel, Endpoint, Error};
#[cfg(not(madsim))]
pub use tonic::transport::{Channel, Endpoint, Error};
