//! The other roles of this program, each a process of its own: the coordinator (what `handfast serve` is) and the stores that
//! take part (what `handfast-agent` is). One build is enough for all.

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use handfast_coordinator::cli::Cli;
use handfast_participant::Participant;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::ledger::{Account, Ledger, LedgerOptions, journal_directory};
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::runtime::random_bits;

use crate::transfers::{OPENING_BALANCE, account};

/// `bank-transfer role NAME ARGUMENTS`.
pub const ROLE: &str = "role";
pub const COORDINATOR: &str = "coordinator";
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
    let mut arguments = arguments.into_iter();
    if arguments.next()? != ROLE {
        return None;
    }
    die_with_parent();
    let role = arguments.next()?;
    let arguments = std::iter::once(role.clone()).chain(arguments);
    let played = match role.to_str()? {
        COORDINATOR => block_on(async { Ok(Cli::parse_from(arguments).run().await?) }),
        LEDGER => {
            start_logging();
            block_on(ledger(LedgerRole::parse_from(arguments)))
        }
        POSTGRES => {
            start_logging();
            block_on(postgres(PostgresRole::parse_from(arguments)))
        }
        BARE_STORE => {
            let role = BareStore::parse_from(arguments);
            crate::bare::serve(&role.data_dir, role.listen, role.accounts)
        }
        other => Err(anyhow::anyhow!("there is no role {other:?}")),
    };
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

async fn ledger(role: LedgerRole) -> anyhow::Result<()> {
    // Before the journal is opened, which can take a while: from here on SIGTERM is a goodbye.
    let terminated = terminated()?;
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
    let terminated = terminated()?;
    let options = PostgresOptions::new(&role.url, InstanceId(random_bits()))?;
    let participant =
        Participant::builder(&role.name, [role.coordinator])?.resource(PostgresResource::new(options));
    Ok(participant.run(terminated).await?)
}

/// Completes at SIGTERM.
fn terminated() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        signal.recv().await;
    })
}

fn block_on(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(role)
}

fn start_logging() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

/// A demonstration that is interrupted leaves no process behind: its end closes this process's standard input.
fn die_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::abort();
    });
}
