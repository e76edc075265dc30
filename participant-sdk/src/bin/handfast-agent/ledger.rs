//! `handfast-agent ledger`

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use handfast_participant::Participant;
use handfast_participant::resources::ledger::{Account, Ledger, LedgerOptions, journal_directory};

use crate::start::{self, Connection};

/// The command line.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Where the accounts are kept; made if it does not exist
    #[arg(long)]
    data_dir: PathBuf,
    /// An account and its first balance in minor units, such as alice=10000, for a ledger that is made now
    #[arg(long = "account", value_name = "NAME=AMOUNT", value_parser = account)]
    accounts: Vec<(String, Account)>,
    /// How many applied postings to keep [default: all]
    #[arg(long)]
    history: Option<usize>,
}

fn account(text: &str) -> anyhow::Result<(String, Account)> {
    let Some((name, amount)) = text.split_once('=') else {
        bail!("write NAME=AMOUNT, such as alice=10000");
    };
    let balance = amount
        .parse()
        .context("the amount is a whole number of minor units, such as 10000")?;
    Ok((
        name.to_owned(),
        Account {
            balance,
            overdraft: balance < 0,
        },
    ))
}

/// Serves until it is asked to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        connection,
        data_dir,
        accounts,
        history,
    } = arguments;
    let stopped = start::stopped()?;
    std::fs::create_dir_all(&data_dir).with_context(|| {
        format!(
            "{} cannot be made; name a directory that can be written to",
            data_dir.display()
        )
    })?;
    let journal = journal_directory(&data_dir);
    // The journal first: its lock keeps a second process away from the mirror too.
    let ledger = Ledger::new(LedgerOptions { accounts, history }).mirrored_in(&data_dir);
    let participant = Participant::builder(&connection.name, connection.coordinator)?
        .staged(ledger, &journal)
        .await
        .with_context(|| format!("the ledger in {}", data_dir.display()))?;
    tracing::info!(name = connection.name, directory = %data_dir.display(), "the ledger is open");
    Ok(participant.run(stopped).await?)
}
