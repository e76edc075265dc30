//! Kind `ledger`: embedded accounts in a directory of this agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use handfast_participant::Participant;
use handfast_participant::journal::JournalError;
use handfast_participant::resources::Finding;
use handfast_participant::resources::ledger::{self, Account, Ledger, LedgerOptions, journal_directory};
use serde::{Deserialize, Deserializer};

use super::{Kind, Seat};

/// What can be said of a ledger, in a table and on the command line.
#[derive(Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerKind {
    /// Where the accounts are kept; made if it does not exist
    #[arg(long)]
    data_dir: PathBuf,
    /// An account and its first balance in minor units, such as alice=10000, for a ledger that is made now
    #[arg(long = "account", value_name = "NAME=AMOUNT", value_parser = account)]
    #[serde(default, deserialize_with = "accounts")]
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
    Ok(opened(name.to_owned(), balance))
}

/// A table `accounts = { alice = 10000 }`.
fn accounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Account)>, D::Error> {
    let balances = BTreeMap::<String, i64>::deserialize(deserializer)?;
    Ok(balances
        .into_iter()
        .map(|(name, balance)| opened(name, balance))
        .collect())
}

fn opened(name: String, balance: i64) -> (String, Account) {
    let overdraft = balance < 0;
    (name, Account { balance, overdraft })
}

impl Kind for LedgerKind {
    async fn check(&self) -> Vec<Finding> {
        let place = self.data_dir.display().to_string();
        if !journal_directory(&self.data_dir).exists() {
            return vec![may_be_made(&self.data_dir)];
        }
        match ledger::inspect(&self.data_dir).await {
            Ok(report) => {
                let found = format!(
                    "{place}, {} accounts, {} branches prepared",
                    report.balances.len(),
                    report.prepared.len()
                );
                vec![Finding::holds("data_dir", found)]
            }
            Err(error @ JournalError::Directory { .. }) => {
                vec![Finding::broken("data_dir", place, error.to_string())]
            }
            Err(error) => vec![Finding::broken("journal", place, error.to_string())],
        }
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let LedgerKind {
            data_dir,
            accounts,
            history,
        } = self;
        std::fs::create_dir_all(&data_dir).with_context(|| {
            format!(
                "{} cannot be made; name a directory that can be written to",
                data_dir.display()
            )
        })?;
        let journal = journal_directory(&data_dir);
        // The journal first: its lock keeps a second process away from the mirror too.
        let ledger = Ledger::new(LedgerOptions { accounts, history }).mirrored_in(&data_dir);
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .staged(ledger, &journal)
            .await
            .with_context(|| format!("the ledger in {}", data_dir.display()))?;
        tracing::info!(resource = seat.name, directory = %data_dir.display(), "the ledger is open");
        let _watch = seat.watch(participant.handle());
        Ok(participant.run(seat.stopped).await?)
    }
}

/// Whether a directory that does not exist yet has a place to be made in.
pub(super) fn may_be_made(directory: &Path) -> Finding {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    match existing {
        Some(existing) if !existing.is_dir() => Finding::broken(
            "data_dir",
            directory.display().to_string(),
            format!("{} is a file; name a directory", existing.display()),
        ),
        // A relative path without an ancestor that exists is made below the current directory.
        _ => Finding::holds("data_dir", format!("{} will be made", directory.display())),
    }
}
