//! The real coordinator and real ledgers, each in a process of its own, dying at every named point between two steps of the
//! protocol while several clients make transfers. Judged by the demonstration's checker, from the ledgers' own state and
//! what the clients were told.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and says where"
)]

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bank_transfer::checker::judge;
use bank_transfer::clients::{self, Told, Work};
use bank_transfer::report::Report;
use bank_transfer::run::{agent_arguments, log_id, until_connected, until_settled};
use bank_transfer::schedule::Schedule;
use bank_transfer::side::{Side, Sides};
use bank_transfer::transfers::{Name, OPENING_BALANCE, Source};
use demonstration::coordinator;
use demonstration::processes::Process;
use handfast_coordinator::failpoint::{Point, VARIABLE};
use handfast_participant::{Client, failpoint};
use handfast_servers::free_port;

const ACCOUNTS: u16 = 8;
const CLIENTS: usize = 4;
/// Some are more than an account holds: that side refuses, and the other one has to abort.
const AMOUNTS: RangeInclusive<i64> = 1..=OPENING_BALANCE * 3 / 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Transfers go on for so long after the process that died was started again.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Points at which a client waits for the reply.
const BEFORE_THE_REPLY: [Point; 5] = [
    Point::BeforePrepareSend,
    Point::AfterPrepareSend,
    Point::BeforeDecisionAppend,
    Point::AfterDecisionAppend,
    Point::BeforeDecisionSync,
];

struct Stage {
    dir: tempfile::TempDir,
    address: SocketAddr,
    sides: Rc<Sides>,
    processes: Vec<Process>,
}

/// A coordinator and two ledgers; `armed` dies at `point`.
fn stage(armed: &'static str, point: &str) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let sides = Sides(Name::BOTH.map(|name| Side::Ledger {
        dir: dir.path().join(name.as_str()),
    }));
    let start = |name: &'static str, arguments| {
        let variables: &[(&str, &str)] = if name == armed { &[(VARIABLE, point)] } else { &[] };
        let program = PathBuf::from(env!("CARGO_BIN_EXE_bank-transfer"));
        Process::start_program(program, name, arguments, variables, dir.path()).unwrap()
    };
    let mut processes = vec![start("coordinator", coordinator::arguments(dir.path(), address))];
    for name in Name::BOTH {
        processes.push(start(
            name.as_str(),
            agent_arguments(name, sides.get(name), address, ACCOUNTS),
        ));
    }
    Stage {
        dir,
        address,
        sides: Rc::new(sides),
        processes,
    }
}

