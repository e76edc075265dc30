//! One run: start, transfer while killing, heal, stop, judge.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use handfast_participant::Client;
use handfast_proto::v1::admin_client::AdminClient;
use handfast_proto::v1::{StatusRequest, StatusResponse};
use handfast_servers::{PostgresServer, free_port};
use indicatif::{ProgressBar, ProgressStyle};

use crate::checker::judge;
use crate::clients::{self, Asked, Work};
use crate::options::{Mode, Options};
use crate::processes::Process;
use crate::report::Report;
use crate::roles;
use crate::side::{Side, Sides};
use crate::transfers::{self, Name, OPENING_BALANCE, Source};

/// How long all processes may take to come up, and everything that is decided to be delivered at the end.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How often a condition is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much a transfer moves, in minor units.
const AMOUNTS: RangeInclusive<i64> = 1..=100;

/// Slots for prepared transactions, and connections of all clients, agents that were killed included.
pub const POSTGRES_SETTINGS: [&str; 2] = ["max_prepared_transactions=256", "max_connections=200"];

/// Keys outlive the longest run.
const KEYS_LIVE: Duration = Duration::from_secs(24 * 3600);

/// What is killed and started again.
struct Cast {
    processes: Vec<Process>,
    server: Option<PostgresServer>,
    server_kills: u64,
    server_restarts: u64,
}

pub fn demonstrate(options: &Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let source = match &options.input {
        Some(path) => transfers::read(path, options.accounts)?,
        None => Source::random(rng.u64(..), options.accounts, AMOUNTS),
    };
    let temporary = tempfile::Builder::new().prefix("bank-transfer-").tempdir()?;
    let dir = options
        .data_dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if options.data_dir.is_some() {
        let used = std::fs::read_dir(&dir)?.next().is_some();
        ensure!(
            !used,
            "{} is not empty; give an empty folder with --data-dir",
            dir.display()
        );
    }
    println!("seed {seed}, data in {}", dir.display());

    let began = Instant::now();
    let report = match options.mode {
        Mode::Handfast => with_coordinator(options, &dir, rng, source),
        Mode::None => without_coordinator(options, &dir, rng, source),
    };
    let mut report = match report {
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("the data is kept in {}", keep(temporary, &dir)))),
    };
    report.seed = seed;
    report.seconds = began.elapsed().as_secs_f64();
    if options.mode == Mode::Handfast && !report.is_clean() {
        println!("the data is kept in {}", keep(temporary, &dir));
    }
    Ok(report)
}

/// Keeps the folder of a run that somebody will want to look at.
fn keep(temporary: tempfile::TempDir, dir: &Path) -> String {
    if temporary.path() == dir {
        let _ = temporary.keep();
    }
    dir.display().to_string()
}

fn with_coordinator(
    options: &Options,
    dir: &Path,
    rng: fastrand::Rng,
    source: Source,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let server = match options.postgres.as_deref() {
        Some("start") => Some(PostgresServer::start_in(
            &dir.join("postgres"),
            &POSTGRES_SETTINGS,
        )?),
        _ => None,
    };
    let right = match (&server, &options.postgres) {
        (Some(server), _) => Side::Postgres {
            url: server.url("postgres"),
        },
        (None, Some(url)) => Side::Postgres { url: url.clone() },
        (None, None) => Side::Ledger {
            dir: dir.join("right"),
        },
    };
    let sides = Sides([
        Side::Ledger {
            dir: dir.join("left"),
        },
        right,
    ]);
    runtime.block_on(sides.get(Name::Right).open_accounts(options.accounts))?;

    let coordinator = Process::start(roles::COORDINATOR, coordinator_arguments(dir, address), dir)?;
    let mut processes = vec![coordinator];
    for name in Name::BOTH {
        let arguments = agent_arguments(name, sides.get(name), address, options.accounts);
        processes.push(Process::start(name.as_str(), arguments, dir)?);
    }
    let mut cast = Cast::new(processes, server);
    runtime.block_on(until_connected(address, &mut cast.processes))?;

    let total_before = 2 * i64::from(options.accounts) * OPENING_BALANCE;
    let length = source.count_known();
    let work = Rc::new(Work {
        source: RefCell::new(source),
        asked: RefCell::default(),
        stop_at: Cell::new(Instant::now() + Duration::from_secs(options.seconds)),
        expires_at_ms: u64::try_from(
            (SystemTime::now() + KEYS_LIVE)
                .duration_since(UNIX_EPOCH)?
                .as_millis(),
        )?,
    });
    let stop = Arc::new(AtomicBool::new(false));
    let nemesis = start_nemesis(cast, rng, options.kill_every_ms, stop.clone());
    let client = Client::connect([address.to_string()])?;
    let sides = Rc::new(sides);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..options.clients {
            running.spawn_local(clients::transact(client.clone(), sides.clone(), work.clone()));
        }
        let bar = progress_bar(options.seconds, length);
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                biased;
                ended = running.join_next() => match ended {
                    Some(ended) => ended?,
                    None => break,
                },
                _ = ticks.tick() => {
                    let asked = work.asked.borrow();
                    let committed = asked.iter().filter(|asked| asked.told == clients::Told::Committed).count();
                    bar.set_position(if length.is_some() { asked.len() as u64 } else { elapsed(&work, options) });
                    bar.set_message(format!("{} transfers, {committed} committed", asked.len()));
                }
            }
        }
        bar.finish_and_clear();
        anyhow::Ok(())
    })?;
    stop.store(true, Ordering::Relaxed);
    let mut cast = nemesis
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that kills processes has panicked"))??;

    println!(
        "nothing is killed any more; asking for what is unknown, and waiting until all decisions are delivered"
    );
    runtime.block_on(clients::resolve(&client, &sides, &work));
    runtime.block_on(until_settled(address, &mut cast.processes))?;
    for process in cast.processes.iter_mut().rev() {
        let status = process.end()?;
        ensure!(
            status.success(),
            "the {} process ended with {status} when it was asked to",
            process.name
        );
    }
    let left = runtime.block_on(sides.get(Name::Left).holdings())?;
    let right = runtime.block_on(sides.get(Name::Right).holdings())?;
    let mut report = Report {
        total_before,
        ..cast.tally()
    };
    judge(&work.asked.borrow(), [&left, &right], &mut report);
    Ok(report)
}

