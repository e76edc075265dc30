//! A process of somebody's service, and how the simulator looks into it: it passes every call on, and notes whose it was.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use handfast_participant::participant::Builder;
use handfast_participant::{
    BranchKey, Completion, Decision, ParticipantError, Refusal, Reservation, Resource, ResourceError,
    ScanLine, ScanPhase, SeenLog, Staged, StoreIdentity, Vote, Work,
};

use super::{Register, Site, Subject, Tag};

/// A kind of service, whatever its type.
pub(crate) trait Kind: Send + Sync {
    fn change(&self, tag: Tag, item: u64) -> Bytes;
    fn read(&self, tag: Tag) -> Option<Bytes>;
    fn refused(&self, tag: Tag) -> Option<Bytes>;

    /// Runs a process. `starts` is called once there is something to look into.
    fn run(
        &self,
        site: Site,
        builder: Builder,
        register: Arc<Register>,
        starts: Box<dyn FnOnce(Arc<dyn Running>) + Send>,
    ) -> LocalBoxFuture<'static, Result<(), ParticipantError>>;
}

/// A process that runs.
pub(crate) trait Running: Send + Sync {
    /// What its readers see.
    fn effects(&self) -> Vec<Tag>;

    /// What its owner says must be so.
    fn check(&self) -> Result<(), String>;

    /// How many branches it holds as prepared; `None` if it cannot tell now.
    fn prepared(&self) -> BoxFuture<'_, Option<usize>>;
}

pub(super) struct StagedKind<S>(Arc<S>);

impl<S> StagedKind<S> {
    pub fn new(subject: S) -> Self {
        StagedKind(Arc::new(subject))
    }
}

impl<S: Subject<Service: Staged>> Kind for StagedKind<S> {
    fn change(&self, tag: Tag, item: u64) -> Bytes {
        self.0.change(tag, item)
    }

    fn read(&self, tag: Tag) -> Option<Bytes> {
        self.0.read(tag)
    }

    fn refused(&self, tag: Tag) -> Option<Bytes> {
        self.0.refused(tag)
    }

    fn run(
        &self,
        site: Site,
        builder: Builder,
        register: Arc<Register>,
        starts: Box<dyn FnOnce(Arc<dyn Running>) + Send>,
    ) -> LocalBoxFuture<'static, Result<(), ParticipantError>> {
        let subject = self.0.clone();
        let watched = WatchedStaged {
            participant: site.node,
            register,
            state: Arc::new(Mutex::new(StagedState {
                service: subject.start(&site),
                promised: BTreeSet::new(),
            })),
        };
        Box::pin(async move {
            let state = watched.state.clone();
            let participant = builder.staged_on(watched, site.disk).await?;
            starts(Arc::new(RunningStaged { subject, state }));
            participant.run(std::future::pending()).await
        })
    }
}

struct StagedState<S> {
    service: S,
    promised: BTreeSet<BranchKey>,
}

/// Passes calls on to a staged service.
struct WatchedStaged<S> {
    participant: u8,
    register: Arc<Register>,
    state: Arc<Mutex<StagedState<S>>>,
}

impl<S> WatchedStaged<S> {
    fn state(&self) -> MutexGuard<'_, StagedState<S>> {
        self.state.lock().expect("a service that panics ends the run")
    }
}

impl<S: Staged> Staged for WatchedStaged<S> {
    fn initial(&self) -> Vec<Bytes> {
        self.state().service.initial()
    }

    fn reserve(&mut self, branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        self.register.saw(self.participant, branch, operation);
        let state = &mut *self.state();
        let found = state.service.reserve(branch, operation)?;
        if found == Reservation::Reserved {
            state.promised.insert(branch);
        }
        Ok(found)
    }

    fn apply(&mut self, position: u64, branch: BranchKey, operation: &[u8]) {
        self.register.saw(self.participant, branch, operation);
        self.register.commits(self.participant, branch);
        let state = &mut *self.state();
        state.promised.remove(&branch);
        state.service.apply(position, branch, operation);
    }

    fn release(&mut self, branch: BranchKey, operation: &[u8]) {
        let state = &mut *self.state();
        state.promised.remove(&branch);
        state.service.release(branch, operation);
    }

