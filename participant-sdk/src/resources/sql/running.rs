//! Which branch is being worked on by which backend (a server's process or thread, whatever tells one connection of ours from
//! all others), over all sessions of this process.
//!
//! ```text
//!   begin ──► live ──settle──► (forgotten: the transaction is prepared or rolled back)
//!              │ │
//!              │ └──doom──► the backend is being ended; its connection is not given back
//!              └──dropped──► abandoned: nobody listens any more, the backend may still run
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::resource::BranchKey;

/// The most leftovers of broken-off work that are kept in mind, oldest dropped first.
const MAX_ABANDONED: usize = 1_024;

/// The register.
pub(in crate::resources) struct Running<B>(Mutex<Register<B>>);

struct Register<B> {
    live: BTreeMap<BranchKey, Live<B>>,
    abandoned: VecDeque<(BranchKey, B)>,
}

struct Live<B> {
    backend: Option<B>,
    doomed: bool,
    ended: watch::Receiver<()>,
}

/// Work on one branch, for as long as anybody holds it. Dropped without [`RunningWork::settle`], it counts as abandoned.
pub(in crate::resources) struct RunningWork<B> {
    register: Arc<Running<B>>,
    branch: BranchKey,
    settled: AtomicBool,
    _ends: watch::Sender<()>,
}

impl<B> Default for Running<B> {
    fn default() -> Self {
        Running(Mutex::new(Register {
            live: BTreeMap::new(),
            abandoned: VecDeque::new(),
        }))
    }
}

impl<B> Running<B> {
    fn lock(&self) -> MutexGuard<'_, Register<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins work on a branch; waits while other work on the same branch goes on (a Prepare that was delivered twice).
    pub async fn begin(self: &Arc<Self>, branch: BranchKey) -> Arc<RunningWork<B>> {
        loop {
            match self.try_begin(branch) {
                Ok(work) => return work,
                Err(mut ended) => while ended.changed().await.is_ok() {},
            }
        }
    }

    /// Begins work on a branch, or gives what closes when the work that goes on has ended.
    pub fn try_begin(
        self: &Arc<Self>,
        branch: BranchKey,
    ) -> Result<Arc<RunningWork<B>>, watch::Receiver<()>> {
        let mut locked = self.lock();
        if let Some(live) = locked.live.get(&branch) {
            return Err(live.ended.clone());
        }
        let (ends, ended) = watch::channel(());
        locked.live.insert(
            branch,
            Live {
                backend: None,
                doomed: false,
                ended,
            },
        );
        let register = self.clone();
        Ok(Arc::new(RunningWork {
            register,
            branch,
            settled: AtomicBool::new(false),
            _ends: ends,
        }))
    }

    /// The branches on which work goes on or may go on.
    pub fn branches(&self) -> Vec<BranchKey> {
        let register = self.lock();
        register
            .live
            .keys()
            .copied()
            .chain(register.abandoned.iter().map(|(branch, _)| *branch))
            .collect()
    }
}

impl<B: Clone + PartialEq> Running<B> {
    /// The branch is to end now: the backend to end, if work on it goes on or was abandoned.
    pub fn doom(&self, branch: BranchKey) -> Vec<B> {
        let mut register = self.lock();
        let abandoned = register.abandoned.iter().filter(|(key, _)| *key == branch);
        let mut backends: Vec<B> = abandoned.map(|(_, backend)| backend.clone()).collect();
        if let Some(live) = register.live.get_mut(&branch) {
            live.doomed = true;
            backends.extend(live.backend.clone());
        }
        backends
    }

    /// All that were left alone, oldest first.
    pub fn abandoned(&self) -> Vec<(BranchKey, B)> {
        self.lock().abandoned.iter().cloned().collect()
    }

    /// Of those that were left alone, only these backends still live.
    pub fn still_alive(&self, alive: &[B], asked: &[(BranchKey, B)]) {
        let gone = |entry: &(BranchKey, B)| asked.contains(entry) && !alive.contains(&entry.1);
        self.lock().abandoned.retain(|entry| !gone(entry));
    }
}

impl<B> RunningWork<B> {
    /// Says which backend does the work.
    pub fn runs_on(&self, backend: B) {
        if let Some(live) = self.register.lock().live.get_mut(&self.branch) {
            live.backend = Some(backend);
        }
    }

    /// Which backend does the work, once it is known. Where the server itself says who works on a branch, nobody asks here.
    #[cfg(feature = "postgres")]
    pub fn backend(&self) -> Option<B>
    where
        B: Clone,
    {
        self.register
            .lock()
            .live
            .get(&self.branch)
            .and_then(|live| live.backend.clone())
    }

    /// The transaction has ended, and it is known how. `false` if its backend is being ended, so that the connection must
    /// not serve anybody else.
    pub fn settle(&self) -> bool {
        if self.settled.swap(true, Relaxed) {
            return false;
        }
        let live = self.register.lock().live.remove(&self.branch);
        live.is_none_or(|live| !live.doomed)
    }
}

impl<B> Drop for RunningWork<B> {
    fn drop(&mut self) {
        if self.settled.load(Relaxed) {
            return;
        }
        let mut register = self.register.lock();
        if let Some(Live {
            backend: Some(backend),
            ..
        }) = register.live.remove(&self.branch)
        {
            register.abandoned.push_back((self.branch, backend));
            if register.abandoned.len() > MAX_ABANDONED {
                register.abandoned.pop_front();
            }
        }
    }
}
