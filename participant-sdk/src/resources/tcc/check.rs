//! What is looked at before the service takes part. Nothing of it is called that has an effect.

use std::time::Duration;

use super::TccResource;
use super::call::{Caller, Reached, Step};
use crate::resources::Finding;

/// How long looking who is at an address may take.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

impl TccResource {
    /// Looks at every precondition, and calls nothing of the service. It need not be open.
    pub async fn check(&self) -> Vec<Finding> {
        let options = &self.0.options;
        if let Err(error) = options.validate() {
            return vec![Finding::broken("settings", "do not fit", error)];
        }
        let mut findings = Vec::new();
        match Caller::new(options) {
            Ok(caller) => {
                for step in Step::ALL {
                    findings.push(match caller.reach(step, CHECK_LIMIT).await {
                        Reached::Fit(found) => Finding::holds(step.word(), found),
                        Reached::Doubtful { found, todo } => Finding::advice(step.word(), found, todo),
                        Reached::Unfit { found, todo } => Finding::broken(step.word(), found, todo),
                    });
                }
                let limit = format!("at most {} ms each", options.timeout.as_millis());
                findings.push(Finding::holds("calls", limit));
            }
            Err(error) => findings.push(Finding::broken("calls", "cannot be made", error.message)),
        }
        let place = options.data_dir.display().to_string();
        findings.push(match std::fs::metadata(&options.data_dir) {
            Ok(metadata) if metadata.is_dir() => Finding::holds("data_dir", place),
            Ok(_) => Finding::broken("data_dir", place, "this is a file; name a directory"),
            Err(_) => Finding::holds("data_dir", format!("{place} will be made")),
        });
        findings
    }
}