    fn synced(&mut self, position: u64) {
        self.state().service.synced(position);
    }

    fn snapshot(&self) -> Vec<Bytes> {
        self.state().service.snapshot()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        self.state().service.restore(record)
    }
}

struct RunningStaged<S: Subject> {
    subject: Arc<S>,
    state: Arc<Mutex<StagedState<S::Service>>>,
}

impl<S: Subject> RunningStaged<S> {
    fn state(&self) -> MutexGuard<'_, StagedState<S::Service>> {
        self.state.lock().expect("a service that panics ends the run")
    }
}

impl<S: Subject> Running for RunningStaged<S> {
    fn effects(&self) -> Vec<Tag> {
        self.subject.effects(&self.state().service)
    }

    fn check(&self) -> Result<(), String> {
        self.subject.check(&self.state().service)
    }

    fn prepared(&self) -> BoxFuture<'_, Option<usize>> {
        let prepared = self.state().promised.len();
        Box::pin(async move { Some(prepared) })
    }
}

pub(super) struct NativeKind<S>(Arc<S>);

impl<S> NativeKind<S> {
    pub fn new(subject: S) -> Self {
        NativeKind(Arc::new(subject))
    }
}

impl<S: Subject<Service: Resource>> Kind for NativeKind<S> {
    fn change(&self, tag: Tag, item: u64) -> Bytes {
        self.0.change(tag, item)
    }

    fn read(&self, tag: Tag) -> Option<Bytes> {
        self.0.read(tag)
    }

    fn refused(&self, tag: Tag) -> Option<Bytes> {
        self.0.refused(tag)
    }

    fn run(
        &self,
        site: Site,
        builder: Builder,
        register: Arc<Register>,
        starts: Box<dyn FnOnce(Arc<dyn Running>) + Send>,
    ) -> LocalBoxFuture<'static, Result<(), ParticipantError>> {
        let watched = Arc::new(WatchedResource {
            subject: self.0.clone(),
            participant: site.node,
            register,
            service: self.0.start(&site),
            is_open: AtomicBool::new(false),
        });
        starts(watched.clone());
        Box::pin(builder.resource(watched).run(std::future::pending()))
    }
}

/// Passes calls on to a resource.
struct WatchedResource<S: Subject> {
    subject: Arc<S>,
    participant: u8,
    register: Arc<Register>,
    service: S::Service,
    is_open: AtomicBool,
}

impl<S: Subject<Service: Resource>> Resource for WatchedResource<S> {
    async fn open(&self) -> Result<StoreIdentity, ResourceError> {
        let identity = self.service.open().await?;
        self.is_open.store(true, Ordering::Relaxed);
        Ok(identity)
    }

    async fn seen(&self) -> Result<Vec<SeenLog>, ResourceError> {
        self.service.seen().await
    }

    async fn prepare(
        &self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        timeout: Duration,
    ) -> Result<Vote, ResourceError> {
        if let Work::Operation(operation) = &work {
            self.register.saw(self.participant, branch, operation);
        }
        self.service.prepare(branch, work, seen, timeout).await
    }

    async fn finish(&self, branch: BranchKey, decision: Decision) -> Result<Completion, ResourceError> {
        if decision == Decision::Commit {
            self.register.commits(self.participant, branch);
        }
        self.service.finish(branch, decision).await
    }

    async fn scan(&self) -> Result<Vec<ScanLine>, ResourceError> {
        self.service.scan().await
    }

    async fn forget(&self, branches: &[BranchKey]) -> Result<(), ResourceError> {
        self.service.forget(branches).await
    }
}

impl<S: Subject<Service: Resource>> Running for WatchedResource<S> {
    fn effects(&self) -> Vec<Tag> {
        self.subject.effects(&self.service)
    }

    fn check(&self) -> Result<(), String> {
        self.subject.check(&self.service)
    }

    fn prepared(&self) -> BoxFuture<'_, Option<usize>> {
        Box::pin(async move {
            if !self.is_open.load(Ordering::Relaxed) {
                return None;
            }
            let lines = self.service.scan().await.ok()?;
            Some(
                lines
                    .iter()
                    .filter(|line| line.phase != ScanPhase::Marker)
                    .count(),
            )
        })
    }
}
