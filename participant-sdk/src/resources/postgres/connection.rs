//! Connections: named after their session, pooled, bounded, and closed rather than given back when in doubt.
//!
//! Every new one is asked first where it leads. If that is not what the session was opened on, nothing is leased any more,
//! from any pool, until the database is opened again: it would promise for one store under the name of another.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use super::failure::{pool_error, resource_error};
use super::identity::{self, Opened};
use super::options::{CONNECTION_CHECK, FENCE_LOCK_LIMIT, PostgresOptions};
use crate::resource::ResourceError;

/// How the connections of all instances are named, for every instance to see in `pg_stat_activity`.
pub(super) const NAME_PREFIX: &str = "handfast/";

/// One server process that serves a connection of ours. The name guards against a process id that was given out again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Backend {
    pub process: i32,
    pub application_name: String,
}

/// A connection on loan. Dropped without [`Lease::give_back`], it is closed, and the server rolls its transaction back.
pub(super) struct Lease(Option<Object>);

impl Lease {
    /// Nothing is open on the connection and nothing is on its way: somebody else may have it.
    pub fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0
            .as_ref()
            .expect("the connection leaves only when the lease ends")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// What the server needs to be told at the start of each connection, so that `RESET ALL` comes back to it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct ServerTraits {
    /// The server's own setting would let a commit be reported before it is on disk.
    pub force_synchronous_commit: bool,
    /// It can notice a closed connection while a statement runs.
    pub checks_connections: bool,
}

/// The pools of one session.
pub(super) struct Pools {
    /// For one-shot work.
    pub work: StorePool,
    /// For decisions and questions; runs no statement of an application.
    pub decisions: StorePool,
    /// For interactive branches.
    pub interactive: StorePool,
}

/// Connections of one kind, all to the store that the session was opened on.
pub(super) struct StorePool {
    pool: Pool,
    leads_elsewhere: LeadsElsewhere,
}

/// Set once, by the first connection that led elsewhere: where to. Shared by the pools of a session.
type LeadsElsewhere = Arc<OnceLock<String>>;

impl Pools {
    pub fn new(
        options: &PostgresOptions,
        application_name: &str,
        server: ServerTraits,
        opened: Opened,
    ) -> Self {
        let (opened, leads_elsewhere) = (Arc::new(opened), LeadsElsewhere::default());
        let pool = |size: usize, recycling_method, settings: &str| {
            let mut config = options.connection(application_name);
            let options_so_far = options.database.get_options().unwrap_or_default();
            config.options(format!("{options_so_far} {} {settings}", server_settings(server)));
            let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
            let pool = Pool::builder(manager)
                .max_size(size.max(1))
                .wait_timeout(Some(options.connect_limit))
                .create_timeout(Some(options.connect_limit))
                .recycle_timeout(Some(options.connect_limit))
                .runtime(Runtime::Tokio1)
                .post_create(recognized(
                    opened.clone(),
                    leads_elsewhere.clone(),
                    options.connect_limit,
                ))
                .build()
                .expect("a pool with timeouts has its runtime");
            StorePool {
                pool,
                leads_elsewhere: leads_elsewhere.clone(),
            }
        };
        let fences = format!("-c lock_timeout={}ms", FENCE_LOCK_LIMIT.as_millis());
        Pools {
            work: pool(options.work_connections, RecyclingMethod::Clean, ""),
            decisions: pool(options.decision_connections, RecyclingMethod::Fast, &fences),
            interactive: pool(options.interactive_connections, RecyclingMethod::Clean, ""),
        }
    }

    /// Waiters fail, idle connections close, and those on loan close when they come back.
    pub fn close(&self) {
        for pool in [&self.work, &self.decisions, &self.interactive] {
            pool.pool.close();
        }
    }
}

fn server_settings(server: ServerTraits) -> String {
    let mut settings = String::new();
    if server.force_synchronous_commit {
        settings.push_str("-c synchronous_commit=on ");
    }
    if server.checks_connections {
        settings.push_str(&format!(
            "-c client_connection_check_interval={}ms",
            CONNECTION_CHECK.as_millis()
        ));
    }
    settings
}

impl StorePool {
    /// A connection; the pool's own limits bound the wait.
    pub async fn lease(&self) -> Result<Lease, ResourceError> {
        let got = match self.leads_elsewhere.get() {
            None => self.pool.get().await,
            Some(_) => Err(PoolError::Closed),
        };
        match (got, self.leads_elsewhere.get()) {
            // It was recognized before the address changed hands, but the session is over.
            (_, Some(found)) => Err(ResourceError::reopen(format!(
                "a new connection to PostgreSQL leads to {found}, which is not what the session was opened on: the address \
                 has changed hands, the server has failed over, or its settings have changed; it is opened again"
            ))),
            (Ok(object), None) => Ok(Lease(Some(object))),
            (Err(error), None) => Err(pool_error(&error)),
        }
    }
}

/// Lets a new connection into its pool if it leads where the session was opened.
fn recognized(opened: Arc<Opened>, leads_elsewhere: LeadsElsewhere, limit: Duration) -> Hook {
    Hook::async_fn(move |client, _| {
        let (opened, leads_elsewhere) = (opened.clone(), leads_elsewhere.clone());
        Box::pin(async move {
            let silent = |_| HookError::message("a new connection did not say in time where it leads");
            let found = timeout(limit, identity::recognize(client, &opened))
                .await
                .map_err(silent)?
                .map_err(HookError::Backend)?;
            let Some(found) = found else { return Ok(()) };
            tracing::error!(%found, "a new connection leads elsewhere than where this session was opened");
            Err(HookError::message(leads_elsewhere.get_or_init(|| found).clone()))
        })
    })
}

/// A connection outside of the pools, for opening, when it is not yet known what may be told to the server.
pub(super) async fn connect(
    options: &PostgresOptions,
    application_name: &str,
) -> Result<Client, ResourceError> {
    let config = options.connection(application_name);
    let (client, connection) = tokio::time::timeout(options.connect_limit, config.connect(NoTls))
        .await
        .map_err(|_| {
            ResourceError::transient(format!(
                "PostgreSQL did not answer within {:?}; is it running, and are host and port right?",
                options.connect_limit
            ))
        })?
        .map_err(|error| resource_error("connecting to PostgreSQL", &error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the opening connection to PostgreSQL broke");
        }
    });
    Ok(client)
}
