//! The kit is itself tested: a participant that is right passes, and each that is wrong fails, for the reason that it is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use handfast_conformance::{Effects, GROUPS, Options, Report, Template, Verdict};

/// The participants here answer at once; what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Subject {
    options: Options,
    _directory: tempfile::TempDir,
}

/// A participant with this defect, tried with these cases; with all if there are none.
fn subject(defect: &str, only: &[&str]) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let program = env!("CARGO_BIN_EXE_wrong-participant");
    let mut options = Options::new(format!("exec {program} {defect} {}", path.display()), "tiny");
    options.operations.succeed = vec![Template::from_bytes("{n}")];
    options.operations.refused = vec![Template::from_bytes("no")];
    options.operations.read_only = vec![Template::from_bytes("read")];
    options.effects = Some(Effects::Command(format!(
        "grep ^applied {} || true",
        path.display()
    )));
    options.patience = PATIENCE;
    options.only = only.iter().map(|name| (*name).to_owned()).collect();
    Subject {
        options,
        _directory: directory,
    }
}

async fn tried(subject: &Subject) -> Report {
    handfast_conformance::run(&subject.options, |case| println!("{case}"))
        .await
        .unwrap()
}

/// Exactly these cases are wrong, the first of them with these words.
async fn is_caught(defect: &str, only: &[&str], wrong: &[&str], words: &str) {
    let report = tried(&subject(defect, only)).await;
    assert_eq!(report.names(Verdict::Wrong), wrong, "{report}");
    let first = report.cases.iter().find(|case| case.name == wrong[0]).unwrap();
    assert!(first.words.contains(words), "{}", first.words);
}

#[tokio::test]
async fn a_right_one_passes_everything() {
    let report = tried(&subject("none", &[])).await;
    let all: usize = GROUPS.iter().map(|group| group.cases.len()).sum();
    assert_eq!(report.count(Verdict::Right), all, "{report}");
}

#[tokio::test]
async fn a_vote_before_the_promise_is_durable() {
    is_caught(
        "votes-before-durable",
        &[
            "commit",
            "kill-after-vote",
            "kill-after-vote-abort",
            "kill-after-abort-ack",
        ],
        &["kill-after-vote", "kill-after-vote-abort"],
        "it voted prepared, was killed, and its scan now says nothing of the branch",
    )
    .await;
}

#[tokio::test]
async fn an_acknowledgement_before_the_effect_is_durable() {
    is_caught(
        "acknowledges-before-durable",
        &["kill-after-ack", "kill-after-abort-ack"],
        &["kill-after-ack"],
        "it acknowledged the commit, was killed, and shows the branch as prepared again",
    )
    .await;
}

#[tokio::test]
async fn absence_taken_for_a_commit_that_was_done() {
    is_caught(
        "absence-is-done",
        &["commit-twice", "commit-of-nothing", "commit-after-abort"],
        &["commit-of-nothing"],
        "a branch that never was prepared was answered done",
    )
    .await;
}

#[tokio::test]
async fn a_promise_that_does_not_outlive_its_session() {
    is_caught(
        "aborts-by-itself",
        &[
            "session-lost",
            "connection-cut",
            "coordinator-goodbye",
            "coordinator-away",
            "silent-coordinator",
            "kill-after-vote",
        ],
        &[
            "session-lost",
            "connection-cut",
            "coordinator-goodbye",
            "coordinator-away",
            "silent-coordinator",
        ],
        "it voted prepared, lost its session",
    )
    .await;
}

#[tokio::test]
async fn a_repeated_commit_that_takes_effect_again() {
    is_caught(
        "applies-twice",
        &[
            "commit",
            "commit-twice",
            "kill-after-ack",
            "commit-ancient",
            "abort-twice",
        ],
        &["kill-after-ack", "commit-twice", "commit-ancient"],
        "1 branches were committed and 2 effects are there",
    )
    .await;
}

#[tokio::test]
async fn an_abort_that_does_not_fence() {
    is_caught(
        "does-not-fence",
        &[
            "abort-of-nothing",
            "abort-overtakes-prepare",
            "fence-survives-kill",
            "abort-twice",
        ],
        &["abort-overtakes-prepare", "fence-survives-kill"],
        "a prepare that came after its decision: the vote was prepared",
    )
    .await;
}

