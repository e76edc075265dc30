//! A coordinator as a child process. It is killed, by its id, when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use handfast_proto::v1;
use handfast_proto::v1::admin_client::AdminClient;
use handfast_proto::v1::transactions_client::TransactionsClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

/// The size of a segment of its log. Small ones make a start quick.
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// A running coordinator.
pub struct Coordinator {
    child: Child,
    /// Where it listens.
    pub address: String,
    _stdout: Option<BufReader<ChildStdout>>,
}

/// The binary with these arguments, in an environment of its own.
pub fn handfast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
    command.args(arguments).env_clear().env("NO_COLOR", "1");
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    handfast(arguments).output().unwrap()
}

/// What a command wrote to its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command wrote to its standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A data directory that does not exist yet, in a temporary one.
pub fn data_directory() -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    (temporary, data)
}

/// Arguments that serve this directory on a free port.
pub fn serve_arguments(data: &Path) -> [&str; 5] {
    [
        "serve",
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]
}

/// Serves a directory that must be refused.
pub fn serve_refused(data: &Path) -> Output {
    run(&serve_arguments(data))
}

impl Coordinator {
    /// Starts and waits until it is ready.
    pub fn start(data: &Path) -> Coordinator {
        Coordinator::start_with(data, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(data: &Path, variables: &[(&str, &str)]) -> Coordinator {
        let mut command = handfast(&serve_arguments(data));
        command.envs(variables.iter().copied());
        Coordinator::run(command)
    }

    /// The same of any command that serves.
    pub fn run(mut command: Command) -> Coordinator {
        let mut child = command
            .env("HANDFAST_LOG__SEGMENT_BYTES", SEGMENT_BYTES.to_string())
            .env("HANDFAST_LOG__BUFFER_BYTES", "524288")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("handfast is ready at ") else {
            let mut words = String::new();
            child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!("no ready line, but {line:?}: {words}");
        };
        let address = address.to_owned();
        Coordinator {
            child,
            address,
            _stdout: Some(stdout),
        }
    }

    /// The same of a command whose standard output goes elsewhere; it does not wait, and does not know where it listens.
    pub fn run_unread(mut command: Command, stdout: impl Into<Stdio>) -> Coordinator {
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        Coordinator {
            child,
            address: String::new(),
            _stdout: None,
        }
    }

    /// Waits for the end of a command that must not get as far as to serve.
    pub async fn refused(command: Command) -> (Option<i32>, String) {
        Coordinator::run_unread(command, Stdio::null()).ended().await
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end: exit code, if it was not killed, and what it wrote.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = crate::until("the end of the coordinator", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await;
        let mut words = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut words)
            .unwrap();
        (status.code(), words)
    }

    /// Power is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory that it has held at a time so far.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kibibytes.parse::<u64>().unwrap() << 10
    }

    /// How many transactions live in it, by its own word.
    pub async fn live(&self) -> u64 {
        let address = format!("http://{}", self.address);
        let mut client = AdminClient::connect(address).await.unwrap();
        let status = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
        status.table.unwrap().live
    }

    /// A client of it.
    pub async fn client(&self) -> TransactionsClient<Channel> {
        TransactionsClient::connect(format!("http://{}", self.address))
            .await
            .unwrap()
    }

    /// Runs a subcommand that asks it.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--address", &self.address]].concat())
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
