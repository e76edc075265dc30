//! Kind `tcc`: a service with three HTTP calls, try, confirm and cancel.

use std::path::PathBuf;
use std::time::Duration;

use handfast_participant::Participant;
use handfast_participant::resources::Finding;
use handfast_participant::resources::tcc::{TccOptions, TccResource};
use serde::Deserialize;

use super::{Kind, Nonsense, Seat};
use crate::secret::EnvironmentSecret;

/// Tries under way at once, unless the table says otherwise.
const DEFAULT_CALLS: usize = 32;

/// What can be said of a service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TccKind {
    /// `<url>/try`, `<url>/confirm` and `<url>/cancel` are called, unless one is named by itself.
    url: String,
    try_url: Option<String>,
    confirm_url: Option<String>,
    cancel_url: Option<String>,
    /// Where the journal is kept; made if it does not exist.
    data_dir: PathBuf,
    #[serde(default)]
    allow_hosts: Vec<String>,
    timeout_ms: Option<u64>,
    max_response_bytes: Option<usize>,
    /// The environment variable with the token of `Authorization: Bearer`.
    bearer_env: Option<EnvironmentSecret>,
    ca_file: Option<PathBuf>,
    /// Tries at once, and beside them as many confirms and cancels.
    calls: Option<usize>,
}

impl TccKind {
    fn options(&self) -> TccOptions {
        let mut options = TccOptions::new(&self.data_dir, &self.url);
        let named = [
            (&mut options.try_url, &self.try_url),
            (&mut options.confirm_url, &self.confirm_url),
            (&mut options.cancel_url, &self.cancel_url),
        ];
        for (url, own) in named {
            if let Some(own) = own {
                url.clone_from(own);
            }
        }
        options.allow_hosts.clone_from(&self.allow_hosts);
        options.timeout = self.timeout_ms.map_or(options.timeout, Duration::from_millis);
        options.max_response_bytes = self.max_response_bytes.unwrap_or(options.max_response_bytes);
        options.bearer = self.bearer_env.as_ref().map(|bearer| bearer.reveal().to_owned());
        options.ca_file.clone_from(&self.ca_file);
        options
    }
}

impl Kind for TccKind {
    fn validate(&self) -> Result<(), Nonsense> {
        Ok(self.options().validate()?)
    }

    async fn check(&self) -> Vec<Finding> {
        TccResource::new(self.options()).check().await
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let calls = self.calls.unwrap_or(DEFAULT_CALLS);
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .concurrency(calls, calls)
            .resource(TccResource::new(self.options()));
        let _watch = seat.watch(participant.handle());
        Ok(participant.run(seat.stopped).await?)
    }
}
