//! Who listens where, and how long a message is under way.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::Duration;

use madsim::Config;
use madsim::plugin::Simulator;
use madsim::rand::{GlobalRng, RngCore};
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use tokio::time::Instant;

use super::endpoint::Error;
use super::server::Listener;

/// How long a message is under way, in nanoseconds.
const UNDER_WAY_NS: Range<u64> = 1_000_000..3_000_000;

/// How far behind the one before it a message arrives at most that would have arrived together with it, in nanoseconds.
const GAP_NS: Range<u64> = 0..1_000_000;

/// The network of a simulation. Whoever makes a runtime adds it as one of its simulators, before anything else is done there.
pub struct Network {
    time: TimeHandle,
    random: Mutex<fastrand::Rng>,
    listeners: Mutex<BTreeMap<SocketAddr, Arc<Listener>>>,
}

impl Simulator for Network {
    fn new(random: &GlobalRng, time: &TimeHandle, _config: &Config) -> Self {
        Network {
            time: time.clone(),
            random: Mutex::new(fastrand::Rng::with_seed(random.clone().next_u64())),
            listeners: Mutex::default(),
        }
    }

    /// The node's processes are dead: nobody listens there any more.
    fn reset_node(&self, node: NodeId) {
        self.take_away(|_, listener| listener.node() == node);
    }
}

impl Network {
    /// That of the runtime in which this is called.
    pub fn current() -> Arc<Network> {
        madsim::plugin::simulator()
    }

    /// Listens, until what this returns is dropped.
    pub(super) fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        listener: Arc<Listener>,
    ) -> Result<Listening, Error> {
        let mut listeners = self.listeners();
        if listeners.contains_key(&address) {
            return Err(Error::new(format!("the address {address} is in use")));
        }
        listeners.insert(address, listener.clone());
        Ok(Listening {
            network: self.clone(),
            address,
            listener,
        })
    }

    /// Who listens at this address.
    pub(super) fn listener(&self, address: SocketAddr) -> Option<Arc<Listener>> {
        self.listeners().get(&address).cloned()
    }

    pub(super) fn now(&self) -> Instant {
        self.time.now_instant()
    }

    /// When something arrives that is sent now, and not before `latest`.
    pub(super) fn arrival_after(&self, latest: Instant) -> Instant {
        let under_way = self.random().u64(UNDER_WAY_NS);
        latest.max(self.now() + Duration::from_nanos(under_way))
    }

    /// When something arrives that is sent now behind what arrives at `latest`: as often as not together with it.
    pub(super) fn arrival_behind(&self, latest: Instant) -> Instant {
        let gap = if self.tosses() {
            self.random().u64(GAP_NS)
        } else {
            0
        };
        self.arrival_after(latest + Duration::from_nanos(gap))
    }

    /// Heads.
    pub(super) fn tosses(&self) -> bool {
        self.random().bool()
    }

    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Wakes somebody at a moment that is to come.
    pub(super) fn wake_at(&self, moment: Instant, waker: &Waker) {
        // The runtime's timer is entered by the first look, and stays.
        let sleep = pin!(self.time.sleep_until(moment));
        let _ = sleep.poll(&mut Context::from_waker(waker));
    }

    fn take_away(&self, mut is_meant: impl FnMut(&SocketAddr, &Arc<Listener>) -> bool) {
        let taken: Vec<_> = self
            .listeners()
            .extract_if(.., |address, listener| is_meant(address, listener))
            .collect();
        // With it go the calls that were coming, and whoever waits for them hears of it.
        drop(taken);
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Listener>>> {
        self.listeners
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Somebody listens while this lives.
pub(super) struct Listening {
    network: Arc<Network>,
    address: SocketAddr,
    listener: Arc<Listener>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Another process may listen there by now.
        self.network
            .take_away(|address, listener| *address == self.address && Arc::ptr_eq(listener, &self.listener));
    }
}
