//! One run: start, transfer while killing, heal, stop, judge.

use std::cell::RefCell;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use demonstration::coordinator::{self, LOOK_EVERY, SETTLE_WITHIN};
use demonstration::folder::Folder;
use demonstration::processes::Process;
use demonstration::progress;
use demonstration::storm::{Cast, Storm, Weather};
use handfast_participant::Client;
use handfast_participant::ids::LogId;
use handfast_servers::{PostgresServer, free_port};

use crate::checker::judge;
use crate::clients::{self, Asked, Work};
use crate::options::{Mode, Options};
use crate::report::Report;
use crate::roles;
use crate::schedule::Schedule;
use crate::side::{Side, Sides};
use crate::transfers::{self, Name, OPENING_BALANCE, Source};

/// How much a transfer moves, in minor units.
const AMOUNTS: RangeInclusive<i64> = 1..=100;

/// Slots for prepared transactions, and connections of all clients, agents that were killed included.
pub const POSTGRES_SETTINGS: [&str; 2] = ["max_prepared_transactions=256", "max_connections=200"];

/// Without a coordinator nothing is ever prepared.
const NO_LOG: LogId = LogId(0);

/// Keys outlive the longest run.
const KEYS_LIVE: Duration = Duration::from_secs(24 * 3600);

pub fn demonstrate(options: &Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let source = match &options.input {
        Some(path) => transfers::read(path, options.accounts)?,
        None => Source::random(rng.u64(..), options.accounts, AMOUNTS),
    };
    let mut folder = Folder::open(options.data_dir.as_deref(), "bank-transfer-")?;
    println!("seed {seed}, data in {}", folder.path().display());

    let began = Instant::now();
    let report = match options.mode {
        Mode::Handfast => with_coordinator(options, folder.path(), rng, source),
        Mode::None => without_coordinator(options, folder.path(), rng, source),
    };
    let mut report = match report {
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("the data is kept in {}", folder.keep()))),
    };
    report.seed = seed;
    report.seconds = began.elapsed().as_secs_f64();
    if options.mode == Mode::Handfast && !report.is_clean() {
        println!("the data is kept in {}", folder.keep());
    }
    Ok(report)
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

    let coordinator = Process::start("coordinator", coordinator::arguments(dir, address), dir)?;
    let mut processes = vec![coordinator];
    for name in Name::BOTH {
        let arguments = agent_arguments(name, sides.get(name), address, options.accounts);
        processes.push(Process::start(name.as_str(), arguments, dir)?);
    }
    runtime.block_on(until_connected(address, &mut processes))?;

    let total_before = 2 * i64::from(options.accounts) * OPENING_BALANCE;
    let work = Rc::new(Work {
        schedule: RefCell::new(schedule(source, options)),
        asked: RefCell::default(),
        expires_at_ms: u64::try_from(
            (SystemTime::now() + KEYS_LIVE)
                .duration_since(UNIX_EPOCH)?
                .as_millis(),
        )?,
    });
    let mut cast = cast(processes);
    if let Some(server) = server {
        cast = cast.with("postgres", 1, server);
    }
    let storm = Storm::begin(cast, weather(options), rng);
    let client = Client::connect([address.to_string()])?;
    let sides = Rc::new(sides);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..options.clients {
            running.spawn_local(clients::transact(client.clone(), sides.clone(), work.clone()));
        }
        let bar = progress::bar(work.schedule.borrow().steps());
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
                    bar.set_position(work.schedule.borrow().progress(Instant::now(), asked.len()));
                    bar.set_message(format!("{} transfers, {committed} committed", asked.len()));
                }
            }
        }
        bar.finish_and_clear();
        anyhow::Ok(())
    })?;
    let mut cast = storm.end()?;

    println!(
        "nothing is killed any more; asking for what is unknown, and waiting until all decisions are delivered"
    );
    runtime.block_on(clients::resolve(&client, &sides, &work));
    runtime.block_on(coordinator::until_settled(address, Name::BOTH.len(), || {
        cast.check()
    }))?;
    let log = runtime.block_on(log_id(address))?;
    cast.end(&[Name::Right.as_str(), Name::Left.as_str(), "coordinator"])?;
    let left = runtime.block_on(sides.get(Name::Left).holdings(log))?;
    let right = runtime.block_on(sides.get(Name::Right).holdings(log))?;
    let mut report = Report {
        total_before,
        kills: cast.kills(),
        recoveries: cast.restarts(),
        ..Report::default()
    };
    judge(&work.asked.borrow(), [&left, &right], &mut report);
    Ok(report)
}

