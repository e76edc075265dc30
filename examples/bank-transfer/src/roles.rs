//! The other roles of this program, each a process of its own: the stores that take part (what `handfast-agent` is). The
//! coordinator's role is every demonstration's.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use demonstration::roles;
use handfast_participant::Participant;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::ledger::{Account, Ledger, LedgerOptions, journal_directory};
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::runtime::random_bits;

use crate::transfers::{OPENING_BALANCE, account};

pub const LEDGER: &str = "ledger";
pub const POSTGRES: &str = "postgres";
pub const BARE_STORE: &str = "bare-store";

/// An embedded ledger that takes part.
#[derive(Parser)]
struct LedgerRole {
    #[arg(long)]
    name: String,
    #[arg(long)]
    coordinator: String,
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    accounts: u16,
}

/// A PostgreSQL database that takes part.
#[derive(Parser)]
struct PostgresRole {
    #[arg(long)]
    name: String,
    #[arg(long)]
    coordinator: String,
    #[arg(long)]
    url: String,
}

/// A store without a coordinator.
#[derive(Parser)]
struct BareStore {
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    accounts: u16,
}

/// Plays a role if the arguments ask for one.
pub fn play(arguments: Vec<OsString>) -> Option<ExitCode> {
    roles::play(arguments, |name, arguments| match name {
        LEDGER => {
            roles::start_logging();
            roles::block_on(ledger(LedgerRole::parse_from(arguments)))
        }
        POSTGRES => {
            roles::start_logging();
            roles::block_on(postgres(PostgresRole::parse_from(arguments)))
        }
        BARE_STORE => {
            let role = BareStore::parse_from(arguments);
            crate::bare::serve(&role.data_dir, role.listen, role.accounts)
        }
        other => bail!("there is no role {other:?}"),
    })
}

async fn ledger(role: LedgerRole) -> anyhow::Result<()> {
    // Before the journal is opened, which can take a while: from here on SIGTERM is a goodbye.
    let terminated = roles::terminated()?;
    handfast_participant::failpoint::check().map_err(anyhow::Error::msg)?;
    let opening = || Account {
        balance: OPENING_BALANCE,
        overdraft: false,
    };
    let accounts = (0..role.accounts)
        .map(|number| (account(number), opening()))
        .collect();
    let ledger = Ledger::new(LedgerOptions {
        accounts,
        history: None,
    })
    .mirrored_in(&role.data_dir);
    let participant = Participant::builder(&role.name, [role.coordinator])?
        .staged(ledger, journal_directory(&role.data_dir))
        .await?;
    Ok(participant.run(terminated).await?)
}

async fn postgres(role: PostgresRole) -> anyhow::Result<()> {
    let terminated = roles::terminated()?;
    let options = PostgresOptions::new(&role.url, InstanceId(random_bits()))?;
    let participant =
        Participant::builder(&role.name, [role.coordinator])?.resource(PostgresResource::new(options));
    Ok(participant.run(terminated).await?)
}
