//! Killed brokers and killed instances.
//!
//! An instance that is killed is a process of its own: this test binary, started with only the test `instance`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use handfast_participant::ids::{BranchId, TransactionId};
use handfast_participant::resources::kafka::{KafkaOperation, KafkaOptions, KafkaResource};
use handfast_participant::{BranchKey, Completion, Decision, Resource, Work};
use rustix::process::{Pid, Signal, kill_process};

use super::{LOG, Shop, branch, open, prepare, promise, raw, refused, seen, start_broker, until};

const BOOTSTRAP: &str = "HANDFAST_TEST_BOOTSTRAP";
const JOURNAL: &str = "HANDFAST_TEST_JOURNAL";
const TOPIC: &str = "HANDFAST_TEST_TOPIC";
const TRANSACTION: &str = "HANDFAST_TEST_TRANSACTION";
const THEN: &str = "HANDFAST_TEST_THEN";
const PROMISED: &str = "promised";

/// A process that promises a branch, and then waits to be killed or commits it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process that other tests start and kill"]
async fn instance() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let mut options = KafkaOptions::new([variable(BOOTSTRAP)], "killed");
    options.journal_topic = variable(JOURNAL);
    let resource = open(options).await;
    let branch = BranchKey {
        log: LOG,
        transaction: TransactionId::from_u128(variable(TRANSACTION).parse().unwrap()).unwrap(),
        branch: BranchId(0),
    };
    let operation = KafkaOperation::new().record(variable(TOPIC), "key", "by the killed one");
    promise(&resource, branch, &operation).await;
    println!("\n{PROMISED}");
    match variable(THEN).as_str() {
        "commit" => drop(resource.finish(branch, Decision::Commit).await),
        _ => std::future::pending().await,
    }
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Shop {
    fn spawn(&self, branch: BranchKey, then: &str, failpoint: Option<&str>) -> Killed {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crash::instance", "--ignored", "--nocapture"])
            .env(BOOTSTRAP, self.broker.bootstrap())
            .env(JOURNAL, &self.options.journal_topic)
            .env(TOPIC, &self.topic)
            .env(TRANSACTION, branch.transaction.as_u128().to_string())
            .env(THEN, then)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("HANDFAST_FAILPOINT", failpoint);
        }
        Killed(command.spawn().unwrap())
    }
}

fn wait_for_promise(child: &mut Killed) {
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == PROMISED),
        "the instance ended before its promise"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_promised_another_one_finishes() {
    let shop = Shop::new();
    for (decision, then) in [(Decision::Abort, 0), (Decision::Commit, 1)] {
        let branch = branch();
        let mut child = shop.spawn(branch, "wait", None);
        wait_for_promise(&mut child);
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let other = shop.open().await;
        assert_eq!(other.scan().await.unwrap()[0].branch, branch);
        assert_eq!(other.finish(branch, decision).await.unwrap(), Completion::Done);
        shop.stable().await;
        assert_eq!(shop.committed(), vec!["by the killed one"; then]);
        other.forget(&[branch]).await.unwrap();
    }
}

/// Between `EndTxn` and the marker.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_cut_off_before_its_marker_is_done_once() {
    let shop = Shop::new();
    let branch = branch();
    let mut child = shop.spawn(branch, "commit", Some("after_commit_append"));
    let status = child.0.wait().unwrap();
    assert!(!status.success(), "it dies at the failpoint");
    let other = shop.open().await;
    assert_eq!(
        other.scan().await.unwrap().len(),
        1,
        "without its marker it is still listed"
    );
    for _ in 0..2 {
        assert_eq!(
            other.finish(branch, Decision::Commit).await.unwrap(),
            Completion::Done
        );
    }
    shop.stable().await;
    assert_eq!(shop.committed(), ["by the killed one"]);
}