fn cast(processes: Vec<Process>) -> Cast {
    processes.into_iter().fold(Cast::default(), |cast, process| {
        cast.with(process.name, 1, process)
    })
}

fn schedule(source: Source, options: &Options) -> Schedule {
    Schedule::new(source, Instant::now(), Duration::from_secs(options.seconds))
}

/// One after the other: each must be up again before the next is killed.
fn weather(options: &Options) -> Weather {
    Weather {
        kill_every_ms: options.kill_every_ms,
        max_down: 1,
    }
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
        let mut arguments = demonstration::roles::arguments(roles::BARE_STORE);
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
    let schedule = schedule(source, options);
    let bar = progress::bar(schedule.steps());
    let schedule = Mutex::new(schedule);
    let asked = Mutex::new(Vec::<Asked>::new());
    let storm = Storm::begin(cast(processes), weather(options), rng);
    std::thread::scope(|scope| {
        for _ in 0..options.clients {
            scope.spawn(|| {
                let schedule = || schedule.lock().expect("no client panics");
                let tell = |told| {
                    let mut asked = asked.lock().expect("no client panics");
                    asked.push(told);
                    bar.set_message(format!("{} transfers", asked.len()));
                    bar.set_position(schedule().progress(Instant::now(), asked.len()));
                };
                clients::without_coordinator(addresses, || schedule().next(Instant::now()), tell);
            });
        }
    });
    bar.finish_and_clear();
    let cast = storm.end()?;
    let mut report = Report {
        total_before: 2 * i64::from(options.accounts) * OPENING_BALANCE,
        kills: cast.kills(),
        recoveries: cast.restarts(),
        ..Report::default()
    };
    // These stores know no other end than being killed.
    drop(cast);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let [left, right] = Name::BOTH.map(|name| Side::Bare {
        dir: dir.join(name.as_str()),
    });
    let (left, right) = (
        runtime.block_on(left.holdings(NO_LOG))?,
        runtime.block_on(right.holdings(NO_LOG))?,
    );
    judge(
        &asked.into_inner().expect("no client panics"),
        [&left, &right],
        &mut report,
    );
    Ok(report)
}

/// The command line of a store's role.
pub fn agent_arguments(name: Name, side: &Side, coordinator: SocketAddr, accounts: u16) -> Vec<OsString> {
    let mut arguments = match side {
        Side::Ledger { dir } => {
            let mut arguments = demonstration::roles::arguments(roles::LEDGER);
            arguments.extend(["--data-dir".into(), PathBuf::clone(dir).into()]);
            arguments.extend(["--accounts".into(), accounts.to_string().into()]);
            arguments
        }
        Side::Postgres { url } => {
            let mut arguments = demonstration::roles::arguments(roles::POSTGRES);
            arguments.extend(["--url".into(), url.into()]);
            arguments
        }
        Side::Bare { .. } => unreachable!("a bare store takes no part"),
    };
    arguments.extend(["--name".into(), name.as_str().into()]);
    arguments.extend(["--coordinator".into(), coordinator.to_string().into()]);
    arguments
}

/// Until both sides have a session.
pub async fn until_connected(address: SocketAddr, processes: &mut [Process]) -> anyhow::Result<()> {
    coordinator::until_connected(address, Name::BOTH.len(), || check(processes)).await
}

/// What names the branches of this run.
pub async fn log_id(address: SocketAddr) -> anyhow::Result<LogId> {
    let status = coordinator::status(address).await?;
    let bits = u128::from_str_radix(&status.log_id.replace('-', ""), 16);
    Ok(LogId(bits.context("the id of the coordinator's log is a UUID")?))
}

/// Until both sides have a session and everything is decided, delivered and acknowledged.
pub async fn until_settled(address: SocketAddr, processes: &mut [Process]) -> anyhow::Result<()> {
    coordinator::until_settled(address, Name::BOTH.len(), || check(processes)).await
}

fn check(processes: &mut [Process]) -> anyhow::Result<()> {
    processes.iter_mut().try_for_each(Process::check)
}
