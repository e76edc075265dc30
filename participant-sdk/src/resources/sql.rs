//! What the SQL databases among the ready-made resources share: operations and their values, and the registers of work in
//! progress.
//!
//! What must never live here: a driver, or anything that only one of them does.

pub(super) mod lost_work;
pub(super) mod open_branches;
pub(super) mod operation;
pub(super) mod parameter;
pub(super) mod positions;
pub(super) mod running;

pub use open_branches::Receipt;
pub use operation::{MAX_PARAMETERS, MAX_STATEMENTS, OPERATION_VERSION, SqlOperation, Statement};
pub use parameter::Parameter;
