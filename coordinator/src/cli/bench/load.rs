//! The clients: closed loop, or due at a fixed rate whether or not earlier ones are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use handfast_participant::client::{self, ClientOptions};
use handfast_participant::{Client, ClientError, Outcome, Transaction, Wait};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::deployment::Deployment;
use super::flags::{Flags, Transport, WaitFor};
use super::resources::{CHANGE, READ_ONLY, REFUSE};
use super::tally::{Result, Tally};
use super::{failed, services};
use crate::error::Error;

/// Deadline of a transaction that a participant that never votes takes part in.
const STUCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client waits that came to nothing, so that a coordinator that is gone is not asked in a tight loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Clients that run. Dropped, they are stopped.
pub struct Load {
    pub tally: Arc<Tally>,
    /// Of the clients of participants that never vote.
    pub stuck_tally: Arc<Tally>,
    stuck: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    pace: Option<Arc<Pace>>,
    clients: JoinSet<()>,
}

struct Shared {
    flags: Flags,
    names: Vec<String>,
    stuck: Vec<String>,
    services: Vec<(services::Connection, usize)>,
    operations: Operations,
}

/// One of each kind, shared by all transactions.
struct Operations {
    change: Bytes,
    refuse: Bytes,
    read_only: Bytes,
}

impl Operations {
    fn of(bytes: usize) -> Operations {
        let operation = |kind| {
            let mut operation = vec![0x5A; bytes];
            operation[0] = kind;
            Bytes::from(operation)
        };
        Operations {
            change: operation(CHANGE),
            refuse: operation(REFUSE),
            read_only: operation(READ_ONLY),
        }
    }
}

/// When transactions are due.
struct Pace {
    begun: Instant,
    per_second: f64,
    due: Semaphore,
    next: AtomicU64,
}

impl Pace {
    /// Waits for the next transaction that nobody has taken, and tells when it was due.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.begun + Duration::from_secs_f64(number as f64 / self.per_second))
    }

    /// Hands out what is due, on a thread of its own: the runtime's timers are a millisecond coarse.
    #[allow(clippy::disallowed_methods)] // this thread measures real time
    fn keep(&self, stop: &watch::Receiver<bool>) {
        const FINEST: Duration = Duration::from_micros(100);
        let mut released: u64 = 0;
        while !*stop.borrow() {
            let due = (self.begun.elapsed().as_secs_f64() * self.per_second) as u64 + 1;
            if due > released {
                self.due
                    .add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
                released = due;
            }
            std::thread::sleep(FINEST);
        }
        self.due.close();
    }
}

impl Load {
    /// Starts the clients.
    pub async fn start(flags: &Flags, deployment: &Deployment) -> std::result::Result<Load, Error> {
        let mut connections = Vec::new();
        if flags.interactive {
            for (address, first) in &deployment.services {
                let connection = services::Connection::to(address).await;
                let connection = connection.map_err(|error| {
                    failed(format!("the services at {address} cannot be reached: {error}"))
                })?;
                connections.push((connection, *first));
            }
        }
        let shared = Arc::new(Shared {
            flags: flags.clone(),
            names: deployment.names.clone(),
            stuck: deployment.stuck.clone(),
            services: connections,
            operations: Operations::of(flags.payload),
        });
        let clients: std::result::Result<Vec<_>, Error> = (0..flags.connections.min(flags.clients))
            .map(|_| connect(flags.transport, &deployment.address))
            .collect();
        let clients = clients?;
        let mut load = Load {
            tally: Arc::new(Tally::new()?),
            stuck_tally: Arc::new(Tally::new()?),
            stuck: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            pace: None,
            clients: JoinSet::new(),
        };
        if let Some(per_second) = flags.rate {
            let pace = Arc::new(Pace {
                begun: Instant::now(),
                per_second,
                due: Semaphore::new(0),
                next: AtomicU64::new(0),
            });
            let (keeper, stop) = (pace.clone(), load.stop.subscribe());
            tokio::task::spawn_blocking(move || keeper.keep(&stop));
            load.pace = Some(pace);
        }
        for number in 0..flags.clients {
            let client = clients[number % clients.len()].clone();
            load.clients.spawn(run(
                number,
                client,
                shared.clone(),
                load.tally.clone(),
                load.pace.clone(),
                load.stop.subscribe(),
            ));
        }
        for number in 0..flags.stuck_clients() {
            let client = clients[number % clients.len()].clone();
            let (tally, wanted) = (load.stuck_tally.clone(), load.stuck.subscribe());
            load.clients
                .spawn(run_stuck(number, client, shared.clone(), tally, wanted));
        }
        Ok(load)
    }

    /// Lets the clients of participants that never vote begin, or end.
    pub fn set_stuck(&self, wanted: bool) {
        self.stuck.send_replace(wanted);
    }

    /// Transactions that were due and that no client was free for.
    pub fn overdue(&self) -> u64 {
        self.pace
            .as_ref()
            .map_or(0, |pace| pace.due.available_permits() as u64)
    }

