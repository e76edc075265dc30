//! What differs between MariaDB and MySQL 8, in one place.
//!
//! | | MariaDB | MySQL 8 |
//! |---|---|---|
//! | a prepared transaction | stays with its connection until that ends | is let go of at once (`xa_detach_on_prepare`) |
//! | its list, safe for any bytes | `XA RECOVER FORMAT='SQL'` | `XA RECOVER CONVERT XID` |
//! | time limit of a statement | `max_statement_time`, all statements, seconds | `max_execution_time`, reads only, milliseconds |
//! | whether a transaction is open | `@@in_transaction` | cannot be asked |

use std::time::Duration;

/// The longest limit that is set, a little less than 25 days.
const MAX_LIMIT: Duration = Duration::from_millis(i32::MAX as u64);
/// 0 stands for "no limit", so a limit is never shorter than this.
const MIN_LIMIT: Duration = Duration::from_millis(1);

/// Whose server this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavor {
    /// MariaDB.
    Mariadb,
    /// MySQL, or Percona's.
    Mysql,
}

impl Flavor {
    /// As the server's version says.
    pub fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") {
            Flavor::Mariadb
        } else {
            Flavor::Mysql
        }
    }

    /// Whether a prepared transaction leaves its connection free for others.
    pub fn detaches_on_prepare(self) -> bool {
        self == Flavor::Mysql
    }

    /// The statement that lists prepared transactions.
    pub fn recover(self) -> &'static str {
        match self {
            Flavor::Mariadb => "XA RECOVER FORMAT='SQL'",
            Flavor::Mysql => "XA RECOVER CONVERT XID",
        }
    }

    /// Takes the time limit off: a decision that was begun is not to be interrupted.
    pub fn without_limit(self) -> &'static str {
        match self {
            Flavor::Mariadb => "SET SESSION max_statement_time = 0",
            Flavor::Mysql => "SET SESSION max_execution_time = 0",
        }
    }

    /// An expression that is 1 inside of a transaction.
    pub fn in_transaction(self) -> &'static str {
        match self {
            Flavor::Mariadb => "@@in_transaction",
            Flavor::Mysql => "1",
        }
    }

    /// Takes gtrid and bqual out of the data column of the list. They stand there one behind the other: only the length
    /// columns tell `'ab','c'` from `'a','bc'`. `None` if they are not as written, which ours always are.
    pub fn split(self, format_id: i64, lengths: (usize, usize), data: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (gtrid_length, bqual_length) = lengths;
        match self {
            Flavor::Mariadb => {
                let rest = data.strip_prefix(b"'")?;
                let (gtrid, rest) = rest.split_at_checked(gtrid_length)?;
                let (bqual, rest) = rest.strip_prefix(b"','")?.split_at_checked(bqual_length)?;
                (rest == format!("',{format_id}").as_bytes()).then(|| (gtrid.to_vec(), bqual.to_vec()))
            }
            Flavor::Mysql => {
                let digits = str::from_utf8(data.strip_prefix(b"0x")?).ok()?;
                let bytes = crate::resources::sql::parameter::unhex(digits)?;
                let (gtrid, bqual) = bytes.split_at_checked(gtrid_length)?;
                (bqual.len() == bqual_length).then(|| (gtrid.to_vec(), bqual.to_vec()))
            }
        }
    }
}

/// How long a branch's transaction may wait; the server enforces it even when this process stands still.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// One statement.
    pub statement: Duration,
    /// Between statements.
    pub idle: Duration,
}

impl Limits {
    /// The assignments of a `SET SESSION`.
    pub fn assignments(self, flavor: Flavor) -> String {
        let statement = self.statement.clamp(MIN_LIMIT, MAX_LIMIT);
        let seconds = |limit: Duration| limit.as_millis().div_ceil(1_000).max(1);
        let (lock, idle) = (seconds(statement), seconds(self.idle.clamp(MIN_LIMIT, MAX_LIMIT)));
        let longest = match flavor {
            Flavor::Mariadb => format!("max_statement_time = {}", statement.as_secs_f64()),
            Flavor::Mysql => format!("max_execution_time = {}", statement.as_millis()),
        };
        format!(
            "{longest}, innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {}, wait_timeout = {}",
            lock.min(31_536_000),
            idle.min(2_147_483)
        )
    }
}

#[cfg(test)]
mod tests;
