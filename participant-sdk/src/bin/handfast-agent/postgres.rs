//! `handfast-agent postgres`

use anyhow::{Context, bail};
use clap::Args;
use handfast_participant::ids::InstanceId;
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::runtime::random_bits;
use handfast_participant::{Participant, Resource};

use crate::start::{self, Connection};

/// The command line.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// The database, such as postgres://user@db.example:5432/orders; the password may stand in PGPASSWORD instead
    #[arg(long, env = "HANDFAST_POSTGRES_URL", hide_env_values = true)]
    url: String,
    /// How many pieces of work run at once, each on a connection of its own
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 8)]
    work: usize,
    /// How many decisions are carried out at once, on connections that work never takes
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 4)]
    decisions: usize,
}

/// Serves until it is asked to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stopped = start::stopped()?;
    let mut options = PostgresOptions::new(&arguments.url, InstanceId(random_bits()))?;
    if let (None, Ok(password)) = (options.database.get_password(), std::env::var("PGPASSWORD")) {
        options.database.password(password);
    }
    options.work_connections = arguments.work;
    options.decision_connections = arguments.decisions;
    let database = options.database.get_dbname().unwrap_or_default().to_owned();
    let resource = PostgresResource::new(options);

    // Each session opens the database again. A first look now tells a person at once what only a person can mend, even while
    // the coordinator cannot be reached.
    match resource.open().await {
        Ok(identity) => tracing::info!(database, store = %identity.store, "the database is open"),
        Err(error) if error.permanent => bail!("{error}"),
        Err(error) => tracing::warn!(database, %error, "the database is not ready; it is tried again"),
    }
    let participant = Participant::builder(&arguments.connection.name, arguments.connection.coordinator)?
        .concurrency(arguments.work, arguments.decisions)
        .resource(resource);
    participant
        .run(stopped)
        .await
        .with_context(|| format!("the database {database:?}"))
}
