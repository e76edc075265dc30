//! Kind `files`: files in a folder of this machine, several in one transaction.

use std::path::PathBuf;

use handfast_participant::Participant;
use handfast_participant::resources::Finding;
use handfast_participant::resources::files::{FilesOptions, FilesResource};
use serde::Deserialize;

use super::{Kind, Seat};

/// Prepares that wait for the disk at once. The folder takes one call at a time.
const PREPARES: usize = 16;
/// Decisions that do.
const DECISIONS: usize = 16;

/// What can be said of a folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesKind {
    /// Everything is written below it; it must exist.
    root: PathBuf,
    max_files: Option<usize>,
    max_bytes: Option<usize>,
}

impl FilesKind {
    fn options(&self) -> FilesOptions {
        let mut options = FilesOptions::new(&self.root);
        options.max_files = self.max_files.unwrap_or(options.max_files);
        options.max_bytes = self.max_bytes.unwrap_or(options.max_bytes);
        options
    }
}

impl Kind for FilesKind {
    async fn check(&self) -> Vec<Finding> {
        FilesResource::new(self.options()).check().await
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let resource = FilesResource::new(self.options());
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .concurrency(PREPARES, DECISIONS)
            .resource(resource.clone());
        let watch = seat.watch(participant.handle());
        let mut stopped = seat.stopped;
        let ended = participant.run(&mut stopped).await;
        drop(watch);
        let Some(failure) = resource.failure() else {
            return Ok(ended?);
        };
        // The next try in this process would believe a disk that has dropped what it was given.
        tracing::error!(
            resource = seat.name,
            kind = "files",
            error = failure,
            "DOWN until the agent is started again: a sync has failed, and no later one of this process is believed"
        );
        stopped.await;
        Ok(())
    }
}
