//! Two agents, each of which serves all four systems, so that what one has prepared is finished by the other while it is down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use demonstration::processes::Process;

use crate::systems::{Systems, events, invoices, orders_database, stock_database};

/// The agents, by the names of their processes.
pub const NAMES: [&str; 2] = ["agent-1", "agent-2"];

/// How many resources they serve.
pub const RESOURCES: usize = 4;

/// Starts an agent with a file of its own.
pub fn start(
    name: &'static str,
    program: PathBuf,
    coordinator: SocketAddr,
    systems: &Systems,
    dir: &Path,
) -> anyhow::Result<Process> {
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, agent_file(coordinator, systems))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Process::start_program(program, name, vec!["run".into(), file.into()], &[], dir)
}

fn agent_file(coordinator: SocketAddr, systems: &Systems) -> String {
    format!(
        "coordinator = \"{coordinator}\"\n\n\
         [[resource]]\nkind = \"postgres\"\nname = \"{}\"\nurl = \"{}\"\n\n\
         [[resource]]\nkind = \"mariadb\"\nname = \"{}\"\nurl = \"{}\"\n\n\
         [[resource]]\nkind = \"kafka\"\nname = \"{}\"\nbrokers = [\"{}\"]\njournal_topic = \"{}\"\n\n\
         [[resource]]\nkind = \"files\"\nname = \"{}\"\nroot = \"{}\"\n",
        orders_database::NAME,
        systems.orders.url,
        stock_database::NAME,
        systems.stock.url,
        events::NAME,
        systems.events.broker.bootstrap(),
        events::JOURNAL,
        invoices::NAME,
        systems.invoices.folder.display(),
    )
}