/// Between the work and the promise.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_was_left_behind_is_reaped_and_its_late_promise_is_void() {
    let mut shop = Shop::new();
    let branch = branch();
    let mut child = shop.spawn(branch, "wait", Some("after_reserve"));
    child.0.wait().unwrap();
    shop.open_transaction();
    let patient = shop.open().await;
    patient.scan().await.unwrap();
    shop.open_transaction();
    shop.options.orphan_age = Duration::from_millis(1);
    let resource = shop.open().await;
    assert_eq!(resource.scan().await.unwrap(), []);
    assert_eq!(shop.open_transactions(), []);
    shop.stable().await;
    assert_eq!(
        resource.finish(branch, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    assert_eq!(shop.committed(), [""; 0]);
}

/// A reaper that is far too eager must cost votes and never a promise.
#[tokio::test(flavor = "multi_thread")]
async fn a_reaper_never_takes_what_was_voted_for() {
    let mut shop = Shop::new();
    let resource = shop.open().await;
    shop.options.orphan_age = Duration::from_millis(1);
    let reaper = shop.open().await;
    let mut promised = 0;
    for _ in 0..30 {
        let branch = branch();
        let operation = shop.order("paid");
        let (vote, scanned) = tokio::join!(prepare(&resource, branch, &operation), reaper.scan());
        scanned.unwrap();
        match vote {
            handfast_participant::Vote::Prepared { .. } => {
                promised += 1;
                reaper.scan().await.unwrap();
                assert_eq!(
                    resource.finish(branch, Decision::Commit).await.unwrap(),
                    Completion::Done
                );
            }
            handfast_participant::Vote::Refused(refusal) => assert!(refusal.retryable, "{refusal:?}"),
            handfast_participant::Vote::ReadOnly => panic!("there was something to write"),
            handfast_participant::Vote::Committed => panic!("it was asked for a promise"),
        }
    }
    shop.stable().await;
    assert_eq!(shop.committed().len(), promised);
}

/// A shop with a broker of its own, to be killed.
fn own() -> Shop {
    Shop::on(Arc::new(start_broker()))
}

fn broker(shop: &mut Shop) -> &mut handfast_servers::KafkaBroker {
    Arc::get_mut(&mut shop.broker).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_keeps_what_was_promised_and_what_was_committed() {
    let mut shop = own();
    let resource = shop.open().await;
    let (before, during) = (branch(), branch());
    promise(&resource, before, &shop.order("before")).await;
    promise(&resource, during, &shop.order("during")).await;
    resource.finish(before, Decision::Commit).await.unwrap();
    broker(&mut shop).kill().unwrap();

    let error = resource.finish(during, Decision::Commit).await.unwrap_err();
    assert!(!error.permanent, "{error}");
    assert!(!resource.open().await.unwrap_err().permanent);
    assert!(!resource.scan().await.unwrap_err().permanent);

    broker(&mut shop).restart().unwrap();
    finish(&resource, during, Decision::Commit).await;
    finish(&resource, before, Decision::Commit).await;
    shop.stable().await;
    let mut found = shop.committed();
    found.sort();
    assert_eq!(found, ["before", "during"]);
    resource.open().await.unwrap();
}

/// Carries a decision out as the session does: again, while it is answered that nothing is known.
async fn finish(resource: &KafkaResource, branch: BranchKey, decision: Decision) {
    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    loop {
        match resource.finish(branch, decision).await {
            Ok(completion) => return assert_eq!(completion, Completion::Done),
            Err(error) => assert!(tokio::time::Instant::now() < give_up_at, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_while_the_broker_is_gone_is_refused_in_time_and_costs_no_id() {
    let mut shop = own();
    shop.options.pool = 1;
    let resource = shop.open().await;
    broker(&mut shop).kill().unwrap();
    let gone = branch();
    let work = handfast_participant::Work::Operation(shop.order("never").encode());
    let limit = Duration::from_secs(2);
    let vote = tokio::time::timeout(limit * 3, resource.prepare(gone, work, super::seen(1, 1), limit)).await;
    let refusal = refused(vote.unwrap().unwrap());
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("KAFKA_UNREACHABLE", true)
    );
    broker(&mut shop).restart().unwrap();
    finish(&resource, gone, Decision::Abort).await;
    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    let last = loop {
        let branch = branch();
        match prepare(&resource, branch, &shop.order("after")).await {
            handfast_participant::Vote::Prepared { .. } => break branch,
            other => assert!(tokio::time::Instant::now() < give_up_at, "{other:?}"),
        }
    };
    finish(&resource, last, Decision::Commit).await;
    shop.stable().await;
    assert_eq!(shop.committed(), ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_under_load_loses_and_doubles_nothing() {
    let mut shop = own();
    let resource = shop.open().await;
    let options = shop.options.clone();
    let topic = shop.topic.clone();
    let worker = tokio::spawn(async move {
        let mut told = Vec::new();
        for number in 0..60 {
            let branch = branch();
            let operation = KafkaOperation::new().record(&topic, "key", format!("{number:02}"));
            let decision = match prepare(&resource, branch, &operation).await {
                handfast_participant::Vote::Prepared { .. } if number % 3 > 0 => Decision::Commit,
                _ => Decision::Abort,
            };
            finish(&resource, branch, decision).await;
            if decision == Decision::Commit {
                told.push(format!("{number:02}"));
            }
        }
        told
    });
    for _ in 0..2 {
        let begun = shop.broker.read_uncommitted(&shop.topic).unwrap().len();
        until("more work", || {
            shop.broker.read_uncommitted(&shop.topic).unwrap().len() > begun + 5
        })
        .await;
        broker(&mut shop).kill().unwrap();
        broker(&mut shop).restart().unwrap();
    }
    let told = worker.await.unwrap();
    let last = open(options).await;
    for line in last.scan().await.unwrap() {
        finish(&last, line.branch, Decision::Abort).await;
    }
    until("nothing to be open", || shop.open_transactions().is_empty()).await;
    shop.stable().await;
    let mut found = shop.committed();
    found.sort();
    assert_eq!(found, told);
    assert!(told.len() > 10, "{told:?}");
}

/// The broker hangs with the initialisation of an id in its socket, and may carry it out at any later time.
#[tokio::test(flavor = "multi_thread")]
async fn an_initialisation_that_comes_late_reaches_no_promised_branch() {
    let mut shop = Shop::on(Arc::new(start_broker()));
    shop.options.pool = 1;
    let resource = shop.open().await;
    let first = branch();
    promise(&resource, first, &shop.order("first")).await;
    let used = shop.open_transaction();
    resource.finish(first, Decision::Commit).await.unwrap();
    shop.stable().await;
    resource.seen().await.unwrap();

    let pid = shop
        .broker
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let work = Work::Operation(shop.order("never").encode());
    let vote = resource
        .prepare(branch(), work, seen(3, 1), Duration::from_secs(1))
        .await
        .unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(refused(vote).reason, "KAFKA_UNREACHABLE");

    let second = branch();
    promise(&resource, second, &shop.order("second")).await;
    let promised = shop.open_transaction();
    assert_ne!(promised.id, used.id, "the id may still be initialised");
    until("the id to be initialised", || {
        raw::initialise(&shop.broker, &used.id, None) == 0
    })
    .await;
    let completion = resource.finish(second, Decision::Commit).await.unwrap();
    assert_eq!(completion, Completion::Done);
    shop.stable().await;
    assert_eq!(shop.committed(), ["first", "second"]);
}