/// Makes transfers until `armed` has died and been started again, and judges everything.
async fn dies(armed: &'static str, point: String) {
    let Stage {
        dir,
        address,
        sides,
        mut processes,
    } = stage(armed, &point);
    let logs = |dir: &Path| std::fs::read_to_string(dir.join(format!("{armed}.log"))).unwrap_or_default();
    let client = Client::connect([address.to_string()]).unwrap();
    let expires = SystemTime::now() + Duration::from_secs(3600);
    let work = Rc::new(Work {
        schedule: RefCell::new(Schedule::new(
            Source::random(1, ACCOUNTS, AMOUNTS),
            Instant::now(),
            PATIENCE,
        )),
        asked: RefCell::default(),
        expires_at_ms: u64::try_from(expires.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
    });
    let running: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::task::spawn_local(clients::transact(client.clone(), sides.clone(), work.clone())))
        .collect();
    let position = processes
        .iter()
        .position(|process| process.name == armed)
        .unwrap();
    let give_up_at = Instant::now() + PATIENCE;
    while !processes[position].has_ended().unwrap() {
        assert!(
            Instant::now() < give_up_at,
            "{armed} never passed {point}; its log:\n{}",
            logs(dir.path())
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    processes[position].restart().unwrap();
    until_connected(address, &mut processes).await.unwrap();
    tokio::time::sleep(AFTERWARDS).await;
    work.schedule.borrow_mut().close();
    for client in running {
        client.await.unwrap();
    }
    clients::resolve(&client, &sides, &work).await;
    until_settled(address, &mut processes).await.unwrap();
    let log = log_id(address).await.unwrap();
    for process in processes.iter_mut().rev() {
        assert!(
            process.end().unwrap().success(),
            "{} did not end well; {armed}:\n{}",
            process.name,
            logs(dir.path())
        );
    }
    let left = sides.get(Name::Left).holdings(log).await.unwrap();
    let right = sides.get(Name::Right).holdings(log).await.unwrap();
    let mut report = Report {
        total_before: 2 * i64::from(ACCOUNTS) * OPENING_BALANCE,
        kills: vec![(armed.to_owned(), 1)],
        recoveries: 1,
        ..Report::default()
    };
    judge(&work.asked.borrow(), [&left, &right], &mut report);
    assert!(
        report.is_clean(),
        "{armed} at {point}: {report:?}\n{}",
        logs(dir.path())
    );
    assert!(
        work.asked
            .borrow()
            .iter()
            .any(|asked| asked.told == Told::Committed)
    );
    if BEFORE_THE_REPLY
        .iter()
        .any(|before| point.starts_with(before.as_str()))
    {
        // Whoever waited for that reply lost it, and learned the outcome by asking again.
        assert!(report.unknown_then_resolved > 0, "{point}: {report:?}");
    }
}

fn run(armed: &'static str, point: &str, passes: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, dies(armed, format!("{point}:{passes}")));
}

macro_rules! coordinator_dies {
    ($($test:ident: $point:ident, $passes:literal;)*) => {$(
        #[test]
        fn $test() {
            run("coordinator", Point::$point.as_str(), $passes);
        }
    )*};
}

coordinator_dies! {
    coordinator_before_a_prepare_is_sent: BeforePrepareSend, 8;
    coordinator_after_a_prepare_is_sent: AfterPrepareSend, 5;
    coordinator_before_a_decision_is_appended: BeforeDecisionAppend, 5;
    coordinator_after_a_decision_is_appended: AfterDecisionAppend, 5;
    coordinator_while_a_decision_is_synced: BeforeDecisionSync, 5;
    coordinator_after_a_decision_is_synced: AfterDecisionSync, 5;
    coordinator_after_a_reply: AfterReply, 5;
    coordinator_after_the_first_commit_is_sent: AfterFirstCommitSend, 5;
    coordinator_after_all_commits_are_sent: AfterCommitsSend, 5;
    coordinator_before_an_end_is_appended: BeforeEndAppend, 5;
    coordinator_after_an_end_is_appended: AfterEndAppend, 5;
    coordinator_before_it_serves: BeforeServing, 1;
}

macro_rules! ledger_dies {
    ($($test:ident: $point:literal, $passes:literal;)*) => {
        $(
            #[test]
            fn $test() {
                run("left", $point, $passes);
            }
        )*

        /// A point that is added to the participant must be added here.
        #[test]
        fn every_point_of_the_participant_is_passed() {
            assert_eq!([$($point),*], failpoint::NAMES);
        }
    };
}

ledger_dies! {
    ledger_after_a_prepare_is_received: "after_prepare_received", 5;
    ledger_after_a_reservation: "after_reserve", 5;
    ledger_after_a_promise_is_appended: "after_prepare_append", 5;
    ledger_after_a_promise_is_synced: "after_prepare_sync", 5;
    ledger_after_a_vote_is_sent: "after_vote_sent", 5;
    ledger_after_a_commit_is_received: "after_commit_received", 5;
    ledger_after_a_commit_is_appended: "after_commit_append", 5;
    ledger_after_a_commit_is_synced: "after_commit_sync", 5;
    ledger_after_an_abort_is_received: "after_abort_received", 2;
    ledger_after_an_abort_is_synced: "after_abort_sync", 2;
    ledger_after_an_acknowledgement_is_sent: "after_ack_sent", 5;
}
