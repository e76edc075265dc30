//! Why a participant stopped: always something that only a person can mend.

use handfast_proto::status::Failure;

use crate::journal::JournalError;
use crate::resource::ResourceError;

/// Why a participant cannot take part. What passes by itself is tried again and never told this way.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ParticipantError {
    /// The coordinator refuses this participant, for instance because another store is known by its name.
    #[error("the coordinator refuses this participant: {0}")]
    Refused(Failure),
    /// The resource is out of order or misconfigured.
    #[error("the resource cannot take part: {0}")]
    Resource(ResourceError),
    /// The journal cannot be opened or has failed.
    #[error("the journal cannot be used: {0}")]
    Journal(#[from] JournalError),
    /// A name, an address or an option makes no sense.
    #[error("{0}")]
    Configuration(String),
}
