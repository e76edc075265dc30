//! An orderly end: asked to terminate, the process refuses new transactions, delivers what is decided, says goodbye to
//! the sessions, and ends well.

use crate::driver::{DriverHandle, Input};
use crate::runtime;

/// Waits until the process is asked to end, and tells the driver. The driver ends by itself when it is done.
pub async fn drain_when_terminated(driver: DriverHandle) {
    match runtime::terminated().await {
        Ok(()) => drop(driver.put(Input::Drain).await),
        // Without signals the process can still be killed, which is as safe.
        Err(error) => tracing::warn!(%error, "signals cannot be received"),
    }
}
