//! What a durable transaction over two ledgers costs: latency and syncs, at 1 and at 64 clients, with a coordinator and both
//! ledgers in processes of their own, on a real disk. The machine's bare sync is measured in the same run.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bank_transfer::run::{agent_arguments, until_connected};
use bank_transfer::side::{Side, Sides};
use bank_transfer::transfers::{Name, account};
use demonstration::coordinator::{self, status};
use demonstration::processes::Process;
use handfast_participant::{Client, Outcome, Transaction};
use handfast_servers::free_port;
use hdrhistogram::Histogram;

const ACCOUNTS: u16 = 10_000;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);
const RUNS: usize = 3;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir =
        tempfile::tempdir_in(std::env::var_os("HANDFAST_BENCH_DIR").unwrap_or_else(|| ".".into())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, measure(dir.path()));
}

async fn measure(dir: &Path) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let sides = Rc::new(Sides(Name::BOTH.map(|name| Side::Ledger {
        dir: dir.join(name.as_str()),
    })));
    let start = |name, arguments| {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_bank-transfer"));
        Process::start_program(program, name, arguments, &[], dir).unwrap()
    };
    let mut processes = vec![start("coordinator", coordinator::arguments(dir, address))];
    for name in Name::BOTH {
        processes.push(start(
            name.as_str(),
            agent_arguments(name, sides.get(name), address, ACCOUNTS),
        ));
    }
    until_connected(address, &mut processes).await.unwrap();
    let client = Client::connect([address.to_string()]).unwrap();

    println!(
        "bare write + fdatasync of 4 KiB: {:.0} µs (median)",
        bare_sync(dir)
    );
    println!(
        "{:>8} {:>14} {:>10} {:>10} {:>10} {:>20}",
        "clients", "transactions/s", "p50", "p99", "aborted", "coordinator syncs/tx"
    );
    for clients in [1, 64] {
        load(&client, &sides, clients, WARM_UP).await;
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let before = status(address).await.unwrap().log.unwrap();
            let run = load(&client, &sides, clients, MEASURED).await;
            let after = status(address).await.unwrap().log.unwrap();
            runs.push((run, after.syncs - before.syncs));
        }
        runs.sort_by_key(|(run, _)| run.latencies.len());
        let (run, syncs) = &runs[RUNS / 2];
        let count = run.latencies.len();
        println!(
            "{clients:>8} {:>14.0} {:>7.2} ms {:>7.2} ms {:>10} {:>20.3}",
            count as f64 / MEASURED.as_secs_f64(),
            run.latencies.value_at_quantile(0.5) as f64 / 1000.0,
            run.latencies.value_at_quantile(0.99) as f64 / 1000.0,
            run.aborted,
            *syncs as f64 / count as f64,
        );
    }
}

struct Run {
    /// In microseconds.
    latencies: Histogram<u64>,
    aborted: u64,
}

/// Closed-loop clients for so long.
async fn load(client: &Client, sides: &Rc<Sides>, clients: u64, duration: Duration) -> Run {
    let until = Instant::now() + duration;
    let running: Vec<_> = (0..clients)
        .map(|number| {
            let (client, sides) = (client.clone(), sides.clone());
            tokio::task::spawn_local(async move {
                let mut rng = fastrand::Rng::with_seed(number);
                let mut run = Run {
                    latencies: Histogram::new(3).unwrap(),
                    aborted: 0,
                };
                while Instant::now() < until {
                    let transaction = transfer(&sides, &mut rng);
                    let began = Instant::now();
                    match client.execute(transaction).await.unwrap() {
                        Outcome::Committed { .. } => {
                            run.latencies
                                .record(u64::try_from(began.elapsed().as_micros()).unwrap())
                                .unwrap();
                        }
                        Outcome::Aborted { .. } => run.aborted += 1,
                        outcome => panic!("{outcome:?}"),
                    }
                }
                run
            })
        })
        .collect();
    let mut total = Run {
        latencies: Histogram::new(3).unwrap(),
        aborted: 0,
    };
    for client in running {
        let run = client.await.unwrap();
        total.latencies.add(run.latencies).unwrap();
        total.aborted += run.aborted;
    }
    total
}

fn transfer(sides: &Sides, rng: &mut fastrand::Rng) -> Transaction {
    let reference = format!("{:016x}", rng.u64(..));
    let (from, to) = (account(rng.u16(..ACCOUNTS)), account(rng.u16(..ACCOUNTS)));
    let (left, right) = (sides.get(Name::Left), sides.get(Name::Right));
    Transaction::new()
        .operation(Name::Left.as_str(), left.operation(&reference, &from, -1))
        .operation(Name::Right.as_str(), right.operation(&reference, &to, 1))
}

/// Median microseconds of a write and a sync on a preallocated file.
fn bare_sync(dir: &Path) -> f64 {
    const SYNCS: u64 = 500;
    let file = File::create(dir.join("bare")).unwrap();
    file.write_all_at(&vec![0; 4096 * SYNCS as usize], 0).unwrap();
    file.sync_all().unwrap();
    let mut micros: Vec<f64> = (0..SYNCS)
        .map(|number| {
            let began = Instant::now();
            file.write_all_at(&[1; 4096], number * 4096).unwrap();
            file.sync_data().unwrap();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}