fn without_coordinator(
    options: &Options,
    dir: &Path,
    rng: fastrand::Rng,
    source: Source,
) -> anyhow::Result<Report> {
    let mut processes = Vec::new();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 2];
    for name in Name::BOTH {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        addresses[name as usize] = address;
        let mut arguments = role(roles::BARE_STORE);
        arguments.extend(["--data-dir".into(), dir.join(name.as_str()).into()]);
        arguments.extend(["--listen".into(), address.to_string().into()]);
        arguments.extend(["--accounts".into(), options.accounts.to_string().into()]);
        processes.push(Process::start(name.as_str(), arguments, dir)?);
    }
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while addresses
        .iter()
        .any(|address| std::net::TcpStream::connect(address).is_err())
    {
        processes.iter_mut().try_for_each(Process::check)?;
        ensure!(
            Instant::now() < give_up_at,
            "the stores did not come up within {SETTLE_WITHIN:?}; see {}",
            dir.display()
        );
        std::thread::sleep(LOOK_EVERY);
    }
    let length = source.count_known();
    let stop_at = Instant::now() + Duration::from_secs(options.seconds);
    let source = Mutex::new(source);
    let asked = Mutex::new(Vec::<Asked>::new());
    let stop = Arc::new(AtomicBool::new(false));
    let nemesis = start_nemesis(
        Cast::new(processes, None),
        rng,
        options.kill_every_ms,
        stop.clone(),
    );
    let bar = progress_bar(options.seconds, length);
    std::thread::scope(|scope| {
        for _ in 0..options.clients {
            scope.spawn(|| {
                let next = || {
                    let mut source = source.lock().expect("no client panics");
                    if Instant::now() < stop_at {
                        source.next()
                    } else {
                        None
                    }
                };
                let tell = |told| {
                    let mut asked = asked.lock().expect("no client panics");
                    asked.push(told);
                    bar.set_message(format!("{} transfers", asked.len()));
                    let left = stop_at.saturating_duration_since(Instant::now()).as_secs();
                    bar.set_position(length.map_or(options.seconds - left.min(options.seconds), |_| {
                        asked.len() as u64
                    }));
                };
                clients::without_coordinator(addresses, next, tell);
            });
        }
    });
    bar.finish_and_clear();
    stop.store(true, Ordering::Relaxed);
    let mut cast = nemesis
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that kills processes has panicked"))??;
    let mut report = Report {
        total_before: 2 * i64::from(options.accounts) * OPENING_BALANCE,
        ..cast.tally()
    };
    // These stores know no other end than being killed.
    cast.processes.iter_mut().try_for_each(Process::kill)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let [left, right] = Name::BOTH.map(|name| Side::Bare {
        dir: dir.join(name.as_str()),
    });
    let (left, right) = (
        runtime.block_on(left.holdings())?,
        runtime.block_on(right.holdings())?,
    );
    judge(
        &asked.into_inner().expect("no client panics"),
        [&left, &right],
        &mut report,
    );
    Ok(report)
}

