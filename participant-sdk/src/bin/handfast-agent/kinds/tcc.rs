//! Kind `tcc`: a service with three calls over HTTP or gRPC: try, confirm and cancel.

use std::num::NonZeroUsize;
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

/// What a service speaks, as a table names it.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Spoken {
    #[default]
    Http,
    Grpc,
}

/// What can be said of a service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TccKind {
    #[serde(default)]
    transport: Spoken,
    /// Over HTTP `<url>/try`, `<url>/confirm` and `<url>/cancel` are called, over gRPC the methods `Try`, `Confirm` and `Cancel` of
    /// the service that its path names, unless one is named by itself. May be left out if all three are.
    url: Option<String>,
    try_url: Option<String>,
    confirm_url: Option<String>,
    cancel_url: Option<String>,
    /// Where the journal is kept; made if it does not exist.
    data_dir: PathBuf,
    #[serde(default)]
    allow_hosts: Vec<String>,
    timeout_ms: Option<u64>,
    max_response_bytes: Option<NonZeroUsize>,
    /// The environment variable with the token of `Authorization: Bearer`.
    bearer_env: Option<EnvironmentSecret>,
    ca_file: Option<PathBuf>,
    /// Tries at once, and beside them as many confirms and cancels.
    calls: Option<NonZeroUsize>,
}

impl TccKind {
    fn options(&self) -> TccOptions {
        // Without it each of the three stands by itself, or the table was refused.
        let url = self.url.as_deref().unwrap_or_default();
        let mut options = match self.transport {
            Spoken::Http => TccOptions::new(&self.data_dir, url),
            Spoken::Grpc => TccOptions::grpc(&self.data_dir, url),
        };
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
        options.max_response_bytes = self
            .max_response_bytes
            .map_or(options.max_response_bytes, NonZeroUsize::get);
        options.bearer = self.bearer_env.as_ref().map(|bearer| bearer.reveal().to_owned());
        options.ca_file.clone_from(&self.ca_file);
        options
    }
}

impl Kind for TccKind {
    fn validate(&self) -> Result<(), Nonsense> {
        let named = [&self.try_url, &self.confirm_url, &self.cancel_url];
        if self.url.is_none() && named.iter().any(|url| url.is_none()) {
            return Err("write url, or each of try_url, confirm_url and cancel_url"
                .to_owned()
                .into());
        }
        Ok(self.options().validate()?)
    }

    async fn check(&self) -> Vec<Finding> {
        TccResource::new(self.options()).check().await
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let calls = self.calls.map_or(DEFAULT_CALLS, NonZeroUsize::get);
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .concurrency(calls, calls)
            .resource(TccResource::new(self.options()));
        let _watch = seat.watch(participant.handle());
        Ok(participant.run(seat.stopped).await?)
    }
}
