//! What is to be transferred: at random, or from a file.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Every account begins with this much, in minor units.
pub const OPENING_BALANCE: i64 = 10_000;

/// The longest file that a run makes: the checker holds all of them in memory.
pub const MAX_TRANSFERS: usize = 100_000;

/// One of the two stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Left,
    Right,
}

impl Name {
    pub const BOTH: [Name; 2] = [Name::Left, Name::Right];

    pub fn as_str(self) -> &'static str {
        match self {
            Name::Left => "left",
            Name::Right => "right",
        }
    }

    pub fn other(self) -> Name {
        match self {
            Name::Left => Name::Right,
            Name::Right => Name::Left,
        }
    }
}

/// From an account of one store to an account of the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Unique; the idempotency key and the reference in both stores.
    pub id: String,
    pub from: Name,
    pub from_account: String,
    pub to_account: String,
    pub amount: i64,
}

/// Where the next transfer comes from.
pub enum Source {
    Random {
        rng: fastrand::Rng,
        accounts: u16,
        amounts: RangeInclusive<i64>,
        next: u64,
    },
    File(VecDeque<Transfer>),
}

impl Source {
    pub fn random(seed: u64, accounts: u16, amounts: RangeInclusive<i64>) -> Self {
        Source::Random {
            rng: fastrand::Rng::with_seed(seed),
            accounts,
            amounts,
            next: 1,
        }
    }

    /// How many there are, if that is known.
    pub fn count_known(&self) -> Option<u32> {
        match self {
            Source::Random { .. } => None,
            Source::File(transfers) => u32::try_from(transfers.len()).ok(),
        }
    }
}

impl Iterator for Source {
    type Item = Transfer;

    /// `None` once a file has no more.
    fn next(&mut self) -> Option<Transfer> {
        match self {
            Source::File(transfers) => transfers.pop_front(),
            Source::Random {
                rng,
                accounts,
                amounts,
                next,
            } => {
                let id = format!("transfer-{next:06}");
                *next += 1;
                Some(Transfer {
                    id,
                    from: if rng.bool() { Name::Left } else { Name::Right },
                    from_account: account(rng.u16(..*accounts)),
                    to_account: account(rng.u16(..*accounts)),
                    amount: rng.i64(amounts.clone()),
                })
            }
        }
    }
}

/// The name of the account with this number.
pub fn account(number: u16) -> String {
    format!("acct-{number:02}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    from: String,
    to: String,
    amount: i64,
}

/// Reads transfers from a CSV file. Any line that cannot be used refuses the whole file, so that nothing is half done.
pub fn read(path: &Path, accounts: u16) -> anyhow::Result<Source> {
    let known: Vec<String> = (0..accounts).map(account).collect();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot read transfers from {}", path.display()))?;
    let mut transfers = VecDeque::new();
    let mut ids = std::collections::BTreeSet::new();
    for (number, line) in reader.deserialize::<Line>().enumerate() {
        let number = number + 2;
        let transfer = line
            .map_err(anyhow::Error::from)
            .and_then(|line| parse(line, &known))
            .with_context(|| format!("{}, line {number}", path.display()))?;
        ensure!(
            ids.insert(transfer.id.clone()),
            "{}, line {number}: the id {:?} was used before; each transfer needs its own",
            path.display(),
            transfer.id
        );
        ensure!(
            transfers.len() < MAX_TRANSFERS,
            "{} has more than {MAX_TRANSFERS} transfers; split it into several files",
            path.display()
        );
        transfers.push_back(transfer);
    }
    ensure!(
        !transfers.is_empty(),
        "{} has no transfers; expected lines of id,from,to,amount",
        path.display()
    );
    Ok(Source::File(transfers))
}

fn parse(line: Line, known: &[String]) -> anyhow::Result<Transfer> {
    let (from, from_account) = place("from", &line.from, known)?;
    let (to, to_account) = place("to", &line.to, known)?;
    ensure!(
        from != to,
        "from and to are both {}; a transfer goes from one side to the other",
        from.as_str()
    );
    ensure!(
        line.amount > 0,
        "amount is {}; expected a positive number of minor units",
        line.amount
    );
    ensure!(
        (1..=100).contains(&line.id.len()),
        "id has {} bytes; expected 1 to 100",
        line.id.len()
    );
    Ok(Transfer {
        id: line.id,
        from,
        from_account,
        to_account,
        amount: line.amount,
    })
}

fn place(field: &str, text: &str, known: &[String]) -> anyhow::Result<(Name, String)> {
    let (side, account) = match text.split_once(':') {
        Some(("left", account)) => (Name::Left, account),
        Some(("right", account)) => (Name::Right, account),
        _ => bail!("{field} is {text:?}; expected left:ACCOUNT or right:ACCOUNT"),
    };
    let last = known.last().map(String::as_str).unwrap_or_default();
    ensure!(
        known.iter().any(|known| known == account),
        "{field} names the account {account:?}; there are acct-00 to {last} (see --accounts)"
    );
    Ok((side, account.to_owned()))
}

#[cfg(test)]
mod tests;
