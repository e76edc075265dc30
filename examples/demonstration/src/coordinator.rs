//! The coordinator as a process, and what it says of itself while a run waits for it. No verdict rests on that.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use handfast_proto::v1::admin_client::AdminClient;
use handfast_proto::v1::{StatusRequest, StatusResponse};

use crate::roles;

/// How long all processes may take to come up, and everything that is decided to be delivered at the end.
pub const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How often a condition is looked at while it is waited for.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The command line of the coordinator's role.
pub fn arguments(dir: &Path, address: SocketAddr) -> Vec<OsString> {
    let mut arguments = roles::arguments(roles::COORDINATOR);
    arguments.extend(["serve".into(), "--data-dir".into(), dir.join("log").into()]);
    arguments.extend(["--listen".into(), address.to_string().into()]);
    arguments
}

/// Until so many resources have a session. `check` fails if a process has ended.
pub async fn until_connected(
    address: SocketAddr,
    resources: usize,
    mut check: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut seen = "no answer".to_owned();
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < give_up_at {
        check()?;
        if let Ok(status) = status(address).await {
            let connected = connected(&status);
            if connected == resources {
                return Ok(());
            }
            seen = format!("{connected} of {resources} resources connected");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("the processes did not come up within {SETTLE_WITHIN:?}: {seen}; see the logs")
}

/// Until so many resources have a session and no transaction is live any more: everything is decided, delivered and acknowledged.
///
/// A coordinator that has just started lists only the resources that have come back: all must be there, or one that is still
/// starting would be asked to end.
pub async fn until_settled(
    address: SocketAddr,
    resources: usize,
    mut check: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < give_up_at {
        check()?;
        if let Ok(status) = status(address).await
            && status.table.is_some_and(|table| table.live == 0)
            && connected(&status) == resources
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!("transactions are still live {SETTLE_WITHIN:?} after the last kill");
    Ok(())
}

fn connected(status: &StatusResponse) -> usize {
    status
        .resources
        .iter()
        .filter(|resource| resource.sessions > 0)
        .count()
}

/// What the coordinator says of itself.
pub async fn status(address: SocketAddr) -> anyhow::Result<StatusResponse> {
    let mut admin = AdminClient::connect(format!("http://{address}")).await?;
    Ok(admin.status(StatusRequest {}).await?.into_inner())
}