#[tokio::test]
async fn a_branch_that_belongs_to_whoever_asks() {
    is_caught(
        "forgets-whose-branch",
        &["commit", "another-log"],
        &["another-log"],
        "another log",
    )
    .await;
}

#[tokio::test]
async fn a_witness_that_remembers_nothing() {
    is_caught(
        "remembers-nothing-seen",
        &["seen", "commit"],
        &["seen"],
        "its hello shows nothing of this log",
    )
    .await;
}

#[tokio::test]
async fn a_branch_that_is_dropped_because_it_is_finished() {
    is_caught(
        "drops-what-is-finished",
        &["answer-wait", "answer-finished", "answer-forgotten"],
        &["answer-finished"],
        "then finished, and a scan now says nothing",
    )
    .await;
}

#[tokio::test]
async fn a_participant_that_waits_for_ever() {
    is_caught(
        "waits-for-ever",
        &["heartbeat", "silent-coordinator"],
        &["silent-coordinator"],
        "no session was opened",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_given_is_not_checked_and_never_right() {
    let mut subject = subject("none", &["commit", "refuse", "read-only", "hello"]);
    subject.options.operations.refused.clear();
    subject.options.operations.read_only.clear();
    subject.options.effects = None;
    let report = tried(&subject).await;
    assert_eq!(report.names(Verdict::Right), ["hello"]);
    assert_eq!(report.names(Verdict::Partly), ["commit"]);
    assert_eq!(report.names(Verdict::NotChecked), ["refuse", "read-only"]);
    let json = report.to_json();
    assert_eq!(
        (&json["right"], &json["partly_checked"], &json["not_checked"]),
        (&1.into(), &1.into(), &2.into())
    );
    assert!(report.cases[1].words.contains("--effects"), "{report}");
}

#[tokio::test]
async fn a_participant_that_never_comes_is_wrong_and_nothing_else_is_tried() {
    let mut options = Options::new("echo nobody knows {coordinator}; exit 3", "tiny");
    options.patience = PATIENCE;
    let report = handfast_conformance::run(&options, |_| {}).await.unwrap();
    assert_eq!(report.names(Verdict::Wrong), ["hello"]);
    assert_eq!(report.count(Verdict::Right), 0);
    let words = &report.cases[0].words;
    assert!(
        words.contains("exit status: 3") && words.contains("nobody knows 127.0.0.1:"),
        "{words}"
    );
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_with_words() {
    let mut options = Options::new("true", "tiny");
    options.only = vec!["lunch".to_owned()];
    let refused = handfast_conformance::run(&options, |_| {})
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("lunch") && refused.contains("handshake"),
        "{refused}"
    );
    let refused = handfast_conformance::run(&Options::new("true", "Not A Name"), |_| {})
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("orders-db"),
        "it shows a good name: {refused}"
    );
}

#[tokio::test]
async fn a_commit_that_was_left_to_it_told_before_it_is_durable() {
    is_caught(
        "commits-before-durable",
        &["commit", "delegated-kill", "delegated-twice"],
        &["delegated-kill", "delegated-twice"],
        "its scan now says nothing of the branch instead of \"committed\"",
    )
    .await;
}

#[tokio::test]
async fn a_marker_that_is_not_looked_for_when_it_is_asked() {
    is_caught(
        "always-says-abort",
        &[
            "commit",
            "delegated-kill",
            "resolve-fences",
            "resolve-after-commit",
        ],
        &["delegated-kill", "resolve-fences", "resolve-after-commit"],
        "asked how a branch came out that it voted committed, it says abort",
    )
    .await;
}

#[tokio::test]
async fn absence_taken_for_the_abort_of_what_was_left_to_it() {
    is_caught(
        "absence-is-aborted",
        &[
            "abort-of-nothing",
            "resolve-fences",
            "resolve-after-commit",
            "resolve-of-a-promise",
        ],
        &["resolve-fences"],
        "work came after the branch was answered abort, and the vote was committed",
    )
    .await;
}
