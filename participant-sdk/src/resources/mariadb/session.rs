//! From one `open` to the next: its connections, the branches that they hold, and the interactive ones.

use std::sync::Arc;

use handfast_proto::ids::StoreId;
use mysql_async::Conn;
use tokio::time::timeout;

use super::connection::{Lease, Pools, batch, connect};
use super::failure::resource_error;
use super::held::HeldBranches;
use super::holders::{self, ConnectionId};
use super::options::{CALL_LIMIT, MariadbOptions};
use super::preconditions::Server;
use super::promise::BranchTransaction;
use super::server::Flavor;
use super::{identity, scan, schema, xid};
use crate::resource::{BranchKey, ResourceError, StoreIdentity};
use crate::resources::old_markers::OldMarkers;
use crate::resources::sql::lost_work::LostWork;
use crate::resources::sql::open_branches::OpenBranches;
use crate::resources::sql::running::Running;

/// One session of this process with its database.
pub(super) struct Session {
    pub options: Arc<MariadbOptions>,
    pub flavor: Flavor,
    pub store: StoreId,
    /// The most bytes of one statement with its values.
    pub largest_statement: usize,
    pub pools: Pools,
    pub held: HeldBranches,
    pub running: Arc<Running<ConnectionId>>,
    pub open_branches: Arc<OpenBranches<BranchTransaction>>,
    /// By the text of their keys.
    pub old_markers: OldMarkers<String>,
}

impl Session {
    /// Ends what older sessions left, checks the server and says which store it is. The caller has closed the older sessions.
    pub async fn open(
        options: Arc<MariadbOptions>,
        running: Arc<Running<ConnectionId>>,
        lost: Arc<LostWork>,
    ) -> Result<(Self, StoreIdentity), ResourceError> {
        let mut conn = connect(&options).await?;
        let opening = async {
            let ended = end_older(&mut conn, &running)
                .await
                .map_err(|error| resource_error("ending the work of older sessions", &error))?;
            if ended > 0 {
                tracing::info!(ended, "work of older sessions of this process is being ended");
            }
            let asking = |error| resource_error("asking MariaDB for its settings", &error);
            let server = Server::ask(&mut conn).await.map_err(asking)?;
            server.require(options.most_connections())?;
            limit(&mut conn).await.map_err(asking)?;
            schema::set_up(&mut conn).await?;
            let opened = identity::establish(&mut conn).await?;
            scan::recover(&mut conn, server.flavor(), opened.store)
                .await
                .map_err(|error| resource_error("listing prepared transactions", &error))?;
            Ok((server, opened))
        };
        let (server, opened) = timeout(CALL_LIMIT, opening).await.unwrap_or_else(|_| {
            Err(ResourceError::transient(format!(
                "MariaDB did not answer within {CALL_LIMIT:?}"
            )))
        })?;
        let _ = timeout(options.connect_limit, conn.disconnect()).await;
        let identity = opened.identity();
        Ok((
            Session {
                flavor: server.flavor(),
                store: opened.store,
                largest_statement: server.largest_statement(),
                pools: Pools::new(&options, server.binlogs_statements(), opened),
                held: HeldBranches::new(options.prepared_connections),
                running,
                open_branches: Arc::new(OpenBranches::new(lost)),
                old_markers: OldMarkers::default(),
                options,
            },
            identity,
        ))
    }

    /// A connection for decisions and questions.
    pub async fn decisions(&self) -> Result<Lease, ResourceError> {
        self.pools.decisions.lease().await
    }

    /// The name of a branch as an XA transaction.
    pub fn xid(&self, branch: BranchKey) -> String {
        xid::encode(self.store, branch)
    }

    /// Nothing can begin any more; interactive branches roll back, and prepared ones are let go of.
    pub fn close(&self) {
        self.pools.close();
        self.open_branches.close();
        self.held.close();
    }
}

/// Work that goes on, or was broken off, without a session that would vote for it. Its branches are all known: this process
/// began them.
async fn end_older(conn: &mut Conn, running: &Running<ConnectionId>) -> Result<usize, mysql_async::Error> {
    let mut ended = 0;
    for branch in running.branches() {
        running.doom(branch);
        if holders::end(conn, branch).await?.is_some() {
            ended += 1;
        }
    }
    Ok(ended)
}

/// No lock is waited for without end, whatever the server's defaults are.
async fn limit(conn: &mut Conn) -> Result<(), mysql_async::Error> {
    let seconds = CALL_LIMIT.as_secs();
    batch(
        conn,
        &format!(
            "SET NAMES utf8mb4; SET SESSION autocommit = 1, innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}"
        ),
    )
    .await
    .map(drop)
}
