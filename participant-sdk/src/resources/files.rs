//! Files as a resource: several files in one transaction, all of them or none.
//!
//! ```text
//!  FilesResource ── tree, finish ─┬─ operation, layout     what is written, and what is written down of it
//!   (one call at a time)          ├─ identity              who this is, and whether it is a copy
//!                                 ├─ first_failure         the sync after which nothing is believed any more
//!                                 └─ storage               what is asked of the file system
//!  FilesReader ── reader                            the convention by which a transaction is read as a whole
//! ```
//!
//! - The promise is the content itself, synced, on the file system of its destination: a commit needs no more room, and its
//!   renames are repeated until they succeed.
//! - Several renames are not one step. So the commit is the replacement of one file, `.handfast/CURRENT`, which lists the files
//!   that it is about; whoever follows [`FilesReader`]'s convention sees all of them from then on, and after any crash.
//! - A path is promised to one transaction at a time; another one is refused, retryably.
//! - Transactions make no folders, follow no links and leave the root by no path.
//! - The root belongs to one process, by a lock. Nobody else may write the paths that transactions write.
//!
//! What must never live here: a decision. A promised branch is finished only as the coordinator says.

mod check;
mod finish;
mod first_failure;
mod identity;
mod layout;
mod operation;
mod reader;
mod storage;
mod tree;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use handfast_proto::ids::StoreId;

pub use operation::{FileWrite, FilesOperation, Mode, OPERATION_VERSION};
pub use reader::FilesReader;

use crate::resource::{
    BranchKey, Completion, Decision, Refusal, Resource, ResourceError, ScanLine, SeenLog, StoreIdentity,
    Vote, Work,
};
use crate::resources::Finding;
use crate::runtime::random_bits;
use first_failure::FirstFailure;
use storage::RealStorage;
use tree::Tree;

/// Where files are written, and how much of them.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// The folder below which everything is. It must exist.
    pub root: PathBuf,
    /// The most files of one branch.
    pub max_files: usize,
    /// The most bytes of one branch.
    pub max_bytes: usize,
    /// Branches that are prepared, or finished and not forgotten; more are refused, retryably.
    pub max_branches: usize,
}

impl FilesOptions {
    /// The defaults for a root: 64 files and 8 MiB a branch.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        FilesOptions {
            root: root.into(),
            max_files: 64,
            max_bytes: 8 << 20,
            max_branches: 100_000,
        }
    }
}

/// A folder that takes part in transactions. A clone is another handle on the same folder.
#[derive(Clone, Debug)]
pub struct FilesResource {
    options: FilesOptions,
    root: Arc<Mutex<Root>>,
    /// Outlives every opening.
    failure: FirstFailure,
}

#[derive(Debug)]
enum Root {
    Closed(RealStorage),
    Open(Box<Tree<RealStorage>>),
    /// A call has panicked, or an opening has failed.
    Lost,
}

impl FilesResource {
    /// A resource that takes its root when it is opened.
    pub fn new(options: FilesOptions) -> Self {
        let storage = RealStorage::new(&options.root);
        FilesResource {
            options,
            root: Arc::new(Mutex::new(Root::Closed(storage))),
            failure: FirstFailure::default(),
        }
    }

    /// What has failed for good: a sync. The root cannot be opened any more by this value; a new process may, once somebody has
    /// looked at the disk.
    pub fn failure(&self) -> Option<String> {
        self.failure.told().map(str::to_owned)
    }

    /// Looks at every precondition, and changes nothing. It need not be open.
    pub async fn check(&self) -> Vec<Finding> {
        let options = self.options.clone();
        blocking(move || check::check(&options))
            .await
            .unwrap_or_else(|error| vec![Finding::broken("root", "cannot be looked at", error.message)])
    }

    /// Runs a call where waiting for the disk hurts nobody. Once begun it runs to its end, whoever waits for it.
    async fn with_tree<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Tree<RealStorage>) -> T + Send + 'static,
    ) -> Result<T, ResourceError> {
        let root = self.root.clone();
        let called = blocking(
            move || match &mut *root.lock().unwrap_or_else(PoisonError::into_inner) {
                Root::Open(tree) => Some(call(tree)),
                Root::Closed(_) | Root::Lost => None,
            },
        );
        called
            .await?
            .ok_or_else(|| ResourceError::transient("the files are not open yet, or are being opened again"))
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, ResourceError> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| ResourceError::transient(format!("a call has not ended: {error}")))
}

impl Resource for FilesResource {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let (root, options, failure) = (self.root.clone(), self.options.clone(), self.failure.clone());
        let refuse = |failure: &FirstFailure| match failure.told() {
            Some(told) => Err(ResourceError::permanent(told)),
            None => Ok(()),
        };
        let opened = blocking(move || {
            // Waits for what an older session left running: after that, nothing of it can still become prepared.
            let mut root = root.lock().unwrap_or_else(PoisonError::into_inner);
            refuse(&failure)?;
            let storage = match std::mem::replace(&mut *root, Root::Lost) {
                Root::Closed(storage) => storage,
                Root::Open(tree) => tree.into_storage(),
                Root::Lost => RealStorage::new(&options.root),
            };
            let opened = Tree::open(storage, options, StoreId(random_bits()), failure.clone());
            refuse(&failure)?;
            let tree = opened?;
            let identity = tree.identity();
            *root = Root::Open(Box::new(tree));
            Ok(identity)
        });
        opened.await?
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        self.with_tree(|tree| tree.seen()).await
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        _timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        let Work::Operation(operation) = work else {
            let message = "this resource takes part in one-shot transactions only";
            return Ok(Vote::Refused(Refusal::permanent("NOT_INTERACTIVE", message)));
        };
        self.with_tree(move |tree| tree.prepare(branch, &operation, seen))
            .await
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        self.with_tree(move |tree| tree.finish(branch, decision)).await?
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        self.with_tree(|tree| tree.scan()).await?
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        let branches = branches.to_vec();
        self.with_tree(move |tree| tree.forget(&branches)).await?
    }
}

#[cfg(test)]
mod tests;
