//! `kind = "mariadb"`: a MariaDB database, or one of MySQL 8, through its XA transactions.

use std::time::Duration;

use anyhow::{Context, bail};
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::Finding;
use handfast_participant::resources::mariadb::mysql_async::{Opts, OptsBuilder};
use handfast_participant::resources::mariadb::{Isolation, MariadbOptions, MariadbResource, check};
use handfast_participant::runtime::random_bits;
use handfast_participant::{Participant, Resource};
use serde::Deserialize;

use super::{Kind, Nonsense, Seat};

const PORT: u16 = 3306;

/// What its table may say. Either `url`, or the parts of one.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Such as `mysql://user:password@db.example:3306/stock`.
    url: Option<String>,
    /// Such as `db.example`; `127.0.0.1` if it is left out.
    host: Option<String>,
    /// 3306 if it is left out.
    port: Option<u16>,
    /// The database, which also tells which store this is.
    database: Option<String>,
    /// Every instance of the resource must log in as the same user.
    user: Option<String>,
    /// Better in the environment, see `password_env`.
    password: Option<String>,
    /// The environment variable that holds the password.
    password_env: Option<String>,
    /// How many pieces of work run at once.
    work_connections: Option<usize>,
    /// How many decisions are carried out at once, on connections that work never takes.
    decision_connections: Option<usize>,
    /// How many connections may stay with their prepared branch.
    prepared_connections: Option<usize>,
    /// How long getting a connection may take.
    connect_timeout_ms: Option<u64>,
    /// From which age on the coordinator is asked whether a marker may go.
    marker_age_ms: Option<u64>,
    /// `read-committed`, `repeatable-read` or `serializable`.
    isolation: Option<IsolationName>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum IsolationName {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Settings {
    fn options(&self) -> anyhow::Result<MariadbOptions> {
        let instance = InstanceId(random_bits());
        let mut options = match &self.url {
            Some(url) => {
                if self.host.is_some()
                    || self.port.is_some()
                    || self.database.is_some()
                    || self.user.is_some()
                {
                    bail!(
                        "url and its parts are both given; write either url, or host, port, database and user"
                    );
                }
                MariadbOptions::new(url, instance)?
            }
            None => MariadbOptions::of(self.parts(), instance)?,
        };
        if let Some(password) = self.password()? {
            options.database = OptsBuilder::from_opts(options.database)
                .pass(Some(password))
                .into();
        }
        let sized = |name: &str, wanted: Option<usize>, otherwise: usize| match wanted {
            Some(0) => bail!("{name} = 0 would let nothing through; write 1 or more"),
            wanted => Ok(wanted.unwrap_or(otherwise)),
        };
        options.work_connections = sized(
            "work_connections",
            self.work_connections,
            options.work_connections,
        )?;
        options.decision_connections = sized(
            "decision_connections",
            self.decision_connections,
            options.decision_connections,
        )?;
        // None at all is slower and no fault: each decision then waits for a connection to end.
        options.prepared_connections = self.prepared_connections.unwrap_or(options.prepared_connections);
        if let Some(limit) = self.connect_timeout_ms {
            options.connect_limit = Duration::from_millis(limit.max(1));
        }
        if let Some(age) = self.marker_age_ms {
            options.marker_age = Duration::from_millis(age);
        }
        if let Some(isolation) = self.isolation {
            options.isolation = match isolation {
                IsolationName::ReadCommitted => Isolation::ReadCommitted,
                IsolationName::RepeatableRead => Isolation::RepeatableRead,
                IsolationName::Serializable => Isolation::Serializable,
            };
        }
        Ok(options)
    }

    fn parts(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()))
            .tcp_port(self.port.unwrap_or(PORT))
            .db_name(self.database.clone())
            .user(self.user.clone())
            .into()
    }

    fn password(&self) -> anyhow::Result<Option<String>> {
        match (&self.password, &self.password_env) {
            (Some(_), Some(_)) => bail!("password and password_env are both given; write one of them"),
            (Some(password), None) => Ok(Some(password.clone())),
            (None, Some(variable)) => std::env::var(variable).map(Some).with_context(|| {
                format!("the environment variable {variable}, which password_env names, is not set")
            }),
            (None, None) => Ok(None),
        }
    }
}

impl Kind for Settings {
    async fn check(&self) -> Vec<Finding> {
        match self.options() {
            Ok(options) => check(options).await,
            Err(error) => vec![Finding::broken("settings", "contradictory", format!("{error:#}"))],
        }
    }

    fn validate(&self) -> Result<(), Nonsense> {
        self.options()
            .map(drop)
            .map_err(|error| format!("{error:#}").into())
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let options = self.options()?;
        let (work, decisions) = (options.work_connections, options.decision_connections);
        let database = options.database.db_name().unwrap_or_default().to_owned();
        let resource = MariadbResource::new(options);
        // Each session opens the database again. A first look now tells a person at once what only a person can mend, even
        // while the coordinator cannot be reached.
        let name = &seat.name;
        match resource.open().await {
            Ok(identity) => {
                tracing::info!(resource = name, database, store = %identity.store, "the database is open")
            }
            Err(error) if error.permanent => bail!("{error}"),
            Err(error) => {
                tracing::warn!(resource = name, database, %error, "the database is not ready; it is tried again")
            }
        }
        let participant = Participant::builder(&seat.name, seat.coordinators.clone())?
            .concurrency(work, decisions)
            .resource(resource);
        let _watch = seat.watch(participant.handle());
        participant
            .run(seat.stopped)
            .await
            .with_context(|| format!("the database {database:?}"))
    }
}

#[cfg(test)]
mod tests;
