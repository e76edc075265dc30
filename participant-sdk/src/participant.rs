//! Lets a resource take part in transactions: dials the coordinator, for ever, under a stable name.
//!
//! ```no_run
//! # async fn run(orders: impl handfast_participant::Resource) -> Result<(), handfast_participant::ParticipantError> {
//! use handfast_participant::Participant;
//!
//! let participant = Participant::builder("orders-db", ["127.0.0.1:7420"])?.resource(orders);
//! participant.run(async { /* until a signal comes */ }).await
//! # }
//! ```
//!
//! One value serves one coordinator. Several coordinators over one store are several values over clones of one
//! `Arc<impl Resource>`; a branch carries the id of the log that it belongs to, so they never touch each other's.

mod builder;
mod enlist;
mod error;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use handfast_proto::ids::{InstanceId, ResourceName};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::resource::{ScanLine, ScanPhase};
use crate::runtime;
use crate::session::{Dialer, End, Engine, HeldBranches};

pub use builder::Builder;
pub(crate) use enlist::{EnlistCommand, QUEUED_ENLISTMENTS, SessionLife};
pub use enlist::{EnlistError, EnlistedBranch, Handle};
pub use error::ParticipantError;

/// How a participant behaves on the wire.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How long making a connection, and then the coordinator's welcome, may take.
    pub handshake_timeout: Duration,
    /// First wait before dialing again; doubles.
    pub backoff_first: Duration,
    /// Longest wait before dialing again.
    pub backoff_longest: Duration,
    /// How long the goodbye may take.
    pub goodbye_timeout: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            handshake_timeout: Duration::from_secs(10),
            backoff_first: Duration::from_millis(100),
            backoff_longest: Duration::from_secs(5),
            goodbye_timeout: Duration::from_secs(2),
        }
    }
}

/// What a participant has done since its process started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that were welcomed.
    pub sessions: AtomicU64,
    /// Frames received.
    pub frames_received: AtomicU64,
    /// Frames sent.
    pub frames_sent: AtomicU64,
    /// Prepares received, repeated ones included.
    pub prepares: AtomicU64,
    /// Decisions received, repeated ones included.
    pub decisions: AtomicU64,
    /// Complete scans.
    pub scans: AtomicU64,
    /// Scans that failed since the last complete one. Above 0 the store does not answer: new work is refused, and decisions wait.
    pub failed_scans: AtomicU64,
    /// Branches that are held for an operator now: prepared here, and ended or forgotten at the coordinator.
    pub held: AtomicU64,
    /// Whether a coordinator has welcomed this participant and the session goes on.
    pub connected: AtomicBool,
    /// Branches that the last complete scan showed as prepared.
    pub prepared: AtomicU64,
    /// When the transaction of the oldest of them began, as its id tells: Unix time in milliseconds, 0 without any.
    pub oldest_prepared_ms: AtomicU64,
}

impl Counters {
    /// A complete scan shows this.
    pub(crate) fn scanned(&self, lines: &[ScanLine]) {
        self.failed_scans.store(0, Ordering::Relaxed);
        let prepared = lines.iter().filter(|line| line.phase == ScanPhase::Prepared);
        let oldest = prepared
            .clone()
            .map(|line| line.branch.transaction.milliseconds())
            .min();
        self.prepared.store(prepared.count() as u64, Ordering::Relaxed);
        self.oldest_prepared_ms
            .store(oldest.unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

/// A resource, ready to take part. [`Participant::run`] does it.
pub struct Participant<E> {
    engine: E,
    dialer: Dialer,
    commands: mpsc::Receiver<EnlistCommand>,
    handle: Handle,
}

impl Participant<()> {
    /// A participant under this stable name, at one coordinator that may have several addresses.
    ///
    /// # Errors
    /// [`ParticipantError::Configuration`] if the name cannot be one, or there is no address.
    pub fn builder(
        resource: &str,
        coordinators: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Builder, ParticipantError> {
        let name = ResourceName::new(resource)
            .map_err(|error| ParticipantError::Configuration(error.to_string()))?;
        let addresses: Vec<String> = coordinators.into_iter().map(Into::into).collect();
        if addresses.is_empty() {
            let message = "name at least one address of the coordinator, such as 127.0.0.1:7420";
            return Err(ParticipantError::Configuration(message.to_owned()));
        }
        Ok(Builder::new(name, addresses))
    }
}

impl<E: Engine> Participant<E> {
    fn new(engine: E, resource: ResourceName, addresses: Vec<String>, options: SessionOptions) -> Self {
        let (sender, commands) = mpsc::channel(enlist::QUEUED_ENLISTMENTS);
        let counters = Arc::new(Counters::default());
        let dialer = Dialer {
            seen: BTreeMap::new(),
            resource,
            addresses,
            next_address: 0,
            instance: InstanceId(runtime::random_bits()),
            options,
            counters: counters.clone(),
            held: HeldBranches::default(),
            enlistments: 0,
        };
        Participant {
            engine,
            dialer,
            commands,
            handle: Handle::new(sender, counters),
        }
    }

    /// What services of this process use to join interactive transactions, and to look at the counters.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Takes part until `shutdown` completes, then says goodbye. A lost coordinator is dialed again, for ever.
    ///
    /// # Errors
    /// What only a person can mend: the coordinator refuses this store, the resource is misconfigured, or the journal
    /// failed. The message says what to do.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ParticipantError> {
        drop(self.handle);
        let mut shutdown = pin!(shutdown);
        let options = &self.dialer.options;
        let mut backoff = Backoff::new(options.backoff_first, options.backoff_longest);
        loop {
            match self
                .dialer
                .session(&mut self.engine, &mut self.commands, shutdown.as_mut())
                .await
            {
                End::Shutdown => return Ok(()),
                End::Fatal(error) => return Err(error),
                End::Lost { why, was_welcome } => {
                    if was_welcome {
                        backoff.reset();
                    }
                    tracing::warn!(resource = %self.dialer.resource, %why, "no session; dialing again");
                }
            }
            if is_over_within(backoff.wait(), shutdown.as_mut()).await {
                return Ok(());
            }
        }
    }
}

async fn is_over_within(wait: Duration, shutdown: Pin<&mut impl Future<Output = ()>>) -> bool {
    tokio::select! { biased;
        () = shutdown => true,
        () = runtime::sleep_until(runtime::from_now(wait)) => false,
    }
}
