//! Short names for long ids: `t1`, `t2` … in the order in which they show up.

use std::collections::BTreeMap;

use handfast_core::{Call, SessionId};
use handfast_ids::{BranchId, Epoch, Partition, TransactionId};

use super::parser::number;

/// Both ways between ids and names.
#[derive(Debug, Default)]
pub struct Names {
    by_id: BTreeMap<TransactionId, String>,
    by_name: BTreeMap<String, TransactionId>,
    minted: usize,
}

impl Names {
    /// The name of an id, given now if it has none.
    pub fn of(&mut self, transaction: TransactionId) -> String {
        if let Some(name) = self.by_id.get(&transaction) {
            return name.clone();
        }
        self.minted += 1;
        let name = format!("t{}", self.minted);
        self.remember(&name, transaction);
        name
    }

    /// The text with names for ids.
    pub fn shorten(&self, text: String) -> String {
        let ids = self.by_id.iter();
        ids.fold(text, |text, (id, name)| text.replace(&id.to_string(), name))
    }

    fn remember(&mut self, name: &str, transaction: TransactionId) {
        self.by_id.insert(transaction, name.to_owned());
        self.by_name.insert(name.to_owned(), transaction);
    }

    /// An id by its name. Ids that the coordinator never minted have telling names: `epoch9`, `partition1`, `future`,
    /// `lost1` (of epoch 1, and never in the log).
    pub fn transaction(&mut self, name: &str, wall_ms: u64) -> Result<TransactionId, String> {
        if let Some(&transaction) = self.by_name.get(name) {
            return Ok(transaction);
        }
        let digits = name.trim_start_matches(|character: char| character.is_ascii_alphabetic());
        let made = match name.trim_end_matches(|character: char| character.is_ascii_digit()) {
            "epoch" => TransactionId::new(wall_ms, Partition(0), Epoch(number(digits)? as u32), 0),
            "partition" => TransactionId::new(wall_ms, Partition(number(digits)? as u16), Epoch(1), 0),
            "future" => TransactionId::new(wall_ms + 1_000_000, Partition(0), Epoch(1), 0),
            "lost" => TransactionId::new(wall_ms, Partition(0), Epoch(1), number(digits)? as u32),
            _ => return Err(format!("nobody knows {name}")),
        };
        self.remember(name, made);
        Ok(made)
    }

    /// A branch by its name, such as `t1/0`.
    pub fn branch(&mut self, name: &str, wall_ms: u64) -> Result<(TransactionId, BranchId), String> {
        let (transaction, branch) = name
            .split_once('/')
            .ok_or_else(|| format!("{name} is not a branch, such as t1/0"))?;
        let transaction = self.transaction(transaction, wall_ms)?;
        Ok((transaction, BranchId(number(branch)? as u32)))
    }
}

pub fn session(name: &str) -> Result<SessionId, String> {
    let digits = name
        .strip_prefix('s')
        .ok_or_else(|| format!("{name} is not a session"))?;
    Ok(SessionId(number(digits)?))
}

pub fn call(name: &str) -> Result<Call, String> {
    let digits = name
        .strip_prefix('c')
        .ok_or_else(|| format!("{name} is not a call"))?;
    Ok(Call(number(digits)?))
}
