//! The wire of Handfast (`handfast.v1`) and the words that applications, coordinator and participants share.
//!
//! - [`v1`]: the generated messages, clients and servers.
//! - [`tcc`]: the calls that `handfast-agent` makes of a service with try, confirm and cancel (`handfast.tcc.v1`).
//! - [`ids`]: who a transaction, a branch, a log, a store is.
//! - [`convert`]: wire to ids, with an error that names the field.
//! - [`sizes`]: how long the messages of applications may be.
//! - [`status`]: the one mapping between an error's stable reason and a gRPC status.
//! - [`alarm`]: the timer of the event loops at both ends of a session.
//! - [`transport`]: how calls get from one process to another.
//!
//! What must never live here: protocol decisions, and anything that knows a transaction's state.
#![deny(missing_docs)]

pub mod alarm;
pub mod convert;
pub mod sizes;
pub mod status;
pub mod transport;

pub use handfast_ids as ids;

/// The version of the session protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The generated code; the meaning of each field stands in the `.proto` files.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("handfast.v1");

    /// The compiled `.proto` files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/handfast.v1.bin"));
}

/// The contract of a service that takes part by try, confirm and cancel. No coordinator serves it, so it is a package of its own.
pub mod tcc {
    /// The generated code; the meaning of each field and the rules of the service stand in the `.proto` file.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("handfast.tcc.v1");

        /// The compiled `.proto` file, for gRPC reflection of a service.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/handfast.tcc.v1.bin"));
    }
}
