//! The participant's process: started by a shell in a process group of its own, and ended by the group's id.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;

use crate::fault::{Checked, Fault};

/// Lines of the process's output that are kept, to be shown when something goes wrong.
const KEPT_LINES: usize = 12;
/// Characters of a line that are kept.
const KEPT_CHARACTERS: usize = 400;
/// How long the last of a killed group's processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// How a participant is started.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// A command line for `sh`, with `{coordinator}` and `{resource}` where these belong.
    pub exec: String,
    /// Where the coordinator listens.
    pub coordinator: String,
    /// The name under which it takes part.
    pub resource: String,
}

/// One running process with whatever it starts itself. Does not outlive its value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Pid,
    words: Arc<Mutex<VecDeque<String>>>,
    /// Completes when no process of the group holds the output any more.
    gone: Option<oneshot::Receiver<()>>,
    /// Its id is nobody's now, and may become somebody else's.
    is_over: bool,
}

impl Recipe {
    /// Starts it. Its output goes to a pipe, whose last lines are kept.
    pub fn start(&self) -> Checked<Process> {
        let cannot =
            |error: std::io::Error| Fault::Kit(format!("the participant cannot be started: {error}"));
        let (reader, writer) = std::io::pipe().map_err(cannot)?;
        let line = self
            .exec
            .replace("{coordinator}", &self.coordinator)
            .replace("{resource}", &self.resource);
        let mut command = Command::new("sh");
        command
            .args(["-c", &line])
            .env("HANDFAST_COORDINATOR", &self.coordinator)
            .env("HANDFAST_RESOURCE", &self.resource)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(cannot)?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn().map_err(cannot)?;
        // The command holds the writing end too, and with it the pipe would never end.
        drop(command);
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = id.ok_or_else(|| Fault::Kit("the participant's process has no usable id".to_owned()))?;
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let (ended, gone) = oneshot::channel();
        let kept = words.clone();
        // Reading a pipe blocks. The thread ends with the processes that write to it.
        tokio::task::spawn_blocking(move || {
            keep_words(reader, &kept);
            let _ = ended.send(());
        });
        Ok(Process {
            child,
            group,
            words,
            gone: Some(gone),
            is_over: false,
        })
    }
}

impl Process {
    /// The last lines that it wrote.
    pub fn words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.is_empty() {
            return "it wrote nothing".to_owned();
        }
        let lines: Vec<&str> = words.iter().map(String::as_str).collect();
        format!("it wrote: {}", lines.join(" | "))
    }

    /// The same of a process that has ended, to its last line.
    pub async fn last_words(&mut self) -> String {
        // If something that it started still holds the output, what came so far must do.
        let _ = self.gone().await;
        self.words()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it as `kill -9` does, and waits until all of its processes are gone.
    pub async fn kill(mut self) -> Checked {
        self.end();
        self.gone().await
    }

    /// Asks it to end, as an operator does, and waits; `None` if it does not end in time, and is killed.
    pub async fn stop(mut self, limit: Duration) -> Checked<Option<ExitStatus>> {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(limit, async {
            loop {
                if let Some(status) = self.ended() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        let status = ended.await.ok();
        // What the process itself has started and left behind is ended here.
        self.end();
        self.gone().await.map(|()| status)
    }

    fn end(&mut self) {
        if !self.is_over {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
            self.is_over = true;
        }
    }

    /// Tells all of its processes.
    pub fn signal(&self, signal: Signal) {
        // An error says that there is nobody left to be told.
        let _ = kill_process_group(self.group, signal);
    }

    async fn gone(&mut self) -> Checked {
        let Some(gone) = self.gone.take() else {
            return Ok(());
        };
        match tokio::time::timeout(GONE_WITHIN, gone).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::Kit(format!(
                "processes of the participant live {} s after kill -9 of their group; start it in the foreground, without \
                 a process group of its own",
                GONE_WITHIN.as_secs()
            ))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep_words(reader: PipeReader, kept: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line)
            .chars()
            .take(KEPT_CHARACTERS)
            .collect();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(line);
        if kept.len() > KEPT_LINES {
            kept.pop_front();
        }
    }
}
