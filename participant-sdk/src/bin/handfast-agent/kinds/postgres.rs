//! Kind `postgres`: a PostgreSQL database, through its own prepared transactions.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::Finding;
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::runtime::random_bits;
use handfast_participant::{Participant, Resource};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{Kind, Nonsense, Seat};
use crate::secret::{EnvironmentSecret, Secret};

const DEFAULT_WORK: usize = 8;
const DEFAULT_DECISIONS: usize = 4;

/// What can be said of a PostgreSQL database, in a table and on the command line.
#[derive(Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresKind {
    /// The database, such as postgres://user@db.example:5432/orders; the password may stand in PGPASSWORD instead
    #[arg(long, env = "HANDFAST_POSTGRES_URL", hide_env_values = true)]
    #[serde(deserialize_with = "url")]
    url: String,
    #[arg(skip)]
    password: Option<Secret>,
    #[arg(skip)]
    password_env: Option<EnvironmentSecret>,
    /// How many pieces of work run at once, each on a connection of its own
    #[arg(long = "work", value_name = "CONNECTIONS", default_value_t = DEFAULT_WORK)]
    #[serde(default = "default_work")]
    work_connections: usize,
    /// How many decisions are carried out at once, on connections that work never takes
    #[arg(long = "decisions", value_name = "CONNECTIONS", default_value_t = DEFAULT_DECISIONS)]
    #[serde(default = "default_decisions")]
    decision_connections: usize,
    /// How long getting a connection may take, in milliseconds
    #[arg(skip)]
    connect_timeout_ms: Option<u64>,
}

fn default_work() -> usize {
    DEFAULT_WORK
}

fn default_decisions() -> usize {
    DEFAULT_DECISIONS
}

/// A URL that can be read, so that one that cannot is told with its line.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    PostgresOptions::new(&url, InstanceId(0)).map_err(D::Error::custom)?;
    Ok(url)
}

impl PostgresKind {
    fn options(&self) -> anyhow::Result<PostgresOptions> {
        let mut options = PostgresOptions::new(&self.url, InstanceId(random_bits()))?;
        let given = self.password.as_ref().map(Secret::reveal);
        let password = given.or(self.password_env.as_ref().map(EnvironmentSecret::reveal));
        if let Some(password) = password {
            options.database.password(password);
        } else if let (None, Ok(password)) = (options.database.get_password(), std::env::var("PGPASSWORD")) {
            options.database.password(password);
        }
        options.work_connections = self.work_connections;
        options.decision_connections = self.decision_connections;
        if let Some(limit) = self.connect_timeout_ms {
            options.connect_limit = Duration::from_millis(limit);
        }
        Ok(options)
    }
}

impl Kind for PostgresKind {
    async fn check(&self) -> Vec<Finding> {
        match self.options() {
            Ok(options) => PostgresResource::new(options).check().await,
            Err(error) => vec![Finding::broken("url", "cannot be read", error.to_string())],
        }
    }

    fn validate(&self) -> Result<(), Nonsense> {
        match (&self.password, &self.password_env) {
            (Some(_), Some(_)) => Err("write `password` or `password_env`, not both".to_owned().into()),
            _ => Ok(()),
        }
    }

    async fn run(self, seat: Seat) -> anyhow::Result<()> {
        let options = self.options()?;
        let database = options.database.get_dbname().unwrap_or_default().to_owned();
        let resource = PostgresResource::new(options);

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
            .concurrency(self.work_connections, self.decision_connections)
            .resource(resource);
        let _watch = seat.watch(participant.handle());
        participant
            .run(seat.stopped)
            .await
            .with_context(|| format!("the database {database:?}"))
    }
}
