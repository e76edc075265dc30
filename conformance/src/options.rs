//! What is tried, and how.

use std::time::Duration;

use crate::effects::Effects;
use crate::operations::Operations;

/// How long something is waited for that must come.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(20);

/// What is tried, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What starts the participant: a command line for `sh`, in which `{coordinator}` becomes the address, `host:port`, and
    /// `{resource}` the name. Both are in the environment too, as `HANDFAST_COORDINATOR` and `HANDFAST_RESOURCE`.
    pub exec: String,
    /// The name under which it takes part.
    pub resource: String,
    /// What it is asked to do.
    pub operations: Operations,
    /// What `{n}` becomes first. A store that a former run has worked in needs numbers that were not used there.
    pub first_number: u64,
    /// Where its effects can be seen.
    pub effects: Option<Effects>,
    /// How long something is waited for that must come.
    pub patience: Duration,
    /// Names of cases or groups; empty for all.
    pub only: Vec<String>,
}

impl Options {
    /// All cases that need no operation, on this command line.
    pub fn new(exec: impl Into<String>, resource: impl Into<String>) -> Self {
        Options {
            exec: exec.into(),
            resource: resource.into(),
            operations: Operations::default(),
            first_number: 1,
            effects: None,
            patience: DEFAULT_PATIENCE,
            only: Vec::new(),
        }
    }
}
