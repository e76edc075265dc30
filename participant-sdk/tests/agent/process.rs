//! The agent's process and its file.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use handfast_participant::failpoint;

/// A folder with an agent's file in it.
pub struct AgentFile {
    folder: tempfile::TempDir,
    coordinator: String,
    resources: String,
}

impl AgentFile {
    pub fn new(coordinator: &str) -> Self {
        AgentFile {
            folder: tempfile::tempdir().unwrap(),
            coordinator: coordinator.to_owned(),
            resources: String::new(),
        }
    }

    /// One more resource; `keys` are the kind's own.
    #[must_use]
    pub fn with(mut self, kind: &str, name: &str, keys: &str) -> Self {
        self.resources += &format!("[[resource]]\nkind = \"{kind}\"\nname = \"{name}\"\n{keys}\n\n");
        self
    }

    /// A ledger with an account of alice's, who has 1000.
    #[must_use]
    pub fn with_ledger(self, name: &str) -> Self {
        let directory = self.path(name);
        self.with(
            "ledger",
            name,
            &format!("data_dir = {directory:?}\naccounts = {{ alice = 1000 }}"),
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self) -> PathBuf {
        let path = self.path("agent.toml");
        let AgentFile {
            coordinator,
            resources,
            ..
        } = self;
        let text = format!(
            "coordinator = \"{coordinator}\"\n[report]\nperiod_s = 1\nprepared_warn_s = 5\n\n{resources}"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, command: &str) -> Command {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_handfast-agent"));
        agent
            .arg(command)
            .arg(self.write())
            .env_remove(failpoint::VARIABLE)
            .env_remove("PGPASSWORD")
            .env("RUST_LOG", "info");
        agent
    }

    /// `handfast-agent check`, to its end.
    pub fn check(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command("check")
            .args(arguments)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// `handfast-agent check`, whose output nobody reads any more.
    pub fn check_unread(&self) -> Output {
        let (_, stdout) = std::io::pipe().unwrap();
        self.command("check").stdout(stdout).output().unwrap()
    }

    /// A command that is expected to end by itself.
    pub fn to_the_end(&self, command: &str) -> Output {
        self.command(command).output().unwrap()
    }

    /// `handfast-agent run`.
    pub fn run(&self, variables: &[(&str, &str)]) -> Agent {
        let mut child = self
            .command("run")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        tokio::task::spawn_blocking(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Agent { child, log }
    }
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// Waits for a line of the log that has all of these words.
    pub async fn logs(&mut self, words: &[&str]) -> String {
        let mut found = None;
        let what = format!("a line with {words:?}");
        let waited = super::until(&what, async || {
            let log = self.log.lock().unwrap();
            found = log
                .iter()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .cloned();
            found.is_some()
        });
        if tokio::time::timeout(super::PATIENCE / 2, waited).await.is_err() {
            panic!("no {what} in\n{}", self.log.lock().unwrap().join("\n"));
        }
        found.unwrap()
    }

    /// Waits until it has died at this failpoint.
    pub async fn dies_at(&mut self, point: &str) {
        super::until(&format!("the agent's death at {point}"), async || {
            self.child.try_wait().unwrap().is_some()
        })
        .await;
    }

    /// SIGTERM, and the exit code.
    pub async fn end(mut self) -> Option<i32> {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        self.dies_at("SIGTERM").await;
        self.child.try_wait().unwrap().and_then(|status| status.code())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
