//! The processes that a measurement starts. Each is stopped by its id, at the latest when it is dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{failed, machine};
use crate::error::Error;

/// How long a process may take to be ready: thousands of participants make as many journals.
const READY: Duration = Duration::from_secs(120);
/// How long a process may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lines that a process has written and nobody has read.
const LINES: usize = 64;

/// A running process.
pub struct Child {
    name: String,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts this program with other arguments. Its errors go to a file, which is shown if it fails.
    pub fn start(name: &str, arguments: &[String], directory: &Path) -> Result<Child, Error> {
        let cannot = |error: std::io::Error| failed(format!("the process {name} cannot be started: {error}"));
        let program = std::env::current_exe().map_err(cannot)?;
        let errors = std::fs::File::create(words_path(directory, name)).map_err(cannot)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .env("NO_COLOR", "1");
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        // Ctrl-C on a terminal goes to a whole group of processes; these are stopped in order by the one that measures.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().map_err(cannot)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel(LINES);
        // Reading a pipe blocks. The thread ends with the process.
        tokio::task::spawn_blocking(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Child {
            name: name.to_owned(),
            process,
            stdin,
            lines,
        })
    }

    /// The next line that it writes to standard output.
    pub async fn line(&mut self, limit: Duration, directory: &Path) -> Result<String, Error> {
        let what = match tokio::time::timeout(limit, self.lines.recv()).await {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => "has ended",
            Err(_) => "does not answer",
        };
        let words = std::fs::read_to_string(words_path(directory, &self.name)).unwrap_or_default();
        let last: Vec<_> = words.lines().rev().take(5).collect();
        let last: Vec<_> = last.into_iter().rev().collect();
        Err(failed(format!(
            "the process {} {what}: {}",
            self.name,
            last.join("; ")
        )))
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self, directory: &Path) -> Result<String, Error> {
        self.line(READY, directory).await
    }

    /// Asks for its counters.
    pub async fn ask(&mut self, question: &str, directory: &Path) -> Result<Value, Error> {
        let Some(stdin) = &mut self.stdin else {
            return Err(failed(format!("the process {} cannot be asked", self.name)));
        };
        let asked = stdin
            .write_all(format!("{question}\n").as_bytes())
            .and_then(|()| stdin.flush());
        asked.map_err(|error| failed(format!("the process {} cannot be asked: {error}", self.name)))?;
        let line = self.line(PATIENCE, directory).await?;
        serde_json::from_str(&line)
            .map_err(|error| failed(format!("the process {} answered {line:?}: {error}", self.name)))
    }

    /// What it has used so far.
    pub fn usage(&self) -> Option<machine::Usage> {
        machine::usage(self.process.id())
    }

    /// Asks it to end, and waits for a while. What does not end is killed when it is dropped.
    pub async fn stop(mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        self.stdin = None;
        let ended = async { while self.lines.recv().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a process that was started: what it is asked on standard input. The end of that is the end of the process that measures.
pub fn questions() -> mpsc::Receiver<String> {
    let (sender, questions) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    questions
}

fn words_path(directory: &Path, name: &str) -> std::path::PathBuf {
    directory.join(format!("{name}.stderr"))
}
