//! `handfast-sim model`.

use anyhow::bail;

use super::{WORLDS, World, check};

use crate::say::say;

/// Explore small worlds around the protocol core to their end.
#[derive(clap::Args, Debug)]
pub struct ModelArgs {
    /// Only this world; all of them if absent.
    #[arg(long)]
    world: Option<String>,
    /// Threads to explore with.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
}

impl ModelArgs {
    /// Prints a line for each world; on a violation the path to it, and fails.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut violated = 0;
        for world in self.worlds()? {
            say!("{}: {}", world.name, world.about);
            let finding = check(world, self.threads.into());
            say!("{finding}\n");
            violated += usize::from(finding.violation.is_some());
        }
        if violated > 0 {
            bail!("{violated} of the worlds have a violation");
        }
        Ok(())
    }

    fn worlds(&self) -> anyhow::Result<Vec<&'static World>> {
        let wanted = |world: &&World| self.world.as_deref().is_none_or(|name| name == world.name);
        let worlds: Vec<_> = WORLDS.iter().filter(wanted).collect();
        if worlds.is_empty() {
            let names: Vec<_> = WORLDS.iter().map(|world| world.name).collect();
            bail!("there is no such world; there are {}", names.join(", "));
        }
        Ok(worlds)
    }
}