    /// Lets every client end its transaction.
    pub async fn stop(mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.stop.send_replace(true);
        self.stuck.send_replace(false);
        let ended = async { while self.clients.join_next().await.is_some() {} };
        // Those that do not end are dropped.
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn connect(transport: Transport, address: &str) -> std::result::Result<Client, Error> {
    let mut options = ClientOptions::new([address.to_owned()]);
    options.transport = match transport {
        Transport::Stream => client::Transport::Stream,
        Transport::Unary => client::Transport::Calls,
    };
    Client::with_options(options).map_err(|error| failed(error.to_string()))
}

async fn run(
    number: usize,
    client: Client,
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    pace: Option<Arc<Pace>>,
    stop: watch::Receiver<bool>,
) {
    let mut rng = fastrand::Rng::with_seed(number as u64);
    while !*stop.borrow() {
        let begun = match &pace {
            None => Instant::now(),
            Some(pace) => match pace.next().await {
                Some(due) => due,
                None => return,
            },
        };
        let result = if shared.flags.interactive {
            interactive(&client, &shared, &mut rng).await
        } else {
            one_shot(&client, &shared, &mut rng).await
        };
        let is_failed = matches!(result, Result::Failed(_));
        tally.count(number, result, begun.elapsed());
        if is_failed {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// A transaction at a participant that never votes and at one that does, over and over while it is wanted.
async fn run_stuck(
    number: usize,
    client: Client,
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut rng = fastrand::Rng::with_seed(u64::MAX - number as u64);
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let begun = Instant::now();
        let stuck = &shared.stuck[number % shared.stuck.len()];
        let other = &shared.names[rng.usize(..shared.names.len())];
        let transaction = Transaction::new()
            .timeout(STUCK_TIMEOUT)
            .operation(stuck, shared.operations.change.clone())
            .operation(other, shared.operations.change.clone());
        let result = told(client.execute(transaction).await);
        let is_failed = matches!(result, Result::Failed(_));
        tally.count(number, result, begun.elapsed());
        if is_failed {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

impl Shared {
    /// The participants of a transaction and what each is to do.
    fn branches<'a>(&'a self, rng: &mut fastrand::Rng) -> impl Iterator<Item = (usize, &'a Bytes)> + use<'a> {
        let flags = &self.flags;
        let count = self.names.len();
        let first = rng.usize(..count);
        let refused =
            (flags.abort_ratio > 0.0 && rng.f64() < flags.abort_ratio).then(|| rng.usize(..flags.branches));
        let mut rng = rng.fork();
        (0..flags.branches).map(move |branch| {
            let operation = if refused == Some(branch) {
                &self.operations.refuse
            } else if flags.read_only_ratio > 0.0 && rng.f64() < flags.read_only_ratio {
                &self.operations.read_only
            } else {
                &self.operations.change
            };
            ((first + branch) % count, operation)
        })
    }

    fn wait(&self) -> Wait {
        match self.flags.wait {
            WaitFor::Decided => Wait::Decided,
            WaitFor::Applied => Wait::Applied,
        }
    }
}

async fn one_shot(client: &Client, shared: &Shared, rng: &mut fastrand::Rng) -> Result {
    let mut transaction = Transaction::new().wait(shared.wait());
    for (participant, operation) in shared.branches(rng) {
        transaction = transaction.operation(&shared.names[participant], operation.clone());
    }
    told(client.execute(transaction).await)
}

async fn interactive(client: &Client, shared: &Shared, rng: &mut fastrand::Rng) -> Result {
    let mut transaction = match client.begin(None).await {
        Ok(transaction) => transaction,
        Err(error) => return Result::Failed(error.to_string()),
    };
    for (participant, operation) in shared.branches(rng) {
        let process = shared
            .services
            .partition_point(|(_, first)| *first <= participant)
            - 1;
        let number = u32::try_from(participant).unwrap_or(u32::MAX);
        let joined = shared.services[process]
            .0
            .work(number, transaction.id(), operation)
            .await;
        let Some(branch) = joined else {
            // Whether this abort arrives does not matter: its time will be over.
            let _ = transaction.abort().await;
            return Result::Failed("a service could not join".to_owned());
        };
        transaction.expect(branch, 1);
    }
    told(transaction.commit(shared.wait()).await)
}

fn told(outcome: std::result::Result<Outcome, ClientError>) -> Result {
    match outcome {
        Ok(Outcome::Committed { .. }) => Result::Committed,
        Ok(Outcome::Aborted { reason, .. }) => Result::Aborted(reason),
        Ok(Outcome::Unknown { why, .. }) => Result::Failed(format!("unknown: {why}")),
        Ok(Outcome::Heuristic { evidence, .. }) => Result::Failed(format!("heuristic: {evidence:?}")),
        Err(error) => Result::Failed(error.to_string()),
    }
}
