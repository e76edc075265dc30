//! `cargo sim replay`

use clap::Args;

use crate::plan::Plan;
use crate::run;
use crate::trace::{Event, Message};

/// Run one seed and print what happened, in order.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// Which.
    #[arg(long)]
    seed: u64,
    /// Transactions of the seed.
    #[arg(long, default_value_t = super::TRANSACTIONS)]
    transactions: u32,
    /// Only lines that contain this, such as an id or `p1`.
    #[arg(long)]
    only: Option<String>,
    /// Heartbeats too.
    #[arg(long)]
    all: bool,
}

impl Replay {
    /// Runs it. An error if a property does not hold.
    pub fn run(&self) -> anyhow::Result<()> {
        run::catch_panics();
        let plan = Plan::of(self.seed, self.transactions);
        let verdict = {
            println!("{plan:#?}");
            run::run(plan, true)
        };
        for (at, event) in &verdict.lines {
            let is_heartbeat = matches!(
                event,
                Event::Message(_, _, Message::Durable { .. } | Message::ScanComplete)
            );
            if is_heartbeat && !self.all {
                continue;
            }
            let line = format!("{:>10.4}s  {event}", at.as_secs_f64());
            if self.only.as_ref().is_none_or(|only| line.contains(only)) {
                println!("{line}");
            }
        }
        println!(
            "seed {}: {} events, hash {:016x}",
            self.seed, verdict.events, verdict.hash
        );
        match verdict.failure {
            None => Ok(()),
            Some(failure) => anyhow::bail!("{failure}"),
        }
    }
}
