//! The processes of a demonstration: started, killed with SIGKILL, and started again, by id.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(20);

/// A process that can be killed and started again with the same arguments. Killed when dropped.
pub struct Process {
    pub name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    pub kills: u64,
    pub restarts: u64,
}

impl Process {
    /// Starts this program in another role. Its output goes to `log_dir/NAME.log`.
    pub fn start(name: &'static str, arguments: Vec<OsString>, log_dir: &Path) -> anyhow::Result<Process> {
        let program =
            std::env::current_exe().context("cannot find this program to start it in another role")?;
        Process::start_program(program, name, arguments, &[], log_dir)
    }

    /// Starts a program with these variables in its first life only.
    pub fn start_program(
        program: PathBuf,
        name: &'static str,
        arguments: Vec<OsString>,
        variables: &[(&str, &str)],
        log_dir: &Path,
    ) -> anyhow::Result<Process> {
        let log = log_dir.join(format!("{name}.log"));
        let variables = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut process = Process {
            name,
            program,
            arguments,
            variables,
            log,
            child: None,
            kills: 0,
            restarts: 0,
        };
        process.spawn()?;
        Ok(process)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(std::mem::take(&mut self.variables))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start the {} process", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it has ended by itself; then it can be started again.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_some()
        {
            self.child = None;
        }
        Ok(self.child.is_none())
    }

    /// SIGKILL: no destructor runs, no buffer is flushed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.check()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
            self.kills += 1;
        }
        Ok(())
    }

    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.is_none() {
            self.spawn()?;
            self.restarts += 1;
        }
        Ok(())
    }

    /// Fails if the process has ended by itself: it must not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            self.child = None;
            bail!(
                "the {} process ended by itself ({status}); see {}",
                self.name,
                self.log.display()
            );
        }
        Ok(())
    }

    /// SIGTERM, and the exit status.
    pub fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            bail!("the {} process is not running", self.name)
        };
        let id = i32::try_from(child.id())?;
        kill_process(
            Pid::from_raw(id).context("a process id is not zero")?,
            Signal::TERM,
        )?;
        let give_up_at = Instant::now() + END_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > give_up_at {
                bail!(
                    "the {} process did not end within {END_WITHIN:?} of SIGTERM; see {}",
                    self.name,
                    self.log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
