//! One run: start, take orders while killing, heal, judge.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use demonstration::coordinator::{self, LOOK_EVERY, SETTLE_WITHIN};
use demonstration::folder::Folder;
use demonstration::processes::Process;
use demonstration::progress;
use demonstration::storm::{Cast, Storm, Victim, Weather};
use handfast_servers::free_port;
use tokio::sync::Notify;

use crate::asked::Book;
use crate::checker::{Found, judge};
use crate::clients::{self, Work};
use crate::options::{Mode, Options};
use crate::report::Report;
use crate::servers::Servers;
use crate::systems::Systems;
use crate::{agents, control, install, orders};

/// Keys outlive the longest run.
const KEYS_LIVE: Duration = Duration::from_secs(24 * 3600);

/// How many may be down at the same time: anything may die while another one recovers.
const MAX_DOWN: usize = 3;

/// How often each process is killed in a round.
const COORDINATOR_SHARE: usize = 3;
const AGENT_SHARE: usize = 2;
const CLIENT_SHARE: usize = 2;

/// Who dies without being a process.
const CLIENTS: &str = "clients";

/// The address of no coordinator.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Starts, kills, judges.
pub fn demonstrate(options: &Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut folder = Folder::open(options.data_dir.as_deref(), "order-flow-")?;
    println!("seed {seed}, data in {}", folder.path().display());
    install::servers()?;
    let report = tokio::runtime::Runtime::new()?.block_on(run(options, folder.path(), seed));
    let mut report = match report {
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("the data is kept in {}", folder.keep()))),
    };
    report.seed = seed;
    if options.mode == Mode::Handfast && !report.is_clean() {
        println!("the data is kept in {}", folder.keep());
    }
    Ok(report)
}

async fn run(options: &Options, dir: &Path, seed: u64) -> anyhow::Result<Report> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let servers = Servers::start(dir)?;
    let systems = servers
        .fill(dir, options.clients, options.seconds, &mut rng)
        .await?;
    let mut cast = Cast::default();
    let address = match options.mode {
        Mode::Handfast => {
            let (with_processes, address) = start_processes(cast, &systems, dir).await?;
            cast = with_processes;
            address
        }
        Mode::None => NOWHERE,
    };
    let work = Arc::new(work(options, address, systems)?);
    let weather = Weather {
        kill_every_ms: options.kill_every_ms,
        max_down: MAX_DOWN,
    };
    let cast = servers
        .into_cast(cast)
        .with(CLIENTS, CLIENT_SHARE, Deaths(work.clone(), rng.fork()));
    let began = Instant::now();
    let storm = Storm::begin(cast, weather, rng);
    take_orders(options, &work, &storm).await?;
    let mut cast = tokio::task::spawn_blocking(|| storm.end()).await??;
    let seconds = began.elapsed().as_secs_f64();

    if options.mode == Mode::Handfast {
        println!(
            "nothing is killed any more; asking for what is unknown, and waiting until all decisions are delivered"
        );
        clients::resolve(&work).await?;
        coordinator::until_settled(address, agents::RESOURCES, || cast.check()).await?;
    }
    until_nothing_is_prepared(&work.systems, &mut cast).await?;
    let hazards = match options.mode {
        Mode::Handfast => hazards(address).await?,
        Mode::None => 0,
    };
    let found = Found::read(&work.systems).await?;
    let is_clients = |(name, _): &(String, u64)| name == CLIENTS;
    let (client_deaths, kills): (Vec<_>, Vec<_>) = cast.kills().into_iter().partition(is_clients);
    let mut report = Report {
        seconds,
        hazards,
        pieces_before: orders::opening_stock().iter().map(|(_, pieces)| pieces).sum(),
        kills,
        client_deaths: client_deaths.iter().map(|(_, deaths)| deaths).sum(),
        least_kills: options.least_kills,
        recoveries: cast.restarts(),
        ..Report::default()
    };
    judge(&work.book.read(), &found, &mut report);
    // With fewer orders than kills, most would have hit a system that did nothing.
    report.is_enough = report.committed >= report.kills() + report.client_deaths && report.refused > 0;
    Ok(report)
}

/// The coordinator and the agents, up and connected.
async fn start_processes(cast: Cast, systems: &Systems, dir: &Path) -> anyhow::Result<(Cast, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let agent = install::agent()?;
    let coordinator = Process::start("coordinator", coordinator::arguments(dir, address), dir)?;
    let mut cast = cast.with("coordinator", COORDINATOR_SHARE, coordinator);
    for name in agents::NAMES {
        let process = agents::start(name, agent.clone(), address, systems, dir)?;
        cast = cast.with(name, AGENT_SHARE, process);
    }
    coordinator::until_connected(address, agents::RESOURCES, || cast.check()).await?;
    Ok((cast, address))
}

fn work(options: &Options, coordinator: SocketAddr, systems: Systems) -> anyhow::Result<Work> {
    let expiry = (SystemTime::now() + KEYS_LIVE).duration_since(UNIX_EPOCH)?;
    Ok(Work {
        coordinator,
        systems,
        book: Book::default(),
        keys_expire_at_ms: u64::try_from(expiry.as_millis())?,
        is_over: AtomicBool::new(false),
        deaths: (0..options.clients).map(|_| Notify::new()).collect(),
    })
}

/// Lets all clients work for as long as the run takes, or until the storm fails.
async fn take_orders(options: &Options, work: &Arc<Work>, storm: &Storm) -> anyhow::Result<()> {
    let mut running = tokio::task::JoinSet::new();
    for partition in 0..options.clients {
        match options.mode {
            Mode::Handfast => running.spawn(clients::take_orders(work.clone(), partition)),
            Mode::None => running.spawn(control::take_orders(work.clone(), partition)),
        };
    }
    let bar = progress::bar(options.seconds);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while !running.is_empty() {
        tokio::select! {
            biased;
            ended = running.join_next() => ended.transpose().map(drop)?,
            _ = ticks.tick() => {
                let elapsed = began.elapsed().as_secs();
                if elapsed >= options.seconds || storm.has_failed() {
                    work.is_over.store(true, Ordering::Relaxed);
                }
                let (asked, committed) = work.book.counts();
                bar.set_position(elapsed.min(options.seconds));
                bar.set_message(format!("s, {asked} orders, {committed} committed, {} kills", storm.kills()));
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Until no system holds anything that waits for a decision; what is left after that is the checker's business.
async fn until_nothing_is_prepared(systems: &Systems, cast: &mut Cast) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < give_up_at {
        cast.check()?;
        let prepared = systems.orders.prepared().await?
            + systems.stock.prepared().await?
            + systems.events.prepared().await?
            + systems.invoices.prepared()?;
        if prepared == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!("something is still prepared {SETTLE_WITHIN:?} after the last kill");
    Ok(())
}

/// Hazards that the coordinator has been told of.
async fn hazards(address: SocketAddr) -> anyhow::Result<u64> {
    let status = coordinator::status(address).await?;
    Ok(status.table.map_or(0, |table| table.heuristic))
}

/// Clients that die: one of them, at random, loses its connections and all that it knows. The next one in its place needs no
/// start.
struct Deaths(Arc<Work>, fastrand::Rng);

impl Victim for Deaths {
    fn kill(&mut self) -> anyhow::Result<()> {
        let Deaths(work, rng) = self;
        if let Some(death) = rng.choice(&work.deaths) {
            death.notify_one();
        }
        Ok(())
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
