//! The gRPC services. They check what comes over the wire, put it to the driver, and put its answers into words.
//!
//! What must never live here: state, and anything that knows how the driver works inside.

mod admin;
mod answers;
pub mod digest;
mod execute_stream;
pub(crate) mod failures;
mod participant_frames;
mod sessions;
mod shutdown;
mod transactions;

pub use admin::AdminService;
pub use sessions::ParticipantsService;
pub use shutdown::drain_when_asked;
pub use transactions::TransactionsService;

use crate::config::Settings;
use crate::driver::DriverHandle;
use crate::operators::Operators;

/// The services. The seam wraps them for its transport.
pub struct Services {
    /// What applications call.
    pub transactions: TransactionsService,
    /// Where participants dial in.
    pub participants: ParticipantsService,
    /// What operators call.
    pub admin: AdminService,
    /// Who may. The seam asks before it hands a call to the service, whatever is called.
    pub operators: Operators,
    /// The longest frame of a session, and the longest request, that is taken.
    pub frame_bytes: usize,
}

impl Services {
    /// Their names, for health checks.
    pub const NAMES: [&str; 3] = [
        "handfast.v1.Transactions",
        "handfast.v1.Participants",
        "handfast.v1.Admin",
    ];

    /// The services over this driver.
    pub fn new(driver: &DriverHandle, settings: &Settings) -> Services {
        Services {
            transactions: TransactionsService::new(
                driver.clone(),
                settings.server.streams,
                settings.server.frame_bytes,
            ),
            participants: ParticipantsService::new(driver.clone(), settings.server.clone()),
            admin: AdminService::new(driver.clone()),
            operators: settings.server.operators.clone(),
            frame_bytes: settings.server.frame_bytes,
        }
    }
}
