//! `handfast bench`: short runs, whose numbers must hang together. How good they are is not tested.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::coordinator::{Coordinator, data_directory, handfast, stderr, stdout};

/// Runs it with temporary directories below a directory of the test's own.
fn bench(arguments: &[&str]) -> (std::process::Output, tempfile::TempDir) {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = handfast(&[&["bench"], arguments].concat());
    let output = command.current_dir(temporary.path()).output().unwrap();
    (output, temporary)
}

fn measured(arguments: &[&str]) -> Value {
    let (output, temporary) = bench(&[arguments, &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let (output, _) = bench(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    stderr(&output)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn transactions_are_counted_with_their_syncs_and_processes() {
    let result = measured(&[
        "--clients",
        "4",
        "--duration",
        "1",
        "--warm-up",
        "0.2",
        "--runs",
        "2",
    ]);
    assert_eq!(result["runs"].as_array().unwrap().len(), 2);
    for run in result["runs"].as_array().unwrap() {
        let committed = number(&run["committed"]);
        assert!(committed > 0.0, "{run}");
        assert_eq!(
            (&run["aborted"], &run["failed"]),
            (&Value::from(0), &Value::from(0)),
            "{run}"
        );
        let rate = committed / number(&run["seconds"]);
        assert!(
            (number(&run["committed_per_second"]) - rate).abs() < 1.0 + rate / 100.0,
            "{run}"
        );
        // Four clients at a time need a forced decision for four transactions at least, and two branches a vote each.
        assert!(number(&run["coordinator"]["syncs"]) >= committed / 8.0, "{run}");
        assert!(number(&run["participants"]["syncs"]) >= committed / 8.0, "{run}");
        let latency = &run["latency_us"];
        let ordered = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| number(&latency[name]));
        assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{latency}");
        let coordinator = &run["coordinator"]["process"];
        assert!(
            number(&coordinator["cpu_us_per_transaction"]) > 0.0,
            "{coordinator}"
        );
        assert!(number(&coordinator["resident_bytes"]) > 1e6, "{coordinator}");
        assert_eq!(run["participants"]["processes"].as_array().unwrap().len(), 2);
    }
    assert!(number(&result["floor"]["disk"]["syncs_per_second"]) > 0.0);
    assert!(number(&result["machine"]["cores"]) >= 1.0);
    let spread = &result["summary"]["committed_per_second"];
    assert!(number(&spread["min"]) <= number(&spread["median"]), "{spread}");
}

#[test]
fn participants_refuse_as_often_as_they_are_told() {
    let mix = [
        "--abort-ratio",
        "0.5",
        "--read-only-ratio",
        "0.3",
        "--wait",
        "applied",
    ];
    let size = [
        "--participants",
        "5",
        "--processes",
        "2",
        "--branches",
        "3",
        "--payload",
        "1000",
    ];
    let time = ["--clients", "8", "--duration", "1", "--warm-up", "0.2"];
    let result = measured(&[&mix[..], &size, &time].concat());
    let run = &result["runs"][0];
    let (committed, aborted) = (number(&run["committed"]), number(&run["aborted"]));
    assert!((0.2..0.8).contains(&(aborted / (committed + aborted))), "{run}");
    assert_eq!(run["abort_reasons"]["REFUSED"], run["aborted"], "{run}");
    assert_eq!(run["failed"], 0, "{run}");
}

#[test]
fn services_join_interactive_transactions() {
    let load = [
        "--interactive",
        "--clients",
        "4",
        "--participants",
        "3",
        "--duration",
        "0.5",
        "--warm-up",
        "0.2",
    ];
    let result = measured(&[&load[..], &["--connect-idle", "2"]].concat());
    let run = &result["runs"][0];
    assert!(number(&run["committed"]) > 0.0, "{run}");
    assert_eq!(
        (&run["aborted"], &run["failed"]),
        (&Value::from(0), &Value::from(0)),
        "{run}"
    );
    assert!(number(&run["participants"]["syncs"]) > 0.0, "{run}");
}

#[test]
fn an_open_loop_keeps_its_rate_and_counts_from_when_a_transaction_was_due() {
    // One client and a delay of each sync: transactions are due faster than they can be done.
    let load = ["--rate", "200", "--clients", "1", "--sync-delay-ms", "20"];
    let result = measured(&[&load[..], &["--duration", "1", "--warm-up", "0"]].concat());
    let run = &result["runs"][0];
    assert!(number(&run["committed"]) < 60.0, "{run}");
    assert!(number(&run["overdue"]) > 100.0, "{run}");
    // Late ones have waited for most of the second, although each took little more than two syncs.
    assert!(number(&run["latency_us"]["max"]) > 400_000.0, "{run}");
}

#[test]
fn a_coordinator_that_runs_is_taken_and_left_running() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    for _ in 0..2 {
        let load = [
            "--clients",
            "2",
            "--transport",
            "unary",
            "--duration",
            "0.3",
            "--warm-up",
            "0",
        ];
        let result = measured(&[&load[..], &["--attach", &coordinator.address]].concat());
        let run = &result["runs"][0];
        assert!(
            number(&run["committed"]) > 0.0 && number(&run["coordinator"]["syncs"]) > 0.0,
            "{run}"
        );
        assert!(run["coordinator"]["process"].is_null(), "{run}");
    }
    assert_eq!(coordinator.ask(&["status"]).status.code(), Some(0));
}

#[test]
fn a_participant_that_never_votes_is_measured_beside_the_others() {
    let result = measured(&[
        "--stuck",
        "1",
        "--clients",
        "4",
        "--duration",
        "1.5",
        "--warm-up",
        "0.2",
    ]);
    let stuck = &result["with_stuck"]["runs"][0]["stuck_clients"];
    assert_eq!(stuck["committed"], 0, "{stuck}");
    assert!(number(&stuck["aborted"]) > 0.0, "{stuck}");
    assert!(
        number(&result["with_stuck"]["throughput_ratio"]["median"]) > 0.0,
        "{result}"
    );
}

#[test]
fn the_log_is_compared_with_the_disk_and_a_bare_loop() {
    let result = measured(&["log", "--writers", "1,8", "--duration", "0.2", "--runs", "1"]);
    for entry in result["results"].as_array().unwrap() {
        for (name, rate) in [
            ("floor", "syncs_per_second"),
            ("bare", "records_per_second"),
            ("log", "records_per_second"),
        ] {
            assert!(number(&entry[name][rate]["median"]) > 0.0, "{entry}");
        }
        assert!(number(&entry["log"]["syncs"]["median"]) > 0.0, "{entry}");
    }
}

#[test]
fn a_restart_is_measured_on_logs_that_were_made_for_it() {
    let result = measured(&[
        "recovery",
        "--live",
        "500",
        "--log-mib",
        "1",
        "--live-in-log",
        "10",
        "--runs",
        "1",
    ]);
    let [live, long] = &result["results"].as_array().unwrap()[..] else {
        panic!("{result}");
    };
    assert_eq!(
        (&live["live"], &live["transactions"]),
        (&Value::from(500), &Value::from(500))
    );
    assert!(number(&long["bytes"]) >= f64::from(1 << 20), "{long}");
    for log in [live, long] {
        let run = &log["runs"][0];
        assert!(
            number(&run["replay_seconds"]) > 0.0 && number(&run["until_serving_seconds"]) > 0.0,
            "{run}"
        );
    }
}

#[test]
fn the_floor_is_measured_by_itself() {
    let result = measured(&["floor", "--callers", "4", "--duration", "0.2"]);
    assert!(number(&result["disk"]["syncs_per_second"]) > 0.0);
    assert!(number(&result["transport"]["unary"]["calls_per_second"]) > 0.0);
    assert!(number(&result["transport"]["stream"]["calls_per_second"]) > 0.0);
}

#[test]
fn what_cannot_be_measured_is_refused_with_advice() {
    let words = [
        (&["--clients", "0"][..], "--clients is 0; give 1 to"),
        (&["--payload", "0"], "--payload is 0; give 1 to"),
        (
            &["--abort-ratio", "1.5"],
            "--abort-ratio is 1.5; give a share from 0 to 1",
        ),
        (&["--duration", "0"], "--duration is 0; give 0.1 to"),
        (&["--rate", "NaN"], "--rate is NaN; give 0.01 to"),
        (
            &["--attach", "127.0.0.1:1", "--sync-delay-ms", "1"],
            "leave out --attach",
        ),
        (&["--data-dir", "/"], "is not empty"),
        (&["log", "--writers", "0"], "give --writers from 1"),
        (&["recovery", "--live", "1000001"], "a coordinator takes 1000000"),
        (&["floor", "--callers", "0"], "give 1 to 100000 --callers"),
    ];
    for (arguments, expected) in words {
        let told = refused(arguments);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

#[tokio::test]
async fn interrupted_it_takes_its_processes_and_files_along() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = handfast(&["bench", "--clients", "2", "--duration", "600"]);
    let mut running = command
        .current_dir(temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut started = std::collections::BTreeSet::new();
    crate::until("coordinator and participants", || {
        // A process is started from any of its threads.
        let threads = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            started.extend(children.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
        }
        let all = started.len() == 3;
        async move { all.then_some(()) }
    })
    .await;
    let pid = Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = crate::until("its end", || {
        let status = running.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert_eq!(status.code(), Some(1));
    assert!(started.iter().all(|process| !is_running(*process)), "{started:?}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
