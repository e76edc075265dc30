//! From one `open` to the next: the connections that carry one name, and the interactive branches that live on them.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connection::{Backend, Lease, NAME_PREFIX, Pools, connect};
use super::failure::resource_error;
use super::markers::RowKey;
use super::options::{CALL_LIMIT, PostgresOptions};
use super::promise::BranchTransaction;
use super::{backends, identity, preconditions, schema};
use crate::resource::{ResourceError, StoreIdentity};
use crate::resources::old_markers::OldMarkers;
use crate::resources::sql::lost_work::LostWork;
use crate::resources::sql::open_branches::OpenBranches;
use crate::resources::sql::running::Running;

/// One session of this process with its database.
pub(super) struct Session {
    pub options: Arc<PostgresOptions>,
    /// What all sessions of this process are named with.
    pub process_prefix: String,
    /// `application_name` of all of its connections: `handfast/<instance>/<session>`, 63 bytes at most.
    pub name: String,
    pub pools: Pools,
    pub running: Arc<Running<Backend>>,
    pub open_branches: Arc<OpenBranches<BranchTransaction>>,
    pub old_markers: OldMarkers<RowKey>,
}

impl Session {
    /// Ends what older sessions left, checks the server and says which store it is. The caller has closed the older sessions.
    pub async fn open(
        options: Arc<PostgresOptions>,
        running: Arc<Running<Backend>>,
        lost: Arc<LostWork>,
        number: u64,
    ) -> Result<(Self, StoreIdentity), ResourceError> {
        let process_prefix = format!("{NAME_PREFIX}{:032x}/", options.instance.0);
        let name = format!("{process_prefix}{number}");
        let client = connect(&options, &name).await?;
        let opening = async {
            let ended = backends::terminate_older(&client, &process_prefix, &name)
                .await
                .map_err(|error| resource_error("ending the work of older sessions", &error))?;
            if ended > 0 {
                tracing::info!(ended, "work of older sessions of this process is being ended");
            }
            let server = preconditions::check(&client).await?;
            limit(&client).await?;
            schema::set_up(&client).await?;
            Ok((server, identity::establish(&client).await?))
        };
        let (server, opened) = timeout(CALL_LIMIT, opening).await.unwrap_or_else(|_| {
            Err(ResourceError::transient(format!(
                "PostgreSQL did not answer within {CALL_LIMIT:?}"
            )))
        })?;
        let identity = opened.identity();
        let pools = Pools::new(&options, &name, server, opened);
        let open_branches = Arc::new(OpenBranches::new(lost));
        Ok((
            Session {
                options,
                process_prefix,
                name,
                pools,
                running,
                open_branches,
                old_markers: OldMarkers::default(),
            },
            identity,
        ))
    }

    /// A connection for decisions and questions.
    pub async fn decisions(&self) -> Result<Lease, ResourceError> {
        self.pools.decisions.lease().await
    }

    /// Nothing can begin any more; interactive branches roll back.
    pub fn close(&self) {
        self.pools.close();
        self.open_branches.close();
    }
}

/// What is written here is relied on, whatever the server's defaults are; and no lock is waited for without end.
async fn limit(client: &Client) -> Result<(), ResourceError> {
    client
        .batch_execute(&format!(
            "SET synchronous_commit = on; SET lock_timeout = {}",
            CALL_LIMIT.as_millis()
        ))
        .await
        .map_err(|error| resource_error("setting up the opening connection", &error))
}
