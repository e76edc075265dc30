//! What every benchmark of a resource does: clients in a closed loop through a coordinator process with the same kind of store on
//! both branches, and the same clients, in the same run, against a floor: whatever a hand-written program would do that prepares
//! and commits on both sides itself and keeps no log of it. That program loses or halves transactions in a crash; it says what
//! the stores alone can do.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use handfast_participant::{Client, Outcome, Participant, Resource, Staged, Transaction};
use handfast_servers::{ServerProcess, free_port};
use rustix::process::Signal;
use tokio::task::AbortHandle;

/// Accounts on each side: so many that two clients seldom meet at one.
pub const ACCOUNTS: u64 = 10_000;
/// Clients at one time.
pub const CLIENTS: [u64; 2] = [1, 16];
/// Pieces of work, and decisions, that one participant carries out at once.
pub const CONCURRENCY: usize = 16;
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);
const READY_LIMIT: Duration = Duration::from_secs(30);
/// What the two stores are called.
const NAMES: [&str; 2] = ["left", "right"];

/// `cargo test --benches` only wants to know that it builds.
pub fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// A coordinator, with two participants of this process.
pub struct Cluster {
    client: Client,
    address: String,
    participants: Vec<AbortHandle>,
    _coordinator: ServerProcess,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// Starts the coordinator and lets both stores take part.
    pub async fn start<R: Resource>(stores: [R; 2]) -> Self {
        let mut cluster = Self::without_stores();
        for (name, store) in NAMES.into_iter().zip(stores) {
            let participant = Participant::builder(name, [cluster.address.clone()])
                .unwrap()
                .concurrency(CONCURRENCY, CONCURRENCY)
                .resource(store);
            let running = tokio::spawn(participant.run(std::future::pending()));
            cluster.participants.push(running.abort_handle());
        }
        cluster
    }

    /// Starts the coordinator and lets both services take part, each with its journal in a directory.
    pub async fn start_staged<S: Staged>(services: [(S, &Path); 2]) -> Self {
        let mut cluster = Self::without_stores();
        for (name, (service, journal)) in NAMES.into_iter().zip(services) {
            let builder = Participant::builder(name, [cluster.address.clone()]).unwrap();
            let participant = builder.staged(service, journal).await.unwrap();
            let running = tokio::spawn(participant.run(std::future::pending()));
            cluster.participants.push(running.abort_handle());
        }
        cluster
    }

    fn without_stores() -> Self {
        let data = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let mut serve = Command::new(coordinator_program());
        serve
            .args(["serve", "--listen", &address, "--data-dir"])
            .arg(data.path().join("log"))
            .env("RUST_LOG", "error")
            .stdout(Stdio::null());
        let coordinator = ServerProcess::spawn(&mut serve, Signal::TERM).unwrap();
        let client = Client::connect([address.clone()]).unwrap();
        Cluster {
            client,
            address,
            participants: Vec::new(),
            _coordinator: coordinator,
            _data: data,
        }
    }

    /// One transaction over both sides; whether it was committed.
    pub async fn execute(&self, operations: [bytes::Bytes; 2]) -> Result<bool, String> {
        let transaction = NAMES
            .into_iter()
            .zip(operations)
            .fold(Transaction::new(), |transaction, (name, operation)| {
                transaction.operation(name, operation)
            });
        match self.client.execute(transaction).await {
            Ok(Outcome::Committed { .. }) => Ok(true),
            Ok(Outcome::Aborted { .. }) => Ok(false),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits until a transaction that writes nothing gets through.
    pub async fn ready(&self, nothing: bytes::Bytes) {
        let until = Instant::now() + READY_LIMIT;
        loop {
            let tried = self.execute([nothing.clone(), nothing.clone()]).await;
            if tried == Ok(true) {
                return;
            }
            assert!(Instant::now() < until, "the cluster is not ready: {tried:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for participant in &self.participants {
            participant.abort();
        }
    }
}

fn coordinator_program() -> PathBuf {
    if let Some(program) = std::env::var_os("HANDFAST_BIN") {
        return program.into();
    }
    // This program is <target>/<profile>/deps/<name>-<hash>.
    let here = std::env::current_exe().unwrap();
    let beside = here.ancestors().nth(2).unwrap().join("handfast");
    assert!(
        beside.exists(),
        "there is no coordinator at {}; build it first (cargo build --release -p handfast-coordinator) or name one in \
         HANDFAST_BIN",
        beside.display()
    );
    beside
}

/// Measures both, turn by turn, and prints each median and their ratio. `floor` and `handfast` do one transaction of client
/// `.0`, its `.1`th, and say whether it was committed.
pub async fn compare<F, H>(what: &str, floor: impl Fn(u64, u64) -> F, handfast: impl Fn(u64, u64) -> H)
where
    F: Future<Output = bool>,
    H: Future<Output = bool>,
{
    println!("{what}: transactions a second, each over two stores; median of {ROUNDS} (lowest to highest)");
    for clients in CLIENTS {
        rate(clients, WARM_UP, &floor).await;
        rate(clients, WARM_UP, &handfast).await;
        let (mut floors, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(rate(clients, MEASURED, &floor).await);
            ours.push(rate(clients, MEASURED, &handfast).await);
        }
        for rates in [&mut floors, &mut ours] {
            rates.sort_by(f64::total_cmp);
        }
        let shown = |rates: &[f64]| {
            format!(
                "{:.0} ({:.0} to {:.0})",
                rates[ROUNDS / 2],
                rates[0],
                rates[ROUNDS - 1]
            )
        };
        println!(
            "{clients:>3} clients: floor {}, Handfast {}, ratio {:.2}",
            shown(&floors),
            shown(&ours),
            ours[ROUNDS / 2] / floors[ROUNDS / 2]
        );
    }
}

/// Committed transactions a second, of clients that each do one after the other.
async fn rate<T: Future<Output = bool>>(
    clients: u64,
    duration: Duration,
    one: &impl Fn(u64, u64) -> T,
) -> f64 {
    let (began, until) = (Instant::now(), Instant::now() + duration);
    let loops = (0..clients).map(|client| async move {
        let (mut committed, mut turn) = (0_u32, 0);
        while Instant::now() < until {
            committed += u32::from(one(client, turn).await);
            turn += 1;
        }
        committed
    });
    let committed: u32 = futures_util::future::join_all(loops).await.into_iter().sum();
    f64::from(committed) / began.elapsed().as_secs_f64()
}

/// Which account a client uses in a turn: all of them, in no order, and seldom the same as another client.
pub fn account(client: u64, turn: u64, side: u64) -> u64 {
    (client * 7_919 + turn * 104_729 + side * 15_485_863) % ACCOUNTS
}
