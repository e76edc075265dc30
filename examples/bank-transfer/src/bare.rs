//! The control: a store without a coordinator. A process that owns accounts in sled, syncs every change, and answers one
//! line of text for each: `apply REFERENCE ACCOUNT AMOUNT`. It is as durable as a single store can be; what it cannot do is
//! promise.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sled::transaction::{ConflictableTransactionError, TransactionError};

use crate::side::{Change, Holdings};
use crate::transfers::{OPENING_BALANCE, account};

/// How long a client waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const BALANCES: &str = "balances";
const APPLIED: &str = "applied";

/// Serves the store in `dir` on `address` until it is killed.
pub fn serve(dir: &Path, address: SocketAddr, accounts: u16) -> anyhow::Result<()> {
    let store = sled::open(dir)?;
    let balances = store.open_tree(BALANCES)?;
    for number in 0..accounts {
        let opening = OPENING_BALANCE.to_le_bytes().to_vec();
        let _ = balances.compare_and_swap(account(number), None::<&[u8]>, Some(opening))?;
    }
    store.flush()?;
    let listener = TcpListener::bind(address)?;
    let mut connections = Vec::new();
    for stream in listener.incoming() {
        let (store, stream) = (store.clone(), stream?);
        connections.retain(|connection: &std::thread::JoinHandle<()>| !connection.is_finished());
        connections.push(std::thread::spawn(move || {
            if let Err(error) = answer(&store, &stream) {
                eprintln!("connection: {error:#}");
            }
        }));
    }
    Ok(())
}

fn answer(store: &sled::Db, stream: &TcpStream) -> anyhow::Result<()> {
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let answer = match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["apply", reference, account, amount] => apply(store, reference, account, amount.parse()?)?,
            _ => bail!("expected: apply REFERENCE ACCOUNT AMOUNT"),
        };
        writeln!(&*stream, "{answer}")?;
    }
    Ok(())
}

fn apply(store: &sled::Db, reference: &str, account: &str, amount: i64) -> anyhow::Result<&'static str> {
    use sled::Transactional;
    let (balances, applied) = (store.open_tree(BALANCES)?, store.open_tree(APPLIED)?);
    let applied = (&balances, &applied).transaction(|(balances, applied)| {
        let old = balances.get(account)?.map_or(0, |bytes| number(&bytes));
        if old + amount < 0 {
            return Err(ConflictableTransactionError::Abort(()));
        }
        balances.insert(account, &(old + amount).to_le_bytes())?;
        let mut changes = applied
            .get(reference)?
            .map(|bytes| bytes.to_vec())
            .unwrap_or_default();
        changes.extend_from_slice(format!("{account} {amount}\n").as_bytes());
        applied.insert(reference, changes)?;
        Ok(())
    });
    match applied {
        Ok(()) => {
            store.flush()?;
            Ok("done")
        }
        Err(TransactionError::Abort(())) => Ok("refused"),
        Err(TransactionError::Storage(error)) => Err(error).context("the store failed"),
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.try_into().map(i64::from_le_bytes).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn change(line: &str) -> anyhow::Result<Change> {
    let (account, amount) = line
        .split_once(' ')
        .context("a change is an account and an amount")?;
    Ok(Change {
        account: account.to_owned(),
        amount: amount.parse()?,
    })
}

/// What a stopped store holds.
pub fn inspect(dir: &PathBuf) -> anyhow::Result<Holdings> {
    let store = sled::open(dir)?;
    let mut holdings = Holdings::default();
    for entry in &store.open_tree(BALANCES)? {
        let (account, balance) = entry?;
        holdings.balances.insert(text(&account), number(&balance));
    }
    for entry in &store.open_tree(APPLIED)? {
        let (reference, changes) = entry?;
        let changes = text(&changes)
            .lines()
            .map(change)
            .collect::<anyhow::Result<_>>()?;
        holdings.applied.insert(text(&reference), changes);
    }
    Ok(holdings)
}

/// Asks a store for one change; `Err` if there was no answer, which says nothing about whether it was made.
pub fn ask(address: SocketAddr, reference: &str, account: &str, amount: i64) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_nodelay(true)?;
    writeln!(stream, "apply {reference} {account} {amount}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim_end() {
        "done" => Ok(true),
        "refused" => Ok(false),
        _ => bail!("no answer"),
    }
}
