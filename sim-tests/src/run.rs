//! One seed from the beginning to the verdict.

use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use handfast_participant::runtime::link;
use handfast_proto::alarm::once::{sleep, timeout};
use handfast_proto::transport::Endpoint;
use handfast_proto::transport::simulated::Network;
use handfast_proto::v1::StatusRequest;
use handfast_proto::v1::admin_client::AdminClient;
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::time::Instant;
use tokio::sync::mpsc;

use crate::chaos::Chaos;
use crate::cluster::Cluster;
use crate::coverage::{self, Coverage};
use crate::nemesis;
use crate::oracle::{Done, Ending};
use crate::plan::Plan;
use crate::processes::listens_at;
use crate::scenario::{observe_disks, perform};
use crate::stores::database::Database;
use crate::stores::ledger::Ledger;
use crate::trace::Event;
use crate::world::World;

/// Once faults have stopped, clients are answered within this time.
const CLIENTS_REST: Duration = Duration::from_secs(60);

/// And then everything is decided and nothing stays prepared within this time.
const EVERYTHING_RESTS: Duration = Duration::from_secs(30);

/// No run takes longer, in virtual time.
const LONGEST: Duration = Duration::from_secs(300);

/// What a run comes to.
#[derive(Debug)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// Two runs of a seed are the same if these are.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How long it took in virtual time.
    pub virtual_time: Duration,
    /// What it has tried.
    pub coverage: Coverage,
    /// The first property that did not hold.
    pub failure: Option<String>,
    /// What happened, if it was kept.
    pub lines: Vec<(Duration, Event)>,
    /// What the stores hold at the end.
    pub done: Vec<Done>,
}

/// Runs a seed, on a thread of its own: what threads keep for themselves must not leak into the next one.
#[allow(clippy::disallowed_methods)] // outside of the simulation, which is on one thread as a whole
pub fn run(plan: Plan, is_kept: bool) -> Verdict {
    let seed = plan.seed;
    let run = std::thread::Builder::new()
        .name(format!("seed {seed}"))
        .spawn(move || run_here(plan, is_kept));
    let ended = run.map(std::thread::JoinHandle::join);
    match ended {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(_)) | Err(_) => failed(seed, "the simulator itself has panicked".to_owned()),
    }
}

fn run_here(plan: Plan, is_kept: bool) -> Verdict {
    let seed = plan.seed;
    let panicked: Arc<Mutex<Option<String>>> = Arc::default();
    let note = panicked.clone();
    PANIC.with(|panic| *panic.borrow_mut() = Some(note));
    let stage: Stage = Arc::default();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.add_simulator::<Network>();
        runtime.set_time_limit(LONGEST);
        runtime.block_on(simulate(plan, is_kept, stage.clone()))
    }));
    match ended {
        Ok(verdict) => verdict,
        Err(_) => {
            let words = panicked.lock().ok().and_then(|mut words| words.take());
            let failure = Some(format!("panic: {}", words.unwrap_or_default()));
            let verdict = stage.get().map(|world| verdict(world, Duration::ZERO));
            Verdict {
                failure,
                ..verdict.unwrap_or_else(|| failed(seed, String::new()))
            }
        }
    }
}

/// The world of a run, for when the run panics.
type Stage = Arc<OnceLock<Arc<World>>>;

fn verdict(world: &World, virtual_time: Duration) -> Verdict {
    let done = Ending::of(world).done;
    let (trace, coverage, failure) = world.leave();
    let (hash, events, lines) = (trace.hash(), trace.events(), trace.lines().to_vec());
    Verdict {
        seed: world.plan.seed,
        hash,
        events,
        virtual_time,
        coverage,
        failure,
        lines,
        done,
    }
}

fn failed(seed: u64, failure: String) -> Verdict {
    let coverage = Coverage::default();
    Verdict {
        seed,
        hash: 0,
        events: 0,
        virtual_time: Duration::ZERO,
        coverage,
        failure: Some(failure),
        lines: Vec::new(),
        done: Vec::new(),
    }
}

thread_local! {
    static PANIC: std::cell::RefCell<Option<Arc<Mutex<Option<String>>>>> = const { std::cell::RefCell::new(None) };
}

/// Panics of a run are its verdict, and are not printed.
pub fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        let is_noted = PANIC.with(|panic| match &*panic.borrow() {
            Some(note) => note
                .lock()
                .map(|mut note| note.get_or_insert(text.clone()).len())
                .is_ok(),
            None => false,
        });
        if !is_noted {
            eprintln!("{text}");
        }
    }));
}

