//! One process of a server, owned by this one.

use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait_until;

/// How long a server may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A child that does not outlive its value.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    /// What ends it in order when the value is dropped.
    end_signal: Signal,
}

impl ServerProcess {
    /// Starts it. `end_signal` is what makes this server end in order.
    pub fn spawn(command: &mut Command, end_signal: Signal) -> anyhow::Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
        Ok(ServerProcess { child, end_signal })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Fails if it has ended by itself: it must not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended by itself ({status}); see its log"),
            None => Ok(()),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as `kill -9` does, and waits for that.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends `signal`, which makes this server end in order, and waits for that. A server that does not end is killed, which is
    /// an error.
    pub fn end(mut self, signal: Signal) -> anyhow::Result<()> {
        self.ask_to_end(signal)
    }

    fn ask_to_end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id())?;
        let told = Pid::from_raw(id).map_or(Ok(()), |id| kill_process(id, signal));
        let ended = told.map_err(anyhow::Error::from).and_then(|()| {
            let what = format!("process {id} to end after {signal:?}");
            wait_until(&what, END_WITHIN, || self.has_ended())
        });
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        ended
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !matches!(self.has_ended(), Ok(true)) {
            let _ = self.ask_to_end(self.end_signal);
        }
    }
}
