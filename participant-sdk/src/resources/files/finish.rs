//! Carrying decisions out: files into place, or out of the way.

use std::io;

use super::layout::{
    BRANCHES, CURRENT, Current, LAYOUT, Manifest, Phase, SEEN, STAGED, SeenLine, StagedFile, branch_file,
    branch_name, branch_of, folder_of,
};
use super::storage::{Found, Storage};
use super::tree::{Tree, trouble};
use crate::failpoint;
use crate::resource::{BranchKey, Completion, Decision, ResourceError};

impl<S: Storage> Tree<S> {
    /// Carries a decision out.
    pub fn finish(&mut self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        if let Some(failure) = self.failure.told() {
            return Err(ResourceError::transient(failure));
        }
        let known = self.branches.get(&branch);
        match (known.map(|(phase, _)| *phase), decision) {
            // Of a lost branch nothing was written, and nothing will be.
            (Some(Phase::Committed), Decision::Commit)
            | (Some(Phase::Aborted | Phase::Lost), Decision::Abort) => Ok(Completion::Done),
            (Some(Phase::Lost), Decision::Commit) => {
                let evidence = known.and_then(|(_, manifest)| manifest.lost.clone());
                Ok(Completion::Hazard(evidence.unwrap_or_default()))
            }
            (Some(Phase::Prepared), Decision::Commit) => self.commit(branch),
            (Some(Phase::Prepared), Decision::Abort) if self.current.branch == branch_name(branch) => Ok(
                Completion::Contrary(format!("{CURRENT} says that the branch was committed")),
            ),
            (Some(Phase::Prepared) | None, Decision::Abort) => self.abort(branch),
            (Some(Phase::Committed), Decision::Abort) => Ok(Completion::Contrary(
                "there is a marker: the branch was committed".to_owned(),
            )),
            (Some(Phase::Aborted), Decision::Commit) => Ok(Completion::Contrary(
                "there is a fence: the branch was aborted".to_owned(),
            )),
            (None, Decision::Commit) => Ok(Completion::Hazard(format!(
                "{BRANCHES} has neither the prepared branch {} nor a marker of it",
                branch_name(branch)
            ))),
        }
    }

    fn commit(&mut self, branch: BranchKey) -> Result<Completion, ResourceError> {
        if self.current.branch != branch_name(branch) {
            // The one before must be in place before it is no longer listed, or a reader could see half of it.
            if let Some(before) = self.unapplied() {
                self.apply(before)?;
            }
            let files = self
                .branches
                .get(&branch)
                .map(|(_, manifest)| manifest.files.clone());
            let files = files.unwrap_or_default();
            if let Some(lost) = self
                .lost(&files)
                .map_err(|error| trouble("looking at what is staged", &error))?
            {
                return self.note_loss(branch, lost);
            }
            self.is_clear(&files)?;
            let files = files
                .into_iter()
                .map(|file| StagedFile { crc32c: None, ..file })
                .collect();
            let current = Current {
                layout: LAYOUT,
                sequence: self.current.sequence + 1,
                branch: branch_name(branch),
                files,
            };
            self.replace(CURRENT, &current)?;
            self.current = current;
            failpoint::pass("files_after_current");
        }
        self.apply(branch)?;
        Ok(Completion::Done)
    }

    /// A loss is an end too: told in the same words whenever it is asked for, and no longer in the way of others.
    fn note_loss(&mut self, branch: BranchKey, evidence: String) -> Result<Completion, ResourceError> {
        if let Some((_, manifest)) = self.branches.get_mut(&branch) {
            manifest.lost = Some(evidence.clone());
            let manifest = manifest.clone();
            // A crash in between leaves a promise, and the next commit looks again.
            self.write_branch(branch, Phase::Prepared, &manifest)?;
            self.change(branch, Phase::Prepared, Phase::Lost)?;
        }
        Ok(Completion::Hazard(evidence))
    }

    /// Evidence that something took away or changed what was promised, before anything was committed.
    fn lost(&self, files: &[StagedFile]) -> io::Result<Option<String>> {
        for file in files {
            let staged = format!("{STAGED}/{}", file.staged);
            let found = self.storage.look(&staged)?;
            if found != (Found::File { bytes: file.bytes }) {
                return Ok(Some(format!(
                    "{STAGED}/{} for {:?} should have {} bytes, and is {found:?}",
                    file.staged, file.path, file.bytes
                )));
            }
            let Some(promised) = file.crc32c else { continue };
            let checksum = self.storage.read(&staged)?.as_deref().map(crc32c::crc32c);
            if checksum != Some(promised) {
                return Ok(Some(format!(
                    "{staged} for {:?} has other contents than were promised: their CRC-32C should be {promised:08x}, and is \
                     {}",
                    file.path,
                    checksum.map_or("none".to_owned(), |found| format!("{found:08x}"))
                )));
            }
        }
        Ok(None)
    }

