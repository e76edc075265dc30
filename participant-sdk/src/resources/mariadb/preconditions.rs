//! What must hold of a server before it may promise anything, each with what to do if it does not.

use std::collections::BTreeMap;

use mysql_async::{Conn, Error, Row};

use super::connection::{batch, column};
use super::server::Flavor;
use crate::resource::ResourceError;
use crate::resources::{Finding, Verdict};

/// The first MariaDB whose prepared transactions survive their connection.
const MARIADB: (u32, u32, u32) = (10, 5, 0);
/// The first MySQL whose binary log survives a crash together with its prepared transactions.
const MYSQL: (u32, u32, u32) = (8, 0, 30);
/// The most names of tables that one finding lists.
const NAMED: usize = 5;

/// The settings that are asked for.
const SETTINGS: [&str; 16] = [
    "version",
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "innodb_force_recovery",
    "innodb_read_only",
    "read_only",
    "super_read_only",
    "log_bin",
    "sync_binlog",
    "binlog_format",
    "wsrep_on",
    "xa_detach_on_prepare",
    "max_connections",
    "max_allowed_packet",
    "server_uid",
    "server_uuid",
];

/// Asks for the settings; [`Server::of_settings`] reads the answer.
pub(super) fn settings() -> String {
    let names: Vec<String> = SETTINGS.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
        names.join(", ")
    )
}

/// What was asked of a server.
pub(super) struct Server {
    settings: BTreeMap<String, String>,
    /// Tables of this database that cannot be rolled back.
    untransacted: Vec<String>,
}

impl Server {
    /// Asks; changes nothing.
    pub async fn ask(conn: &mut Conn) -> Result<Self, Error> {
        let server = Self::of_settings(&batch(conn, &settings()).await?)?;
        let tables = format!(
            "SELECT t.TABLE_NAME FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
             WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'BASE TABLE' AND e.TRANSACTIONS <> 'YES' LIMIT {}",
            NAMED + 1
        );
        let rows = batch(conn, &tables).await?;
        let untransacted: Result<Vec<String>, Error> = rows.iter().map(|row| column(row, 0)).collect();
        Ok(Server {
            untransacted: untransacted?,
            ..server
        })
    }

    /// Out of the answer to [`settings`]; of the tables nothing is known.
    pub fn of_settings(rows: &[Row]) -> Result<Self, Error> {
        let mut settings = BTreeMap::new();
        for row in rows {
            settings.insert(column::<String>(row, 0)?.to_ascii_lowercase(), column(row, 1)?);
        }
        Ok(Server {
            settings,
            untransacted: Vec::new(),
        })
    }

    /// What tells servers apart: MariaDB's or MySQL's own; empty where the server is too old to have one.
    pub fn id(&self) -> &str {
        match self.setting("server_uid") {
            "" => self.setting("server_uuid"),
            id => id,
        }
    }

    /// The first thing that keeps the server from taking part.
    pub fn first_broken(&self) -> Option<Finding> {
        self.judge(0).into_iter().find(Finding::is_broken)
    }

    fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(
            self.setting(name).to_ascii_uppercase().as_str(),
            "ON" | "1" | "YES"
        )
    }

    /// Whose server this is.
    pub fn flavor(&self) -> Flavor {
        Flavor::of(self.setting("version"))
    }

    /// The server refuses to write in READ COMMITTED.
    pub fn binlogs_statements(&self) -> bool {
        self.is_on("log_bin") && self.setting("binlog_format").eq_ignore_ascii_case("STATEMENT")
    }

    /// The most bytes of one statement with its values; a little is left for what is around them.
    pub fn largest_statement(&self) -> usize {
        const AROUND: usize = 1_024;
        let packet = self.setting("max_allowed_packet").parse().unwrap_or(usize::MAX);
        packet.saturating_sub(AROUND)
    }

    /// Each precondition; `connections` is how many this resource may open.
    pub fn judge(&self, connections: usize) -> Vec<Finding> {
        let mut findings = vec![self.version(), self.flush(), self.writable()];
        if self.is_on("log_bin") {
            findings.push(match self.setting("sync_binlog") {
                "1" => Finding::holds("sync_binlog", "1"),
                other => Finding::broken(
                    "sync_binlog",
                    other,
                    "a crash of the machine loses what the binary log says of votes and commits; set sync_binlog = 1, or turn \
                     the binary log off",
                ),
            });
        } else {
            findings.push(Finding::holds("log_bin", "OFF"));
        }
        if self.is_on("wsrep_on") {
            findings.push(Finding::broken(
                "wsrep_on",
                "ON",
                "a Galera cluster cannot do XA transactions; use a server of its own",
            ));
        }
        if self.flavor() == Flavor::Mysql {
            findings.push(if self.is_on("xa_detach_on_prepare") {
                Finding::holds("xa_detach_on_prepare", "ON")
            } else {
                Finding::broken(
                    "xa_detach_on_prepare",
                    self.setting("xa_detach_on_prepare"),
                    "a prepared transaction would end with its connection's privileges only; set xa_detach_on_prepare = ON",
                )
            });
        }
        if !matches!(self.setting("innodb_force_recovery"), "0" | "") {
            findings.push(Finding::broken(
                "innodb_force_recovery",
                self.setting("innodb_force_recovery"),
                "InnoDB may leave prepared transactions behind; mend the server first and set innodb_force_recovery = 0",
            ));
        }
        if self.setting("innodb_doublewrite").eq_ignore_ascii_case("OFF") {
            findings.push(Finding::advice(
                "innodb_doublewrite",
                "OFF",
                "a power cut can tear pages unless the file system writes them whole; set innodb_doublewrite = ON",
            ));
        }
        findings.push(self.room(connections));
        findings.push(self.tables());
        findings
    }

    fn version(&self) -> Finding {
        let version = self.setting("version");
        let least = match self.flavor() {
            Flavor::Mariadb => MARIADB,
            Flavor::Mysql => MYSQL,
        };
        if numbers(version) >= least {
            Finding::holds("version", version)
        } else {
            Finding::broken(
                "version",
                version,
                format!(
                    "too old: its prepared transactions do not survive what they must; use MariaDB {}.{} or later, or MySQL \
                     {}.{}.{} or later",
                    MARIADB.0, MARIADB.1, MYSQL.0, MYSQL.1, MYSQL.2
                ),
            )
        }
    }

    fn flush(&self) -> Finding {
        match self.setting("innodb_flush_log_at_trx_commit") {
            // 3 is MariaDB's own: also at the steps of group commit.
            value @ ("1" | "3") => Finding::holds("innodb_flush_log_at_trx_commit", value),
            value => Finding::broken(
                "innodb_flush_log_at_trx_commit",
                value,
                "votes and commits would be reported before they are on disk, and a crash loses them; set \
                 innodb_flush_log_at_trx_commit = 1",
            ),
        }
    }

    fn writable(&self) -> Finding {
        match ["innodb_read_only", "super_read_only", "read_only"]
            .into_iter()
            .find(|name| self.is_on(name))
        {
            None => Finding::holds("read_only", "OFF"),
            Some(name) => Finding::broken(
                name,
                "ON",
                "this server takes no writes, as a replica does; connect to the primary, or wait until it is promoted",
            ),
        }
    }

    fn room(&self, connections: usize) -> Finding {
        let found = self.setting("max_connections");
        let found = format!("{found}, of which this resource may use {connections}");
        if self.setting("max_connections").parse().unwrap_or(usize::MAX) > connections {
            Finding::holds("max_connections", found)
        } else {
            Finding::advice(
                "max_connections",
                found,
                "work beyond it is refused, retryably; raise max_connections, or lower the connections of this resource",
            )
        }
    }

    fn tables(&self) -> Finding {
        if self.untransacted.is_empty() {
            return Finding::holds("tables", "all can be rolled back");
        }
        let mut named = self.untransacted.clone();
        let more = if named.len() > NAMED { " and others" } else { "" };
        named.truncate(NAMED);
        Finding::advice(
            "tables",
            format!("{}{more} cannot be rolled back (not InnoDB)", named.join(", ")),
            "a branch that writes one is refused, but what it wrote there stays; ALTER TABLE … ENGINE = InnoDB, or take from \
             the participant's user the privilege to write it",
        )
    }

    /// The first thing that keeps the server from taking part; the rest goes to the log.
    pub fn require(&self, connections: usize) -> Result<(), ResourceError> {
        for finding in self.judge(connections) {
            match &finding.verdict {
                Verdict::Holds => {}
                Verdict::Advice(_) => tracing::warn!("{finding}"),
                // A replica that is about to be promoted looks the same.
                Verdict::Broken(_) if finding.what.ends_with("read_only") => {
                    return Err(ResourceError::transient(finding.to_string()));
                }
                Verdict::Broken(_) => return Err(ResourceError::permanent(finding.to_string())),
            }
        }
        Ok(())
    }
}

/// The numbers at the beginning of a version; what is missing counts as 0.
fn numbers(version: &str) -> (u32, u32, u32) {
    // Some MariaDB servers put "5.5.5-" in front, for clients of old.
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests;
