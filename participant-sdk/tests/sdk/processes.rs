//! The real agent, killed at each of its steps, stopped in good order, and started where it cannot work.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use handfast_participant::failpoint;
use handfast_participant::proto::v1::{AckKind, DecisionKind, InDoubtPhase, VoteKind};
use handfast_participant::resources::ledger::{self, LedgerOperation};

use crate::fake::{Fake, Session, soon};

/// An agent; killed when the test is over.
struct Agent(Child);

impl Agent {
    fn start(directory: &Path, fake: &Fake, failpoint: Option<&str>) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handfast-agent"));
        command
            .args(["ledger", "--name", "ledger", "--coordinator", &fake.address])
            .args(["--account", "alice=1000", "--account", "bob=1000", "--data-dir"])
            .arg(directory)
            .env_remove(failpoint::VARIABLE)
            .env("RUST_LOG", "warn")
            .stderr(Stdio::piped());
        if let Some(failpoint) = failpoint {
            command.env(failpoint::VARIABLE, failpoint);
        }
        Agent(command.spawn().expect("the agent was built"))
    }

    fn terminate(&self) {
        let signal = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        assert!(signal.expect("kill is there").success());
    }

    /// Waits for its end: the exit code, none if it was killed, and what it wrote to standard error.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut pipe = self.0.stderr.take().expect("it is piped");
        let wait = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut pipe, &mut text).map(|_| text)
        });
        let text = soon("the end of the agent", wait)
            .await
            .expect("no panic")
            .expect("text");
        (self.0.wait().expect("it is a child").code(), text)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn transfer() -> Bytes {
    LedgerOperation::transfer("order", "alice", "bob", 100).encode()
}

/// Plays a coordinator until the agent is gone. With its vote it commits, or aborts where the point is about that; without,
/// it aborts. Tells whether it committed.
async fn play(session: &mut Session, point: &str) -> bool {
    session.welcome().await;
    session.prepare([1], &transfer()).await;
    while session.votes_by_frame.is_empty() {
        if !session.read().await {
            return false;
        }
    }
    assert_eq!(session.vote(1).await.kind(), VoteKind::Prepared);
    let decision = if point.contains("abort") {
        DecisionKind::Abort
    } else {
        DecisionKind::Commit
    };
    session.try_decide(decision, 1).await;
    while session.read().await {}
    decision == DecisionKind::Commit
}

#[tokio::test]
async fn killed_at_any_step_it_does_what_was_decided_once() {
    for point in failpoint::NAMES {
        let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
        let agent = Agent::start(directory.path(), &fake, Some(point));
        let mut session = fake.accept().await;
        let commits = play(&mut session, point).await;
        let (code, text) = agent.end().await;
        assert_eq!(code, None, "{point} kills: {text}");

        let agent = Agent::start(directory.path(), &fake, None);
        let mut session = fake.accept().await;
        let lines = session.scan().await;
        if commits {
            assert_eq!(lines.len(), 1, "{point}: a promise or its marker survives");
        }
        session.welcome().await;
        match commits {
            true => assert_eq!(session.commit(1).await, AckKind::Done, "{point}"),
            false => assert_eq!(session.abort(1).await, AckKind::Done, "{point}"),
        }
        agent.terminate();
        while session.read().await {}
        assert!(session.goodbye.is_some(), "{point}");
        drop(session);
        assert_eq!(agent.end().await.0, Some(0), "{point}");

        let report = ledger::inspect(directory.path()).await.unwrap();
        assert_eq!(report.applied.len(), usize::from(commits), "{point}");
        assert_eq!((report.total, report.prepared.len()), (2000, 0), "{point}");
    }
}

#[tokio::test]
async fn kill_9_while_nothing_happens_keeps_a_promise() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let agent = Agent::start(directory.path(), &fake, None);
    let mut session = fake.accept().await;
    session.welcome().await;
    session.prepare([1], &transfer()).await;
    session.vote(1).await;
    drop(agent);
    let _agent = Agent::start(directory.path(), &fake, None);
    let mut session = fake.accept().await;
    assert_eq!(session.scan().await, [(1, InDoubtPhase::Prepared)]);
}

#[tokio::test]
async fn a_second_agent_on_the_directory_says_what_to_do() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let _first = Agent::start(directory.path(), &fake, None);
    fake.accept().await.welcome().await;
    let (code, text) = Agent::start(directory.path(), &fake, None).end().await;
    assert_eq!(code, Some(1));
    assert!(text.contains("another process has it open"), "{text}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_words() {
    let (directory, fake) = (tempfile::tempdir().unwrap(), Fake::start().await);
    let (code, text) = Agent::start(directory.path(), &fake, Some("after_lunch"))
        .end()
        .await;
    assert_eq!(code, Some(1));
    assert!(
        text.contains("after_prepare_sync"),
        "it names the known points: {text}"
    );
    let agent = Command::new(env!("CARGO_BIN_EXE_handfast-agent"))
        .args([
            "ledger",
            "--name",
            "Not A Name",
            "--coordinator",
            "127.0.0.1:1",
            "--data-dir",
        ])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(agent.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&agent.stderr).contains("orders-db"),
        "it shows a good name"
    );
}