async fn simulate(plan: Plan, is_kept: bool, stage: Stage) -> Verdict {
    let (exits, exited) = mpsc::unbounded_channel();
    let server = Handle::current().create_node().name("databases").build();
    let world = stage
        .get_or_init(|| Arc::new(World::new(plan, &server, exits, is_kept)))
        .clone();
    link::install(Chaos::new(world.clone()));
    world.clocks.install();
    coverage::core::install(&world);
    let cluster = Cluster::start(world.clone());
    let supervisor = madsim::task::spawn(cluster.clone().supervise(exited));

    if is_kept || world.script.is_some() {
        observe_disks(&world);
    }
    match &world.script {
        Some(script) => perform(world.clone(), cluster.clone(), script).await,
        None => nemesis::strike(world.clone(), cluster.clone()).await,
    }
    world.heal();
    cluster.heal();
    if !comes(&world, CLIENTS_REST, || async { world.clients_are_done() }).await {
        world.violated("liveness: a client is not answered although faults have stopped".to_owned());
    }
    let probe = Handle::current()
        .create_node()
        .name("probe")
        .ip([10, 0, 9, 1].into())
        .build();
    if !comes(&world, EVERYTHING_RESTS, || rests(&world, &probe)).await {
        let why = what_does_not_rest(&world, &probe).await;
        world.violated(format!(
            "liveness: not everything has come to rest although faults have stopped: {why}"
        ));
    }
    if world.failure().is_none() {
        world.judge();
    }
    let verdict = verdict(&world, madsim::time::TimeHandle::current().elapsed());
    // Tasks that wait for each other would keep each other, and this world, for ever.
    supervisor.abort();
    world.end_tasks();
    cluster.end();
    Handle::current().kill(server.id());
    Handle::current().kill(probe.id());
    sleep(Duration::from_millis(1)).await;
    verdict
}

/// Waits until something is so, or a property is violated; false if it takes too long.
async fn comes<F: Future<Output = bool>>(world: &World, limit: Duration, is_so: impl Fn() -> F) -> bool {
    let give_up_at = now() + limit;
    loop {
        if world.failure().is_some() || is_so().await {
            return true;
        }
        if now() >= give_up_at {
            return false;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Nothing is prepared, no marker is left, and no coordinator has a transaction. Those that wait for an operator stay,
/// with their markers.
async fn rests(world: &Arc<World>, probe: &NodeHandle) -> bool {
    let is_waiting = |ledger: Ledger| ledger.accounts().set_aside() != 0 && !world.has_forgotten();
    let ledger_rests = |participant| {
        world
            .ledger(participant)
            .is_some_and(|ledger| !is_waiting(ledger))
    };
    let is_stuck = |database: &Database| database.prepared() > 0 && !world.has_forgotten();
    if world.databases().values().any(is_stuck) {
        return false;
    }
    for participant in 0..world.plan.ledgers {
        let rests = match world.register() {
            Some(_) => own_rests(world, participant).await,
            None => ledger_rests(participant),
        };
        if !rests {
            return false;
        }
    }
    let mut heuristics = 0;
    for coordinator in 0..world.plan.coordinators {
        match table(probe, world.active(coordinator)).await {
            Some((live, heuristic)) if live == heuristic => heuristics += heuristic,
            _ => return false,
        }
    }
    // While the coordinators were asked, a prepare of a dead one may have come out of a link that was cut until now.
    let still_rests = world.register().is_some() || (0..world.plan.ledgers).all(ledger_rests);
    let has_markers = world.databases().values().any(|database| database.markers() > 0);
    still_rests && !world.databases().values().any(is_stuck) && (heuristics > 0 || !has_markers)
}

/// The service in a ledger's place runs and holds no promise.
async fn own_rests(world: &World, participant: u8) -> bool {
    let Some(own) = world.own(participant) else {
        return false;
    };
    let prepared = own.prepared().await;
    prepared.is_some_and(|prepared| prepared == 0 || world.has_forgotten())
}

async fn what_does_not_rest(world: &Arc<World>, probe: &NodeHandle) -> String {
    let mut words = String::new();
    for (participant, database) in world.databases() {
        let (prepared, markers) = (database.prepared(), database.markers());
        let _ = write!(
            words,
            "p{participant} has {prepared} prepared and {markers} markers; "
        );
    }
    for participant in 0..world.plan.ledgers {
        if world.register().is_some() {
            let prepared = match world.own(participant) {
                Some(own) => own.prepared().await,
                None => None,
            };
            let _ = write!(words, "p{participant} has {prepared:?} prepared; ");
            continue;
        }
        let set_aside = world
            .ledger(participant)
            .map(|ledger| ledger.accounts().set_aside());
        let _ = write!(words, "p{participant} has set aside {set_aside:?}; ");
    }
    for coordinator in 0..world.plan.coordinators {
        let table = table(probe, world.active(coordinator)).await;
        let _ = write!(words, "c{coordinator} has (live, heuristic) {table:?}; ");
    }
    words
}

/// Live transactions of a coordinator, and how many of them wait for an operator.
async fn table(probe: &NodeHandle, coordinator: u8) -> Option<(u64, u64)> {
    let ask = async move {
        let endpoint = Endpoint::from_shared(format!("http://{}", listens_at(coordinator))).ok()?;
        let channel = endpoint.connect().await.ok()?;
        let status = AdminClient::new(channel)
            .status(StatusRequest {})
            .await
            .ok()?
            .into_inner();
        status.table.map(|table| (table.live, table.heuristic))
    };
    let answer = probe.spawn(timeout(Duration::from_secs(2), ask)).await;
    answer.ok()?.ok()?
}

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}
