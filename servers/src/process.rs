//! One process of a server, owned by this one.

use std::process::{Child, Command};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

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
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let told = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
            .is_some_and(|id| kill_process(id, self.end_signal).is_ok());
        if !told {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
