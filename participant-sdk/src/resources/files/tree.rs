//! The branches of one root: from an operation to a promise, from a decision to files in place.
//!
//! ```text
//!  prepare   staged/<branch>.<n> written and synced … ─► branches/<branch>.prepared     the promise
//!  commit    CURRENT replaced ─► staged/… renamed into place ─► branches/<branch>.committed
//!            the commit          in the order of the operation    the marker
//!  abort     branches/<branch>.aborted ─► staged/… removed
//!            the fence
//!  loss      branches/<branch>.lost              a commit found staged/… gone before CURRENT was replaced: a hazard
//! ```
//!
//! Each arrow is a sync of the folders on its left: nothing on the right can be durable without what is left of it. After a
//! crash [`Tree::open`] goes on from whatever is there.

use std::collections::BTreeMap;
use std::io;

use handfast_proto::ids::{LogId, StoreId};

use super::first_failure::FirstFailure;
use super::layout::{
    BRANCHES, Current, LAYOUT, Manifest, OWN, Phase, SEEN, STAGED, SeenLine, StagedFile, UNFINISHED,
    branch_file, branch_of, folder_of, staged_name,
};
use super::operation::{FilesOperation, Mode};
use super::storage::{Found, Storage};
use super::{FilesOptions, identity, reader};
use crate::failpoint;
use crate::resource::{BranchKey, Refusal, ResourceError, ScanLine, ScanPhase, SeenLog, StoreIdentity, Vote};

/// What is known of a branch.
type Branch = (Phase, Manifest);

/// An open root. One call at a time.
#[derive(Debug)]
pub(super) struct Tree<S> {
    pub(super) storage: S,
    options: FilesOptions,
    identity: StoreIdentity,
    pub(super) branches: BTreeMap<BranchKey, Branch>,
    pub(super) current: Current,
    pub(super) seen: BTreeMap<LogId, SeenLog>,
    /// Everything must be on one file system, or a rename would fail after the promise.
    device: u64,
    pub(super) failure: FirstFailure,
}

impl<S: Storage> Tree<S> {
    /// Takes the root, finishes what a crash interrupted, and reads what is promised.
    pub fn open(
        mut storage: S,
        options: FilesOptions,
        new_store: StoreId,
        failure: FirstFailure,
    ) -> Result<Self, ResourceError> {
        let (identity, device) = identity::establish(&mut storage, &options.root, new_store, &failure)?;
        let mut tree = Tree {
            storage,
            options,
            identity,
            branches: BTreeMap::new(),
            current: Current::default(),
            seen: BTreeMap::new(),
            device,
            failure,
        };
        tree.recover()?;
        Ok(tree)
    }

    pub fn identity(&self) -> StoreIdentity {
        self.identity
    }

    /// Gives the storage back, with its lock, to be opened again.
    pub fn into_storage(self) -> S {
        self.storage
    }