    /// Whether all places are as they were when they were promised. What is in the way of this commit must be told before it is
    /// the last one, or it is in the way of all later ones.
    fn is_clear(&self, files: &[StagedFile]) -> Result<(), ResourceError> {
        for file in files {
            let place = self
                .place_is_sound(&file.path, file.mode)
                .map_err(|error| trouble(&format!("looking at {:?}", file.path), &error))?;
            place.map_err(|refusal| {
                ResourceError::transient(format!(
                    "{}; it was not so when the file was promised; move it away or mend it, and the commit goes on",
                    refusal.message
                ))
            })?;
        }
        Ok(())
    }

    /// The branch whose commit is the last one and whose files are not known to be in place.
    pub(super) fn unapplied(&self) -> Option<BranchKey> {
        let (branch, _) = branch_of(&format!("{}.prepared", self.current.branch))?;
        let is_prepared = matches!(self.branches.get(&branch), Some((Phase::Prepared, _)));
        is_prepared.then_some(branch)
    }

    /// Brings the files of the last commit into place, as often as need be, and leaves a marker.
    pub(super) fn apply(&mut self, branch: BranchKey) -> Result<(), ResourceError> {
        for file in self.current.files.clone() {
            let failed = |error: io::Error| trouble(&format!("bringing {:?} into place", file.path), &error);
            let staged = format!("{STAGED}/{}", file.staged);
            if self.storage.look(&staged).map_err(failed)? == Found::Nothing {
                continue;
            }
            if let Err(refusal) = self.folder_is_sound(&file.path).map_err(failed)? {
                return Err(ResourceError::transient(refusal.message));
            }
            self.storage.rename(&staged, &file.path).map_err(failed)?;
            failpoint::pass("files_after_rename");
        }
        let mut folders: Vec<String> = self
            .current
            .files
            .iter()
            .map(|file| folder_of(&file.path).to_owned())
            .collect();
        folders.push(STAGED.to_owned());
        folders.sort();
        folders.dedup();
        for folder in folders {
            self.failure.sync(&mut self.storage, &folder)?;
        }
        failpoint::pass("files_after_renames");
        self.change(branch, Phase::Prepared, Phase::Committed)?;
        failpoint::pass("files_after_marker");
        Ok(())
    }

    fn abort(&mut self, branch: BranchKey) -> Result<Completion, ResourceError> {
        if self.branches.contains_key(&branch) {
            self.change(branch, Phase::Prepared, Phase::Aborted)?;
        } else {
            let seen = self.seen.get(&branch.log);
            let fence = Manifest {
                layout: LAYOUT,
                epoch: seen.map_or(0, |seen| seen.epoch.0),
                lsn: seen.map_or(0, |seen| seen.lsn),
                files: Vec::new(),
                lost: None,
            };
            self.write_branch(branch, Phase::Aborted, &fence)?;
            self.branches.insert(branch, (Phase::Aborted, fence));
        }
        failpoint::pass("files_after_fence");
        let files = self.branches.get(&branch).map(|(_, manifest)| &manifest.files);
        let orphans: Vec<String> = files
            .into_iter()
            .flatten()
            .map(|file| file.staged.clone())
            .collect();
        self.discard(&orphans);
        Ok(Completion::Done)
    }

    /// Deletes markers, fences and losses, after what they had seen is written elsewhere.
    pub fn forget(&mut self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let lines: Vec<SeenLine> = self.seen.values().map(SeenLine::of).collect();
        self.replace(SEEN, &lines)?;
        let mut orphans = Vec::new();
        for branch in branches {
            let Some((phase, manifest)) = self.branches.get(branch) else {
                continue;
            };
            match phase {
                Phase::Prepared => continue,
                Phase::Committed | Phase::Aborted => {}
                Phase::Lost => orphans.extend(manifest.files.iter().map(|file| file.staged.clone())),
            }
            self.storage
                .remove(&branch_file(*branch, *phase))
                .map_err(|error| trouble("deleting a marker", &error))?;
            self.branches.remove(branch);
        }
        self.failure.sync_change(&mut self.storage, BRANCHES)?;
        self.discard(&orphans);
        Ok(())
    }

    /// Removes contents that no promise needs any more; what stays is removed at the next opening.
    pub(super) fn discard(&mut self, orphans: &[String]) {
        for staged in orphans {
            if let Err(error) = self.storage.remove(&format!("{STAGED}/{staged}")) {
                tracing::warn!(staged, %error, "contents that nobody was promised stay for now");
            }
        }
    }
}