/// Kills at random, starts again after a while, and hands everything back running.
fn start_nemesis(
    mut cast: Cast,
    rng: fastrand::Rng,
    kill_every_ms: u64,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<anyhow::Result<Cast>> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            wait(
                &stop,
                rng.u64(kill_every_ms / 2..=kill_every_ms + kill_every_ms / 2),
            );
            cast.processes.iter_mut().try_for_each(Process::check)?;
            let victims = cast.processes.len() + usize::from(cast.server.is_some());
            let victim = rng.usize(..victims);
            let pause_ms = rng.u64(..300);
            match cast.processes.get_mut(victim) {
                Some(process) => {
                    process.kill()?;
                    wait(&stop, pause_ms);
                    process.restart()?;
                }
                None => {
                    if let Some(server) = &mut cast.server {
                        server.check()?;
                        server.kill()?;
                        cast.server_kills += 1;
                        wait(&stop, pause_ms);
                        server.restart()?;
                        cast.server_restarts += 1;
                    }
                }
            }
        }
        Ok(cast)
    })
}

/// Waits so long, or until the run is over.
fn wait(stop: &AtomicBool, ms: u64) {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY.min(Duration::from_millis(ms)));
    }
}

impl Cast {
    fn new(processes: Vec<Process>, server: Option<PostgresServer>) -> Self {
        Cast {
            processes,
            server,
            server_kills: 0,
            server_restarts: 0,
        }
    }

    fn tally(&self) -> Report {
        let mut kills: Vec<(String, u64)> = self
            .processes
            .iter()
            .map(|process| (process.name.to_owned(), process.kills))
            .collect();
        let mut recoveries = self.processes.iter().map(|process| process.restarts).sum();
        if self.server.is_some() {
            kills.push(("postgres".to_owned(), self.server_kills));
            recoveries += self.server_restarts;
        }
        Report {
            kills,
            recoveries,
            ..Report::default()
        }
    }
}

fn role(name: &str) -> Vec<OsString> {
    vec![roles::ROLE.into(), name.into()]
}

/// The command line of the coordinator's role.
pub fn coordinator_arguments(dir: &Path, address: SocketAddr) -> Vec<OsString> {
    let mut arguments = role(roles::COORDINATOR);
    arguments.extend(["serve".into(), "--data-dir".into(), dir.join("log").into()]);
    arguments.extend(["--listen".into(), address.to_string().into()]);
    arguments
}

/// The command line of a store's role.
pub fn agent_arguments(name: Name, side: &Side, coordinator: SocketAddr, accounts: u16) -> Vec<OsString> {
    let mut arguments = match side {
        Side::Ledger { dir } => {
            let mut arguments = role(roles::LEDGER);
            arguments.extend(["--data-dir".into(), PathBuf::clone(dir).into()]);
            arguments.extend(["--accounts".into(), accounts.to_string().into()]);
            arguments
        }
        Side::Postgres { url } => {
            let mut arguments = role(roles::POSTGRES);
            arguments.extend(["--url".into(), url.into()]);
            arguments
        }
        Side::Bare { .. } => unreachable!("a bare store takes no part"),
    };
    arguments.extend(["--name".into(), name.as_str().into()]);
    arguments.extend(["--coordinator".into(), coordinator.to_string().into()]);
    arguments
}

fn progress_bar(seconds: u64, length: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is fixed");
    let unit = if length.is_some() { "" } else { " s" };
    let bar = ProgressBar::new(length.unwrap_or(seconds)).with_style(style);
    bar.set_prefix(unit);
    bar
}

fn elapsed(work: &Work, options: &Options) -> u64 {
    let left = work
        .stop_at
        .get()
        .saturating_duration_since(Instant::now())
        .as_secs();
    options.seconds.saturating_sub(left)
}

/// Until both sides have a session.
pub async fn until_connected(address: SocketAddr, processes: &mut [Process]) -> anyhow::Result<()> {
    let mut seen = "no answer".to_owned();
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < give_up_at {
        processes.iter_mut().try_for_each(Process::check)?;
        if let Ok(status) = status(address).await {
            let connected = connected(&status);
            if connected == Name::BOTH.len() {
                return Ok(());
            }
            seen = format!("{connected} of {} stores connected", Name::BOTH.len());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("the processes did not come up within {SETTLE_WITHIN:?}: {seen}; see the logs")
}

/// Until both sides have a session and no transaction is live any more: everything is decided, delivered and acknowledged.
///
/// A coordinator that has just started lists only the stores that have come back: both must be there, or a store that is
/// still starting would be asked to end.
pub async fn until_settled(address: SocketAddr, processes: &mut [Process]) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < give_up_at {
        processes.iter_mut().try_for_each(Process::check)?;
        if let Ok(status) = status(address).await
            && status.table.is_some_and(|table| table.live == 0)
            && connected(&status) == Name::BOTH.len()
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!("transactions are still live {SETTLE_WITHIN:?} after the last kill");
    Ok(())
}

fn connected(status: &StatusResponse) -> usize {
    status
        .resources
        .iter()
        .filter(|resource| resource.sessions > 0)
        .count()
}

/// What the coordinator says of itself.
pub async fn status(address: SocketAddr) -> anyhow::Result<StatusResponse> {
    let mut admin = AdminClient::connect(format!("http://{address}")).await?;
    Ok(admin.status(StatusRequest {}).await?.into_inner())
}