    #[cfg(test)]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    fn recover(&mut self) -> Result<(), ResourceError> {
        let failed = |error: io::Error| trouble("taking up what is there", &error);
        for folder in [OWN, BRANCHES] {
            for name in self.storage.list(folder).map_err(failed)? {
                if name.ends_with(UNFINISHED) {
                    self.storage.remove(&format!("{folder}/{name}")).map_err(failed)?;
                }
            }
        }
        // What is seen here is answered to a coordinator, so it must not go away again.
        for folder in [OWN, BRANCHES, STAGED] {
            self.failure.sync(&mut self.storage, folder)?;
        }
        self.current = reader::current(&self.storage).map_err(failed)?;
        self.read_seen()?;
        for name in self.storage.list(BRANCHES).map_err(failed)? {
            let Some((branch, phase)) = branch_of(&name) else {
                tracing::warn!(
                    name,
                    "a file among the branches is named by somebody else; it is left alone"
                );
                continue;
            };
            let manifest = self.read_json::<Manifest>(&format!("{BRANCHES}/{name}"))?;
            self.witness(SeenLog {
                log: branch.log,
                epoch: handfast_proto::ids::Epoch(manifest.epoch),
                lsn: manifest.lsn,
            });
            if self.branches.insert(branch, (phase, manifest)).is_some() {
                return Err(ResourceError::permanent(format!(
                    "branch {branch} has two files in {BRANCHES}; compare them, and move one away"
                )));
            }
        }
        if let Some(branch) = self.unapplied()
            && let Err(error) = self.apply(branch)
        {
            if self.failure.told().is_some() {
                return Err(error);
            }
            // It is committed and waits for somebody to mend its folder. Aborts and scans do not wait for that.
            tracing::warn!(%branch, %error, "a commit is not in place yet; it is tried again with every commit");
        }
        self.sweep().map_err(failed)
    }

    /// Removes contents that no branch keeps.
    fn sweep(&mut self) -> io::Result<()> {
        let kept = |name: &String| {
            let keeping = self.branches.values().filter(|(phase, _)| phase.keeps_contents());
            keeping
                .flat_map(|(_, manifest)| &manifest.files)
                .any(|file| file.staged == *name)
        };
        let names = self.storage.list(STAGED)?;
        let orphans: Vec<String> = names.into_iter().filter(|name| !kept(name)).collect();
        for name in orphans {
            self.storage.remove(&format!("{STAGED}/{name}"))?;
        }
        Ok(())
    }

    /// Does the work, and votes.
    pub fn prepare(&mut self, branch: BranchKey, operation: &[u8], seen: SeenLog) -> Vote {
        match self.branches.get(&branch) {
            Some((Phase::Prepared, _)) => return Vote::Prepared { prepared_for: None },
            Some(_) => {
                let message = format!("branch {branch} has ended already; this work came too late");
                return Vote::Refused(Refusal::permanent("BRANCH_ENDED", message));
            }
            None => {}
        }
        match self.try_prepare(branch, operation, seen) {
            Ok(vote) => vote,
            Err(refusal) => Vote::Refused(refusal),
        }
    }

    fn try_prepare(&mut self, branch: BranchKey, operation: &[u8], seen: SeenLog) -> Result<Vote, Refusal> {
        if let Some(failure) = self.failure.told() {
            return Err(Refusal::retryable("STORE_FAILED", failure));
        }
        let operation = FilesOperation::decode(operation)?;
        if operation.files.is_empty() {
            return Ok(Vote::ReadOnly);
        }
        self.bounds(&operation)?;
        for file in &operation.files {
            self.may_write(&file.path, file.mode)?;
        }
        let mut manifest = Manifest {
            layout: LAYOUT,
            epoch: seen.epoch.0,
            lsn: seen.lsn,
            files: Vec::with_capacity(operation.files.len()),
            lost: None,
        };
        for (n, file) in operation.files.iter().enumerate() {
            manifest.files.push(StagedFile {
                path: file.path.clone(),
                staged: staged_name(branch, n),
                bytes: file.contents.len() as u64,
                crc32c: Some(crc32c::crc32c(&file.contents)),
                mode: file.mode,
            });
        }
        if let Err(refusal) = self.promise(branch, &operation, &manifest) {
            // Without a promise what is staged is an orphan. After a failed sync the promise may be there nevertheless, and
            // keeps its contents.
            if self.failure.told().is_none() {
                let staged: Vec<String> = manifest.files.into_iter().map(|file| file.staged).collect();
                self.discard(&staged);
            }
            return Err(refusal);
        }
        self.witness(seen);
        self.branches.insert(branch, (Phase::Prepared, manifest));
        Ok(Vote::Prepared { prepared_for: None })
    }

    fn bounds(&self, operation: &FilesOperation) -> Result<(), Refusal> {
        let FilesOptions {
            max_files,
            max_bytes,
            max_branches,
            ..
        } = self.options;
        let bytes: usize = operation.files.iter().map(|file| file.contents.len()).sum();
        if operation.files.len() > max_files {
            let message = format!(
                "a branch writes at most {max_files} files here, not {}",
                operation.files.len()
            );
            Err(Refusal::permanent("TOO_MANY_FILES", message))
        } else if bytes > max_bytes {
            let message = format!("a branch writes at most {max_bytes} bytes here, not {bytes}");
            Err(Refusal::permanent("TOO_LARGE", message))
        } else if self.branches.len() >= max_branches {
            let message =
                format!("{max_branches} branches are unfinished or not forgotten, as many as are kept here");
            Err(Refusal::retryable("BACKLOG", message))
        } else {
            Ok(())
        }
    }

    /// Whether this file may be promised.
    fn may_write(&self, path: &str, mode: Mode) -> Result<(), Refusal> {
        let prepared = self
            .branches
            .values()
            .filter(|(phase, _)| *phase == Phase::Prepared);
        if prepared
            .flat_map(|(_, manifest)| &manifest.files)
            .any(|file| file.path == path)
        {
            let message = format!("{path:?} is promised to another transaction, which is not decided yet");
            return Err(Refusal::retryable("PATH_PROMISED", message));
        }
        let unreadable =
            |error: io::Error| Refusal::retryable("STORE_UNAVAILABLE", format!("{path:?}: {error}"));
        self.place_is_sound(path, mode).map_err(unreadable)?
    }

    /// Whether a file could come into its place now.
    pub(super) fn place_is_sound(&self, path: &str, mode: Mode) -> io::Result<Result<(), Refusal>> {
        if let Err(refusal) = self.folder_is_sound(path)? {
            return Ok(Err(refusal));
        }
        Ok(match (self.storage.look(path)?, mode) {
            (Found::Nothing, _) | (Found::File { .. }, Mode::Replace) => Ok(()),
            (Found::File { .. }, Mode::Create) => Err(Refusal::permanent(
                "FILE_EXISTS",
                format!("{path:?} exists already"),
            )),
            (Found::Folder { .. } | Found::Other, _) => Err(Refusal::permanent(
                "NOT_A_FILE",
                format!("{path:?} is a folder, a link or a device"),
            )),
        })
    }

    /// Each folder on the way must be a folder, no link, and on the file system of the root.
    pub(super) fn folder_is_sound(&self, path: &str) -> io::Result<Result<(), Refusal>> {
        let folder = folder_of(path);
        let ends = folder.match_indices('/').map(|(end, _)| end);
        for end in ends.chain((!folder.is_empty()).then_some(folder.len())) {
            let part = &folder[..end];
            let refusal = match self.storage.look(part)? {
                Found::Folder { device, .. } if device == self.device => continue,
                Found::Folder { .. } => Refusal::permanent(
                    "DIFFERENT_FILE_SYSTEM",
                    format!(
                        "{part:?} is another file system than the root, and nothing can be renamed into it"
                    ),
                ),
                Found::Nothing => Refusal::permanent(
                    "NO_SUCH_FOLDER",
                    format!("there is no folder {part:?}; make it first, transactions do not"),
                ),
                Found::File { .. } | Found::Other => Refusal::permanent(
                    "PATH_NOT_ALLOWED",
                    format!("{part:?} is no folder, or a link, which could lead out of the root"),
                ),
            };
            return Ok(Err(refusal));
        }
        Ok(Ok(()))
    }

    /// Makes the contents durable, then the promise.
    fn promise(
        &mut self,
        branch: BranchKey,
        operation: &FilesOperation,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        let failed = |error: ResourceError| Refusal::retryable("STORE_FAILED", error.message);
        for (file, staged) in operation.files.iter().zip(&manifest.files) {
            let path = format!("{STAGED}/{}", staged.staged);
            let written = self
                .failure
                .write(&mut self.storage, &path, &file.contents)
                .map_err(failed)?;
            written.map_err(|error| {
                let message = format!("the contents cannot be staged: {error}");
                match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        Refusal::retryable("STORE_FULL", message)
                    }
                    _ => Refusal::retryable("STORE_UNAVAILABLE", message),
                }
            })?;
        }
        self.failure.sync(&mut self.storage, STAGED).map_err(failed)?;
        failpoint::pass("files_after_staged");
        self.write_branch(branch, Phase::Prepared, manifest)
            .map_err(failed)?;
        failpoint::pass("files_after_promise");
        Ok(())
    }

    /// All branches, read from the folder itself.
    pub fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        let names = self
            .storage
            .list(BRANCHES)
            .map_err(|error| trouble("scanning for prepared branches", &error))?;
        let line = |(branch, phase)| ScanLine {
            branch,
            phase: match phase {
                Phase::Prepared => ScanPhase::Prepared,
                Phase::Committed | Phase::Aborted | Phase::Lost => ScanPhase::Marker,
            },
        };
        Ok(names
            .iter()
            .filter_map(|name| branch_of(name))
            .map(line)
            .collect())
    }

    /// The highest positions of coordinators' logs.
    pub fn seen(&self) -> Vec<SeenLog> {
        self.seen.values().copied().collect()
    }

    fn witness(&mut self, seen: SeenLog) {
        let known = self.seen.entry(seen.log).or_insert(seen);
        if (known.epoch, known.lsn) < (seen.epoch, seen.lsn) {
            *known = seen;
        }
    }

    fn read_seen(&mut self) -> Result<(), ResourceError> {
        if self
            .storage
            .look(SEEN)
            .map_err(|error| trouble("reading what was seen", &error))?
            == Found::Nothing
        {
            return Ok(());
        }
        for line in self.read_json::<Vec<SeenLine>>(SEEN)? {
            if let Some(seen) = line.read() {
                self.witness(seen);
            }
        }
        Ok(())
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ResourceError> {
        let bytes = self
            .storage
            .read(path)
            .map_err(|error| trouble(&format!("reading {path}"), &error))?;
        serde_json::from_slice(&bytes.unwrap_or_default()).map_err(|error| {
            ResourceError::permanent(format!(
                "{path} cannot be read: {error}; it was changed by hand, or written by another version of this program"
            ))
        })
    }

    pub(super) fn write_branch(
        &mut self,
        branch: BranchKey,
        phase: Phase,
        manifest: &Manifest,
    ) -> Result<(), ResourceError> {
        self.replace(&branch_file(branch, phase), manifest)
    }

    /// Renames the file of a branch, durably.
    pub(super) fn change(&mut self, branch: BranchKey, from: Phase, to: Phase) -> Result<(), ResourceError> {
        self.storage
            .rename(&branch_file(branch, from), &branch_file(branch, to))
            .map_err(|error| trouble(&format!("noting how {branch} ended"), &error))?;
        self.failure.sync_change(&mut self.storage, BRANCHES)?;
        if let Some((phase, _)) = self.branches.get_mut(&branch) {
            *phase = to;
        }
        Ok(())
    }

    /// Replaces a file of the resource's own as a whole, durably.
    pub(super) fn replace(&mut self, path: &str, value: &impl serde::Serialize) -> Result<(), ResourceError> {
        let bytes = serde_json::to_vec(value).expect("texts and numbers can be written as JSON");
        let unfinished = format!("{path}{UNFINISHED}");
        self.failure
            .write(&mut self.storage, &unfinished, &bytes)?
            .and_then(|()| self.storage.rename(&unfinished, path))
            .map_err(|error| trouble(&format!("writing {path}"), &error))?;
        self.failure.sync_change(&mut self.storage, folder_of(path))
    }
}

pub(super) fn trouble(doing: &str, error: &io::Error) -> ResourceError {
    ResourceError::transient(format!("{doing}: {error}"))
}
