//! An orderly end: asked to terminate, the process refuses new transactions, delivers what is decided, says goodbye to
//! the sessions, and ends well.

use crate::driver::DriverHandle;
use crate::runtime::Termination;

/// Waits until the process is asked to end, and tells the driver. The driver ends by itself when it is done.
pub async fn drain_when_asked(termination: Termination, driver: DriverHandle) {
    termination.asked().await;
    // If the driver has ended, there is nothing to drain.
    let _ = driver.drain().await;
}
